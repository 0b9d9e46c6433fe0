"""Backups while servers run, and what follows a restore: nothing is missing, and no number is repeated."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.v1 import model_artifact_pb2 as pb
from modelyard_server.settings import parse_location
from tests.clients import fast_upload
from tests.clients.checker import fsck_here
from tests.clients.sample_content import fill
from tests.clients.waiting import until
from tests.faults.repair.stored_place import FolderPlace, Place, ProductionPlace
from tests.parts.fork_server import start_python
from tests.parts.s3 import S3Server
from tests.parts.server import (
    SERVER,
    Factory,
    LiveServer,
    Stubs,
    environment,
    production_place,
    run_server_command,
)


def back_up(server: LiveServer, target: Path, env: dict[str, str] | None = None) -> Any:
    """Runs the command."""
    return run_server_command("backup", str(target), *server.place, env=env)


def log(stubs: Stubs, name: str) -> Any:
    """A version of new content."""
    return fast_upload.log(stubs, "p", name, {"w": fast_upload.random_chunks(2)}, type="model").version


def delete(stubs: Stubs, version_id: str) -> None:
    """Deletes a version, with its aliases."""
    request = pb.DeleteModelArtifactVersionRequest(id=version_id, force=True)
    stubs.artifacts.DeleteModelArtifactVersion(request)


def test_a_backup_of_a_folder_whose_server_runs_is_complete_and_a_later_one_copies_what_is_new(
    live_server_factory: Factory, tmp_path: Path
) -> None:
    server = live_server_factory().start()
    stubs, target = server.stubs(), tmp_path / "backup"
    sample = fill(stubs, "p")
    done = back_up(server, target)
    assert (done.returncode, done.stderr) == (0, "")
    second = log(stubs, "gpt")
    assert fsck_here(parse_location(target, None, None)).report["findings"] == []
    assert "1 of them new" in back_up(server, target).stdout
    assert fsck_here(parse_location(target, None, None)).report["findings"] == []
    log(stubs, "after")
    copy = live_server_factory(place=("--data", str(target))).start()
    token = FolderPlace(target).token
    for path, chunks in sample.files.items():
        assert fast_upload.read(copy.stubs(token), sample.version.id, path) == b"".join(chunks)
    assert fast_upload.read(copy.stubs(token), second.id, "w")
    copy.stop()
    assert FolderPlace(target).sql("SELECT 1 FROM deletion_hold") == []
    assert FolderPlace(server.data).sql("SELECT 1 FROM deletion_hold") == []


@pytest.mark.parametrize("where", ["backup.database_copied", "backup.packs_copied"])
def test_a_backup_that_is_killed_leaves_the_earlier_one(
    live_server_factory: Factory, tmp_path: Path, where: str
) -> None:
    server = live_server_factory().start()
    stubs, target = server.stubs(), tmp_path / "backup"
    first = log(stubs, "bert")
    assert back_up(server, target).returncode == 0
    delete(stubs, first.id)
    log(stubs, "bert")
    killed = back_up(server, target, {"MODELYARD_FAILPOINTS": f"{where}=kill"})
    assert killed.returncode == -signal.SIGKILL
    checked = fsck_here(parse_location(target, None, None))
    assert checked.damage == []
    assert FolderPlace(target).scalar("SELECT count(*) FROM artifact_version") == 1
    assert (
        FolderPlace(server.data).scalar("SELECT count(*) FROM deletion_hold") == 1
    )  # until it ends by itself
    assert back_up(server, target).returncode == 0
    assert fsck_here(parse_location(target, None, None)).report["findings"] == []
    assert FolderPlace(target).scalar("SELECT count(*) FROM artifact_version") == 2


def test_a_backup_has_what_is_deleted_while_it_is_made(live_server_factory: Factory, tmp_path: Path) -> None:
    server = live_server_factory().start()
    stubs, target = server.stubs(), tmp_path / "backup"
    version = log(stubs, "bert")
    slow = environment({"MODELYARD_FAILPOINTS": "backup.database_copied=sleep(8)"})
    backup = start_python(*SERVER, "backup", str(target), *server.place, env=slow)
    until((target / "modelyard.db.new").exists)
    delete(stubs, version.id)
    assert run_server_command("collect", "--retention", "0", *server.place).returncode == 0
    assert backup.wait(60) == 0
    assert fsck_here(parse_location(target, None, None)).report["findings"] == []
    assert FolderPlace(target).objects() != {}
    assert run_server_command("collect", "--retention", "0", *server.place).returncode == 0
    assert FolderPlace(server.data).objects() == {}


def test_nothing_is_deleted_while_it_is_held(served: tuple[LiveServer, Place]) -> None:
    server, place = served
    stubs = server.start().stubs()

    def command(*arguments: str) -> str:
        done = run_server_command(*arguments, *place.options, env=place.env)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    version = log(stubs, "bert")
    held = command("hold", "create", "nightly")
    delete(stubs, version.id)
    command("collect", "--retention", "0")
    assert len(place.objects()) == 1
    command("hold", "release", held)
    command("collect", "--retention", "0")
    assert place.objects() == {}


def test_a_backup_is_refused_where_it_would_overwrite_something(
    live_server_factory: Factory, tmp_path: Path
) -> None:
    server, other = live_server_factory().start(), live_server_factory().start()
    log(server.stubs(), "bert")
    inside = back_up(server, server.data / "backup")
    assert (inside.returncode, "inside" in inside.stderr) == (1, True)
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "letter").write_text("dear")
    assert "other files" in back_up(server, tmp_path / "documents").stderr
    assert back_up(server, tmp_path / "backup").returncode == 0
    assert "another data folder" in back_up(other, tmp_path / "backup").stderr


def test_a_store_without_a_pack_makes_a_backup_that_says_so(
    live_server_factory: Factory, tmp_path: Path
) -> None:
    server = live_server_factory().start()
    log(server.stubs(), "bert")
    place = FolderPlace(server.data)
    (key,) = place.objects()
    place.write(key, None)
    done = back_up(server, tmp_path / "backup")
    assert done.returncode == 1
    assert key in done.stdout


@pytest.fixture(params=["sqlite+disk", "postgresql+s3"])
def served(request: pytest.FixtureRequest, live_server_factory: Factory) -> tuple[LiveServer, Place]:
    """A server of its own on each pair, and its place."""
    if request.param == "sqlite+disk":
        server = live_server_factory()
        return server, FolderPlace(server.data)
    options, env = production_place(request)
    server = live_server_factory(place=options, env=env)
    store: S3Server = request.getfixturevalue("minio_server")
    bucket = options[3].removeprefix("s3://").partition("?")[0]
    return server, ProductionPlace(options[1], store, bucket)


def kept(place: Place, folder: Path) -> Callable[[], Place]:
    """Keeps the present state of the database; the result puts it in the place of a later one."""
    if isinstance(place, FolderPlace):
        database, copy = place.folder / "modelyard.db", folder / "kept.db"
        shutil.copyfile(database, copy)

        def put_back() -> Place:
            shutil.copyfile(copy, database)
            return place

        return put_back
    assert isinstance(place, ProductionPlace)
    older = place.copy_database()
    return lambda: older


def test_no_number_is_repeated_after_an_older_database_was_put_back(
    served: tuple[LiveServer, Place], live_server_factory: Factory, tmp_path: Path
) -> None:
    server, place = served
    log(server.start().stubs(), "bert")
    server.stop()
    put_back = kept(place, tmp_path)
    stubs = server.start().stubs()
    given_out = {name: log(stubs, name).number for name in ("bert", "bert", "new")}
    server.stop()
    place = put_back()
    objects = place.objects()
    collected = run_server_command("collect", "--retention", "0", *place.options, env=place.env)
    assert collected.returncode == 1
    assert "modelyard server restore" in collected.stderr
    assert place.objects() == objects
    refused = live_server_factory(place=place.options, env=place.env)
    begin = refused.spawn()
    with pytest.raises(AssertionError, match="modelyard server restore"):
        refused.wait_until_serving(begin)
    done = run_server_command("restore", *place.options, env=place.env)
    assert done.returncode == 0, done.stderr
    assert "the database is older than the store" in done.stdout
    again = live_server_factory(place=place.options, env=place.env).start()
    stubs = again.stubs(place.token)
    for name, number in given_out.items():
        assert log(stubs, name).number > number
    assert fsck_here(place.location).damage == []


def test_missing_packs_are_named_and_keep_collectors_stopped_until_they_are_accepted(
    served: tuple[LiveServer, Place], tmp_path: Path
) -> None:
    server, place = served
    log(server.start().stubs(), "bert")
    server.stop()
    put_back = kept(place, tmp_path)
    log(server.start().stubs(), "bert")
    server.stop()
    place = put_back()
    for key in place.objects():
        place.write(key, None)
    done = run_server_command("restore", *place.options, env=place.env)
    assert done.returncode == 1
    assert "pack_missing" in done.stdout
    assert "bert:v0" in done.stdout
    assert run_server_command("restore", "--accept-losses", *place.options, env=place.env).returncode == 0


def test_holds_are_listed_and_end_by_release_or_by_themselves(served: tuple[LiveServer, Place]) -> None:
    server, place = served
    server.start()

    def hold(*arguments: str) -> Any:
        return run_server_command("hold", *arguments, *place.options, env=place.env)

    made = hold("create", "nightly", "--for", "12h").stdout.strip()
    assert re.fullmatch(r"[0-9a-f-]{36}", made)
    assert f"{made}  nightly" in hold("ls").stdout
    assert hold("release", made).returncode == 0
    assert hold("ls").stdout == ""
    ended = hold("create", "nightly").stdout.strip()
    place.sql("UPDATE deletion_hold SET expires_at = 1")
    late = hold("release", ended)
    assert late.returncode == 1
    assert "may have been deleted" in late.stderr
