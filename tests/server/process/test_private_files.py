"""Other users of the machine cannot read what a server stores in a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

import modelyard
from tests.clients import fast_upload
from tests.parts.embedded import isolate, stop_embedded
from tests.parts.server import Factory, LiveServer, new_project, production_place, run_server_command


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """The umask that most systems give."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def log_a_model(server: LiveServer) -> None:
    chunks = fast_upload.random_chunks(1)
    fast_upload.log(server.stubs(), new_project(), "bert", {"weights": chunks}, type="model")


def with_any(bits: int, folder: Path) -> list[str]:
    """What lies in the folder, at any depth, and has one of these permissions."""
    found = [path for path in folder.rglob("*") if stat.S_IMODE(path.lstat().st_mode) & bits]
    return [str(path.relative_to(folder)) for path in found if not path.is_symlink()]


def folder_of_mode(path: Path, mode: int) -> Path:
    path.mkdir(parents=True)
    path.chmod(mode)
    return path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_server_over_a_folder_open_to_all_keeps_its_files_private_and_says_what_to_run(
    live_server_factory: Factory,
) -> None:
    server = live_server_factory()
    folder_of_mode(server.data, 0o755)
    server.start()
    log_a_model(server)
    assert with_any(0o077, server.data) == []
    assert mode_of(server.data) == 0o755  # its owner's to change
    assert f"`chmod 700 {server.data}`" in server.log.read_text()


def test_a_folder_that_a_group_reads_for_backups_stays_readable_to_it(live_server_factory: Factory) -> None:
    server = live_server_factory()
    folder_of_mode(server.data, 0o750)
    server.start()
    log_a_model(server)
    assert with_any(0o007, server.data) == []
    files = [path for path in server.data.rglob("*") if path.is_file()]
    private = {path.name for path in files if not mode_of(path) & 0o040}
    assert private <= {"lock", "server.json"}
    assert {"modelyard.db", "modelyard.db-wal", "store-id"} <= {path.name for path in files} - private
    assert mode_of(server.data) == 0o750
    assert "chmod" not in server.log.read_text()


def test_a_store_in_a_folder_beside_postgresql_is_private_too(
    request: pytest.FixtureRequest, live_server_factory: Factory, tmp_path: Path
) -> None:
    (_, database, _, _), env = production_place(request)
    store = folder_of_mode(tmp_path / "store", 0o755)
    place = ("--database", database, "--store", f"file://{store}")
    server = live_server_factory(place=place, env=env).start()
    log_a_model(server)
    assert with_any(0o077, store) == []
    assert f"`chmod 700 {store}`" in server.log.read_text()


def test_a_key_made_before_the_first_start_makes_a_private_database(tmp_path: Path) -> None:
    folder = folder_of_mode(tmp_path / "data", 0o755)
    assert run_server_command("key", "create", "ci", "--data", str(folder)).returncode == 0
    assert (folder / "modelyard.db").exists()
    assert with_any(0o077, folder) == []


@pytest.fixture
def open_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that everybody may enter, with a database that everybody may read, for the embedded server."""
    isolate(monkeypatch, tmp_path)
    folder = folder_of_mode(tmp_path / "data", 0o755)
    (folder / "modelyard.db").touch(0o644)
    (folder / "store").mkdir(0o755)
    monkeypatch.setenv("MODELYARD_DATA_DIR", str(folder))
    yield folder
    stop_embedded(folder)


def test_the_embedded_server_makes_its_folder_private(open_folder: Path) -> None:
    modelyard.init(project="p").finish()
    assert mode_of(open_folder) == 0o700


def test_the_embedded_server_keeps_the_mode_of_a_folder_with_other_files(open_folder: Path) -> None:
    (open_folder / "results of the team.csv").touch(0o644)
    modelyard.init(project="p").finish()
    assert mode_of(open_folder) == 0o755
    assert with_any(0o077, open_folder) == ["results of the team.csv"]


@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_a_server_without_keys_that_others_reach_says_so_in_its_log(
    live_server_factory: Factory, host: str, warned: bool
) -> None:
    server = live_server_factory("--host", host, "--no-auth").start()
    assert ("--no-auth with --host" in server.log.read_text()) is warned
