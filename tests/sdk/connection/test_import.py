"""`import modelyard` is light: what a job does not use, it does not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("grpc", "google.protobuf", "yaml", "click", "tqdm", "pyfastcdc", "modelyard_server")


def _loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", HEAVY)
def test_import_leaves_heavy_packages_alone(module: str) -> None:
    assert module not in _loaded_after("import modelyard")


def test_a_disabled_run_never_loads_grpc() -> None:
    code = "import modelyard\nrun = modelyard.init(mode='disabled')\nrun.log({'a': 1})\nrun.finish()"
    assert "grpc" not in _loaded_after(code)


def test_run_config_and_summary_are_the_active_ones() -> None:
    code = """
import modelyard, modelyard.runs.run
assert modelyard.run is None
run = modelyard.init(mode="disabled", config={"lr": 0.1})
assert modelyard.run is run and modelyard.config is run.config and modelyard.summary is run.summary
modelyard.finish()
assert modelyard.run is None
"""
    assert "modelyard.runs.run" in _loaded_after(code)
