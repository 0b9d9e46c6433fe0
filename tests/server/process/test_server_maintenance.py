"""Migrations, `migrate` and `doctor`; and what happens to calls that fail or are given up half-way."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import psycopg
import pytest
from sqlalchemy import PrimaryKeyConstraint, UniqueConstraint, text

from modelyard.v1 import model_artifact_pb2
from modelyard_server.db import migrations
from modelyard_server.db.engine import Database
from modelyard_server.db.tables import Base
from tests.parts.postgres import postgres_cluster
from tests.parts.s3 import CREDENTIALS, S3Server
from tests.parts.server import Factory, new_project, production_place, reason, run_server_command


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path / 'test.db'}" if sqlite else request.getfixturevalue("postgres_database")
    made = Database(url)
    yield made
    made.close()


def test_migrations_make_the_tables_that_the_code_describes(database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    assert migrations.upgrade(database)
    with database.engine.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_a_second_upgrade_finds_nothing_to_do(database: Database) -> None:
    assert migrations.current(database) is None
    assert migrations.upgrade(database)
    assert migrations.current(database) == migrations.HEAD
    assert not migrations.upgrade(database)


def test_the_list_of_revisions_is_that_of_the_scripts() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    scripts = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(scripts)) == migrations.REVISIONS


def test_a_later_schema_is_accepted_if_it_admits_this_release(database: Database) -> None:
    migrations.upgrade(database)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert not migrations.upgrade(database)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE schema_info SET oldest_server = '99.0'"))
    with pytest.raises(migrations.SchemaTooNew, match=r"99\.0"):
        migrations.upgrade(database)


def test_every_foreign_key_is_indexed() -> None:
    for table in Base.metadata.tables.values():
        keys = [key for key in table.constraints if isinstance(key, UniqueConstraint | PrimaryKeyConstraint)]
        indexed = {next(iter(index.columns)).name for index in (*table.indexes, *keys)}
        for key in table.foreign_keys:
            assert key.parent.name in indexed, f"{table.name}.{key.parent.name}"


def test_migrate_prints_what_it_did(tmp_path: Path) -> None:
    place = ("--data", str(tmp_path))
    assert f"now {migrations.HEAD}" in run_server_command("migrate", *place).stdout
    assert "nothing to do" in run_server_command("migrate", *place).stdout


def test_migrate_does_not_wait_for_running_servers(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    refused = run_server_command("migrate", *server.place)
    assert refused.returncode == 1
    assert f"process {server.pid} " in refused.stderr


def test_servers_that_start_at_once_migrate_once(
    request: pytest.FixtureRequest, live_server_factory: Factory
) -> None:
    place, env = production_place(request)
    servers = [live_server_factory(place=place, env=env) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda server: server.start(), servers))
    assert sum("the schema goes from nothing" in server.log.read_text() for server in servers) == 1


def test_doctor_finds_nothing_wrong_beside_a_server(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    done = run_server_command("doctor", *server.place)
    assert done.returncode == 0, done.stdout
    assert all(line.startswith("ok ") for line in done.stdout.splitlines())
    assert "write, read back and delete work" in done.stdout


def test_doctor_finds_nothing_wrong_in_production_and_warns_of_commits_that_a_crash_loses(
    minio_server: S3Server, live_server_factory: Factory
) -> None:
    with postgres_cluster(fsync=True) as database:
        place = ("--database", database, "--store", minio_server.url(minio_server.new_bucket()))
        server = live_server_factory(place=place, env=CREDENTIALS).start()
        done = run_server_command("doctor", *place, env=CREDENTIALS)
        assert done.returncode == 0, done.stdout
        assert "PostgreSQL" in done.stdout
        assert "fsync and synchronous_commit are on" in done.stdout
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("ALTER DATABASE postgres SET synchronous_commit = off")
        done = run_server_command("doctor", *place, env=CREDENTIALS)
        assert done.returncode == 1
        assert "synchronous_commit is off, and a crash loses commits" in done.stdout
        server.stop()


def test_doctor_warns_of_a_database_that_a_power_cut_destroys(request: pytest.FixtureRequest) -> None:
    place, env = production_place(request)
    run_server_command("migrate", *place, env=env)
    done = run_server_command("doctor", *place, env=env)
    assert "problem  durability: fsync is off" in done.stdout


def test_doctor_names_each_problem_and_what_to_do(tmp_path: Path) -> None:
    store = "s3://bucket?endpoint=http://127.0.0.1:9&region=us-east-1"
    database = "postgresql://nobody@127.0.0.1:9/nothing"
    done = run_server_command(
        "doctor", "--database", database, "--store", store,
        env={"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"},
    )  # fmt: skip
    assert done.returncode == 1
    problems = [line for line in done.stdout.splitlines() if line.startswith("problem")]
    assert [re.split(r"\s+|:", line)[1] for line in problems] == ["database", "store"]


def test_doctor_finds_no_problem_in_an_unused_place_and_creates_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    for states in (["ok", "new"], ["ok", "ok", "new"]):
        done = run_server_command("doctor", "--data", str(folder))
        assert done.returncode == 0, done.stdout
        *lines, last = done.stdout.splitlines()
        assert [line.split()[0] for line in lines] == states
        assert "No problem found" in last
        assert "`modelyard server start` or `migrate`" in last
        assert not folder.exists() or not any(folder.iterdir())
        folder.mkdir(parents=True, exist_ok=True)
    run_server_command("migrate", "--data", str(folder))
    done = run_server_command("doctor", "--data", str(folder))
    assert (done.returncode, "\nnew " in done.stdout) == (0, False)


def test_doctor_treats_an_empty_database_as_new(postgres_database: str, tmp_path: Path) -> None:
    done = run_server_command(
        "doctor", "--database", postgres_database, "--store", f"file://{tmp_path}/store"
    )
    assert done.returncode == 0, done.stdout
    assert "new      database: it is empty" in done.stdout


def test_doctor_says_where_a_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "data"):
        done = run_server_command("doctor", "--data", str(folder))
        assert done.returncode != 0
        assert "Traceback" not in done.stderr


def test_doctor_reports_a_store_whose_database_was_lost(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    server.stubs().artifacts.UploadModelArtifact(upload("lost"))
    server.stop()
    for name in ("modelyard.db", "modelyard.db-wal", "modelyard.db-shm"):
        (server.data / name).unlink(missing_ok=True)
    done = run_server_command("doctor", *server.place)
    assert done.returncode == 1, done.stdout
    assert "problem  store's id: the store holds the bytes of another database" in done.stdout


def test_doctor_prints_no_password(tmp_path: Path) -> None:
    done = run_server_command(
        "doctor", "--database", "postgresql://me:secret@127.0.0.1:9/x", "--store", str(tmp_path / "store")
    )
    assert "secret" not in done.stdout + done.stderr


def upload(project: str) -> Iterator[model_artifact_pb2.UploadModelArtifactRequest]:
    header = model_artifact_pb2.VersionHeader(project=project, name="m", type="model")
    yield model_artifact_pb2.UploadModelArtifactRequest(header=header)
    yield model_artifact_pb2.UploadModelArtifactRequest(path="a.bin")
    yield model_artifact_pb2.UploadModelArtifactRequest(data=b"x" * 1000)


def test_an_unexpected_error_is_internal_with_details_in_the_log_only(live_server_factory: Factory) -> None:
    server = live_server_factory(env={"MODELYARD_FAILPOINTS": "commit.before=error"}).start()
    with pytest.raises(grpc.RpcError) as failure:
        server.stubs().artifacts.UploadModelArtifact(upload(new_project()))
    assert reason(failure) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    said = failure.value.details()
    assert "commit.before" not in said
    incident = said.split()[-1]
    line = next(
        line for line in server.log.read_text().splitlines() if incident in line and "Failpoint" in line
    )
    assert "Traceback" in line


def test_a_transaction_completes_although_its_deadline_passes(live_server_factory: Factory) -> None:
    server = live_server_factory(env={"MODELYARD_FAILPOINTS": "commit.inside=sleep(1.5)"}).start()
    stubs, project = server.stubs(), new_project()
    with pytest.raises(grpc.RpcError) as failure:
        stubs.artifacts.UploadModelArtifact(upload(project), timeout=1)
    assert failure.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    wanted = model_artifact_pb2.GetModelArtifactVersionRequest(ref=f"{project}/m:v0")
    deadline = time.monotonic() + 20
    while True:
        try:
            assert stubs.artifacts.GetModelArtifactVersion(wanted).version.size_bytes == 1000
            return
        except grpc.RpcError:
            assert time.monotonic() < deadline, "what had begun was not finished"
            time.sleep(0.2)
