"""Setting up a place before its first server: the bucket, and a key that was chosen elsewhere."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from minio import Minio

from modelyard import errors
from modelyard.v1 import run_pb2
from modelyard_server.domain.access import keys
from tests.inprocess.databases import sqlite_database
from tests.parts.s3 import ACCESS_KEY, CREDENTIALS, REGION, SECRET_KEY, S3Server
from tests.parts.server import Factory, new_project, production_place, run_server_command

KEY = "my_" + "chosen-elsewhere_0123456789abcdef"


def missing_bucket(server: S3Server, name: str) -> tuple[Minio, str]:
    endpoint = server.endpoint.removeprefix("http://")
    client = Minio(
        endpoint=endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY, secure=False, region=REGION
    )
    assert not client.bucket_exists(bucket_name=name)
    return client, server.url(name)


@pytest.mark.parametrize("store", ["minio", "versity"])
def test_migrate_makes_the_bucket_once(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    server: S3Server = request.getfixturevalue(f"{store}_server")
    client, url = missing_bucket(server, "made-by-migrate")
    migrate = ("migrate", "--make-bucket", "--data", str(tmp_path), "--store", url)
    first = run_server_command(*migrate, env=CREDENTIALS)
    assert (first.returncode, first.stderr) == (0, "")
    assert "the bucket was created" in first.stdout
    assert client.bucket_exists(bucket_name="made-by-migrate")
    again = run_server_command(*migrate, env=CREDENTIALS)
    assert (again.returncode, again.stderr) == (0, "")
    assert "the bucket exists" in again.stdout


def test_setting_up_from_several_machines_at_once_works(
    request: pytest.FixtureRequest, minio_server: S3Server, postgres_database: str
) -> None:
    client, url = missing_bucket(minio_server, "made-at-once")
    place = ("--database", postgres_database, "--store", url)

    def set_up(_: int) -> list[int]:
        key = ("key", "create", "all", "--if-absent", "--key", KEY)
        return [
            run_server_command(*step, *place, env=CREDENTIALS).returncode
            for step in (("migrate", "--make-bucket"), key)
        ]

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(set_up, range(3))) == [[0, 0]] * 3
    assert client.bucket_exists(bucket_name="made-at-once")
    assert len(run_server_command("key", "ls", *place, env=CREDENTIALS).stdout.splitlines()) == 1


def test_a_folder_has_no_bucket_to_make(tmp_path: Path) -> None:
    refused = run_server_command("migrate", "--make-bucket", "--data", str(tmp_path / "data"))
    assert refused.returncode == 1
    assert "s3://" in refused.stderr


def test_a_bucket_of_an_unreachable_store_is_reported_as_an_error(tmp_path: Path) -> None:
    store = "s3://bucket?endpoint=http://127.0.0.1:9"
    refused = run_server_command(
        "migrate",
        "--make-bucket",
        "--wait-seconds",
        "0",
        "--data",
        str(tmp_path),
        "--store",
        store,
        env=CREDENTIALS,
    )
    assert refused.returncode == 1
    assert refused.stderr == "Error: the store cannot be used: the object store did not answer\n"


def test_a_key_chosen_elsewhere_opens_the_server(
    request: pytest.FixtureRequest, live_server_factory: Factory
) -> None:
    place, env = production_place(request)
    made = run_server_command("key", "create", "ci", "--entity", "acme", "--key", KEY, *place, env=env)
    assert made.returncode == 0, made.stderr
    assert KEY not in made.stdout
    server = live_server_factory("--host", "0.0.0.0", place=place, env=env).start()
    request_ = run_pb2.CreateRunRequest(run=run_pb2.Run(project=new_project()))
    run = server.stubs(KEY).runs.CreateRun(request_).run
    assert (run.created_by, run.entity) == ("ci", "acme")


def test_if_absent_leaves_the_same_key_as_it_is(tmp_path: Path) -> None:
    create = ("key", "create", "ci", "--data", str(tmp_path), "--key", KEY)
    first = run_server_command(*create)
    again = run_server_command(*create, "--if-absent")
    assert (first.returncode, again.returncode) == (0, 0)
    assert again.stdout.split()[0] == first.stdout.split()[0]
    assert "is there already" in again.stdout
    refused = run_server_command(*create)
    assert refused.returncode == 1
    assert "exists already" in refused.stderr


def test_if_absent_refuses_a_key_of_another_owner_or_a_revoked_one(tmp_path: Path) -> None:
    place = ("--data", str(tmp_path))
    made = run_server_command("key", "create", "ada", *place, "--key", KEY)
    bob = run_server_command("key", "create", "bob", *place, "--key", KEY, "--if-absent")
    assert bob.returncode == 1
    wider = run_server_command("key", "create", "ada", "--all-entities", *place, "--key", KEY, "--if-absent")
    assert wider.returncode == 1
    assert run_server_command("key", "revoke", made.stdout.split()[0], *place).returncode == 0
    revoked = run_server_command("key", "create", "ada", *place, "--key", KEY, "--if-absent")
    assert revoked.returncode == 1
    assert "was revoked already" in revoked.stderr


def test_a_key_that_could_be_guessed_is_refused(tmp_path: Path) -> None:
    refused = run_server_command("key", "create", "ci", "--data", str(tmp_path), "--key", "secret")
    assert refused.returncode == 1
    assert "32 to 128 characters" in refused.stderr


@pytest.mark.parametrize(
    "key", ["", KEY[:34], "your" + KEY, KEY + "ä", KEY + " ", KEY + "\n", "my_" + "a" * 129]
)
def test_a_chosen_key_is_one_that_every_client_can_send(key: str, tmp_path: Path) -> None:
    with sqlite_database(tmp_path) as database, pytest.raises(errors.InvalidField) as refused:
        database.write(lambda session: keys.adopt(session, key, "ci", "acme"))
    assert [field for field, _ in refused.value.violations] == ["key"]


def test_if_absent_needs_a_key(tmp_path: Path) -> None:
    refused = run_server_command("key", "create", "ci", "--data", str(tmp_path), "--if-absent")
    assert refused.returncode == 2
    assert "--key" in refused.stderr
