"""What the machine has: processors, memory, graphics processors."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_NVIDIA = Path("/proc/driver/nvidia/gpus")


def cpu_count() -> int | None:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def memory_bytes() -> int | None:
    """The machine's memory; None where the system does not say."""
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def gpu_models(folder: Path = _NVIDIA) -> list[str]:
    """The name of each graphics processor that NVIDIA's driver knows; none where there is no driver."""
    models = []
    with suppress(OSError):
        for gpu in sorted(folder.iterdir()):
            lines = (gpu / "information").read_text(encoding="utf-8", errors="replace").splitlines()
            fields = dict(line.split(":", 1) for line in lines if ":" in line)
            models.append(fields.get("Model", "unknown").strip())
    return models
