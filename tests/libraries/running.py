"""Runs the scripts of this folder as users run code for W&B: unchanged, by `modelyard exec`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from modelyard import Api
from modelyard.public_runs.public_run import PublicRun

_SCRIPTS = Path(__file__).parent / "scripts"


def run_script(folder: Path, name: str, *arguments: str) -> str:
    """Runs a script in a folder, on the embedded server of the test; what it wrote to stderr."""
    # What the libraries keep of a user, and what they would fetch. Ultralytics logs nothing in a test.
    private = {name: str(folder) for name in ("HOME", "MPLCONFIGDIR", "YOLO_CONFIG_DIR")}
    backend = "torch" if importlib.util.find_spec("torch") else "tensorflow"
    settings = {"HF_HUB_OFFLINE": "1", "YOLO_OFFLINE": "1", "KERAS_BACKEND": backend}
    kept = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    program = [sys.executable, str(_SCRIPTS / f"{name}.py"), *arguments]
    done = subprocess.run(
        [sys.executable, "-m", "modelyard.exec", "--", *program],
        cwd=folder, env=kept | private | settings, capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def runs_of(project: str) -> list[PublicRun]:
    """The runs of a project, oldest first; all of them ended well."""
    found = list(Api().runs(project, order="+created_at"))
    assert [run.state for run in found] == ["finished"] * len(found)
    return found


def values(run: PublicRun, name: str) -> list[float]:
    """Every value of a metric, in order."""
    return [row[name] for row in run.scan_history(keys=[name])]


def aliases(type_name: str, name: str) -> list[set[str]]:
    """The aliases of each version of an artifact, oldest first."""
    versions = sorted(Api().artifacts(type_name, name), key=lambda version: int(version.version[1:]))
    return [set(version.aliases) for version in versions]


def content(run: PublicRun, path: str, folder: Path) -> bytes:
    """The bytes of a file of a run, by way of a folder."""
    with run.file(path).download(str(folder)) as file:
        return Path(file.name).read_bytes()
