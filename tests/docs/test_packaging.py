"""What `pip install` gives: the wheel's content, and the SDK alone and with the server once installed."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.parts.processes import missing
from tests.parts.server import environment

ROOT = Path(__file__).parents[2]
PACKAGES = {"modelyard": ROOT / "client" / "python", "modelyard_server": ROOT / "server"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    """The files in the wheel."""
    return set(zipfile.ZipFile(wheel).namelist())


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_module_of_both_packages_is_in_the_wheel(names: set[str]) -> None:
    for package, root in PACKAGES.items():
        modules = {path.relative_to(root).as_posix() for path in (root / package).rglob("*.py*")}
        assert {name for name in modules if "__pycache__" not in name} <= names


def test_the_wheel_has_types_migrations_and_the_licence(names: set[str]) -> None:
    assert "modelyard/py.typed" in names
    assert "modelyard/v1/upload_pb2.pyi" in names
    assert any(name.startswith("modelyard_server/db/migrations/versions/0001") for name in names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_has_the_metadata_of_the_module_that_exec_puts_on_the_path(names: set[str]) -> None:
    folder = {name.rpartition("/")[2] for name in names if "/stand_in/path/wandb-" in name}
    assert folder == {"METADATA", "INSTALLER", "top_level.txt"}


def test_nothing_else_is_in_the_wheel(names: set[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    kinds = {Path(name).suffix for name in names if ".dist-info/" not in name}
    assert kinds <= {".py", ".pyi", ".typed", ".mako", ".txt", ".css", ".html", ".js"}


def test_the_sdk_requires_no_package_of_the_server(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        (metadata,) = (name for name in content.namelist() if re.fullmatch(r"[^/]+-info/METADATA", name))
        required = email.message_from_bytes(content.read(metadata)).get_all("Requires-Dist", [])
    own = {re.split(r"[^A-Za-z0-9-]", line)[0].lower() for line in required if "extra ==" not in line}
    assert own == {
        "click", "grpcio", "grpcio-status", "platformdirs", "protobuf", "psutil", "pyfastcdc", "pyyaml",
        "tqdm",
    }  # fmt: skip


def test_import_needs_no_other_package(wheel: Path, tmp_path: Path) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import modelyard; print(modelyard.__version__)"
    said = run(sys.executable, "-I", "-S", "-W", "error", "-c", code, str(wheel), cwd=tmp_path)
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert said.strip() == declared


@pytest.mark.slow
def test_the_server_comes_with_its_extra(wheel: Path, tmp_path: Path) -> None:
    """The one test that asks the package index; pip's cache answers where it was asked before."""
    home = tmp_path / "environment"
    venv.create(home)
    python, program = str(home / "bin" / "python"), str(home / "bin" / "modelyard")
    # The pip of this environment installs: a pip of its own and compiled modules would take most of the time.
    pip = [sys.executable, "-m", "pip", "--python", python, "--quiet", "--disable-pip-version-check"]
    install = [*pip, "install", "--no-compile", "-c", str(ROOT / "constraints.txt")]
    fetched = subprocess.run([*install, str(wheel)], capture_output=True, text=True, check=False)
    if fetched.returncode != 0:
        missing(f"the package index cannot be asked: {fetched.stderr[-300:]}")
    assert run(program, "--version", cwd=tmp_path).startswith("modelyard, version ")
    data = ("--data", str(tmp_path / "data"))
    refused = subprocess.run(
        [program, "server", "migrate", *data], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: the server is not installed")
    code = "import modelyard; modelyard.init(project='p')"
    env = environment({"MODELYARD_DATA_DIR": str(tmp_path / "data")})
    alone = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert 'pip install "modelyard[server]"' in alone.stderr.splitlines()[-1]
    run(*install, f"{wheel}[server]", cwd=tmp_path)
    assert "the schema is now" in run(program, "server", "migrate", *data, cwd=tmp_path)
    assert run(*pip[:5], "check", cwd=tmp_path) == "No broken requirements found.\n"
