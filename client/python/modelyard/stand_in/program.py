"""Runs a program in which `import wandb` gives modelyard."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

FOLDER = Path(__file__).parent / "path"
"""First on the program's path. It holds the module `wandb` and its metadata, nothing else."""


def run(command: Sequence[str]) -> NoReturn:
    """Replaces this process by the command, looked up as a shell does. Errors: OSError."""
    environment = changed(os.environ)
    # Python ignores these signals, and a program would inherit that.
    for name in ("SIGPIPE", "SIGXFSZ"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    os.execvpe(command[0], list(command), environment)


def changed(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of the program, and so of those that it starts.

    Where modelyard runs from a virtual environment and none is activated, `python` is that
    environment's.
    """
    result = dict(environment)
    paths = environment.get("PYTHONPATH", "")
    if str(FOLDER) not in paths.split(os.pathsep):
        result["PYTHONPATH"] = os.pathsep.join([str(FOLDER), *([paths] if paths else [])])
    is_own = sys.prefix != sys.base_prefix
    if is_own and not environment.get("VIRTUAL_ENV") and not environment.get("CONDA_PREFIX"):
        programs = os.path.dirname(sys.executable)
        result["PATH"] = os.pathsep.join([programs, environment.get("PATH", os.defpath)])
    return result
