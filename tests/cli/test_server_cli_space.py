"""`modelyard server collect` and `usage`, as a person at a shell sees them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from modelyard.v1 import model_artifact_pb2 as pb
from tests.clients import fast_upload
from tests.parts.server import Factory, LiveServer, run_server_command


@pytest.fixture
def server(live_server_factory: Factory) -> LiveServer:
    """A server with two artifacts that share a chunk, and a deleted version."""
    made = live_server_factory().start()
    stubs, chunks = made.stubs(), fast_upload.random_chunks(4)
    fast_upload.log(stubs, "p", "a", {"w": chunks[:2]})
    fast_upload.log(stubs, "p", "b", {"w": chunks[1:3]})
    gone = fast_upload.log(stubs, "p", "gone", {"w": chunks[3:]}).version
    stubs.artifacts.DeleteModelArtifactVersion(pb.DeleteModelArtifactVersionRequest(id=gone.id, force=True))
    return made


def run(server: LiveServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_server_command(*arguments, *server.place)


def lines(server: LiveServer, *arguments: str) -> list[str]:
    done = run(server, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_dry_run_says_what_a_collection_does_and_changes_nothing(server: LiveServer) -> None:
    stored = server.data / "store" / "packs"
    before = sorted(stored.rglob("*"))
    foreseen = lines(server, "collect", "--retention", "0", "--dry-run")
    assert foreseen == [
        "         1 files that nothing referred to, 300.0 kB",
        "         1 chunks that nothing referred to, 300.0 kB",
        "         1 packs put into the trash, 300.0 kB",
        "         1 packs deleted from the store, 300.0 kB",
    ]
    assert sorted(stored.rglob("*")) == before
    kept = lines(server, "collect", "--dry-run")
    assert kept[3:] == ["300.0 kB stay in the trash until their retention is over (--retention)"]
    assert lines(server, "collect") == kept
    assert sorted(stored.rglob("*")) == before
    assert lines(server, "collect", "--retention", "0") == foreseen[3:]
    assert len(sorted(stored.rglob("*"))) == len(before) - 1
    assert lines(server, "collect") == ["there is nothing to collect"]


def test_usage_says_what_is_held_and_what_a_delete_frees(server: LiveServer) -> None:
    (entity,) = json.loads(lines(server, "usage", "--json")[0])
    assert entity == {"name": "local", "stored": 1_200_000, "needed": 900_000, "trash": 0}
    assert lines(server, "usage") == [
        "ENTITY  STORED    NEEDED      DEAD    TRASH",
        "local   1.2 MB  900.0 kB  300.0 kB  0 bytes",
    ]
    assert lines(server, "usage", "local") == [
        "NAME  VERSIONS      HELD   SHARED  FREED IF DELETED",
        "p            2  900.0 kB  0 bytes          900.0 kB",
    ]
    assert lines(server, "usage", "local/p") == [
        "NAME  VERSIONS      HELD    SHARED  FREED IF DELETED",
        "a            1  600.0 kB  300.0 kB          300.0 kB",
        "b            1  600.0 kB  300.0 kB          300.0 kB",
        "gone         0   0 bytes   0 bytes           0 bytes",
    ]
    assert lines(server, "usage", "local/p/a:v0") == [
        "local/p/a:v0: 600.0 kB, versions: 1",
        "  deleting it frees 300.0 kB",
        "  300.0 kB are needed by local/p/b:v0, too",
        "  alias latest: goes with it only if the delete is forced",
    ]
    assert lines(server, "collect", "--explain", "p/a:v0") == lines(server, "usage", "local/p/a:v0")
    explained = json.loads(lines(server, "usage", "local/p/b", "--json")[0])
    assert explained["holders"] == [{"what": "local/p/a:v0", "size": 300_000}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("collect", "--retention", "5x"), "'5x' is not a duration such as 0, 90s, 15m, 24h or 7d"),
        (("collect", "--retention", "-1h"), "'-1h' is not a duration"),
        (("collect", "--explain", "p/absent:v0"), "was not found"),
        (("collect", "--explain", "a/b/c/d"), "more than three parts"),
        (("usage", "absent"), "entity 'absent' was not found"),
        (("usage", "local/absent"), "project 'local/absent' was not found"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_a_sentence(server: LiveServer, arguments: tuple[str, ...], message: str) -> None:
    done = run(server, *arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_data_is_not_made(tmp_path: Path) -> None:
    for command in ("collect", "usage"):
        done = run_server_command(command, "--data", str(tmp_path / "typo"))
        assert (done.returncode, "there is no data in" in done.stderr) == (1, True)
        assert not (tmp_path / "typo").exists()
