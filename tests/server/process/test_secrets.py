"""No secret leaves the server: not in lines, errors, metrics, spans, or what its commands print.

Each test gives the server secrets that nothing else looks like, makes as much
go wrong as it can, and looks for them in everything that came out.
"""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest

from modelyard.configuration import addresses
from modelyard.v1 import registered_model_pb2, run_pb2
from modelyard_server.settings import without_secrets
from tests.clients import fast_upload
from tests.parts.collector import Collector
from tests.parts.fork_server import run_python, start_python
from tests.parts.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.parts.server import (
    SERVER,
    Factory,
    LiveServer,
    Stubs,
    environment,
    new_project,
    production_place,
    run_server_command,
)

PASSWORD = "pw-Tr0ub4dor/7@3"
WRONG_KEY = "my_" + "WrongKeyWrongKeyWrongKeyWrongKeyWrongKey"
TOKEN = "tok-Correct-Horse-31337"
STORE_SECRET = "s3-Battery-Staple-4242"
HEADER_SECRET = "otlp-Header-Secret-99"
CONFIG_SECRET = "config-value-of-a-user-5150"


def with_password(database: str) -> str:
    return database.replace("modelyard@", f"modelyard:{quote(PASSWORD, safe='')}@")


def leaked(text: str, *secrets: str) -> list[str]:
    """The secrets, also as they stand in URLs, that are in a text."""
    return [secret for secret in secrets if secret in text or quote(secret, safe="") in text]


def text_of(failure: grpc.RpcError) -> str:
    """Everything that a refused call says."""
    return f"{failure.details()} {failure.trailing_metadata()} {failure.debug_error_string()}"


def failure_texts(stubs: Stubs) -> Iterator[str]:
    """What is said by calls that cannot succeed once the database or the store is away."""
    calls: list[tuple[Any, Any]] = [
        (stubs.registry.ListRegisteredModels, registered_model_pb2.ListRegisteredModelsRequest()),
        (stubs.runs.CreateRun, run_pb2.CreateRunRequest(run=run_pb2.Run(project=new_project()))),
    ]
    for call, request in calls:
        try:
            call(request, timeout=30)
        except grpc.RpcError as failure:
            yield text_of(failure)
    try:
        fast_upload.log(stubs, new_project(), "bert", {"a": fast_upload.random_chunks(1)}, type="model")
    except grpc.RpcError as failure:
        yield text_of(failure)


FAILS = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM 1 / 0; RETURN NEW; END $$;
CREATE TRIGGER fail BEFORE INSERT ON run FOR EACH ROW EXECUTE FUNCTION fail();
"""


def test_errors_logs_metrics_and_spans_hold_no_secret(
    request: pytest.FixtureRequest, live_server_factory: Factory, collector: Collector
) -> None:
    import psycopg

    place, env = production_place(request)
    database = with_password(place[1])
    made = run_server_command("key", "create", "ci", "--database", database, *place[2:], env=env)
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    server = live_server_factory(
        *("--log-level", "debug", "--metrics-port", "0", "--otel-endpoint", collector.url),
        place=place[2:],
        env={
            **env,
            "MODELYARD_SERVER_DATABASE": database,
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-key={HEADER_SECRET}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        },
    ).start()
    said = []

    assert not list(failure_texts(server.stubs(key)))
    said += failure_texts(server.stubs(WRONG_KEY))
    said += failure_texts(server.stubs(f"{TOKEN} and more"))
    with psycopg.connect(place[1], autocommit=True) as connection:
        connection.execute(FAILS)
    run = run_pb2.Run(project=new_project(), notes=CONFIG_SECRET, tags=[CONFIG_SECRET])
    with pytest.raises(grpc.RpcError) as caught:
        server.stubs(key).runs.CreateRun(run_pb2.CreateRunRequest(run=run))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    said.append(text_of(caught.value))
    said.append(_metrics(server))
    _drop(request, place[1])
    said += failure_texts(server.stubs(key))
    assert sum("DATABASE_UNAVAILABLE" in text for text in said) >= 2
    server.stop()  # which sends the last spans
    said += [server.log.read_text(), repr(collector.spans)]

    assert "division by zero" in server.log.read_text()
    secrets = (key, WRONG_KEY, TOKEN, PASSWORD, SECRET_KEY, HEADER_SECRET, CONFIG_SECRET)
    for text in said:
        assert leaked(text, *secrets) == []
    # The test sees what arrives: the collector was sent its key, and that alone.
    assert ("x-key", HEADER_SECRET) in collector.metadata
    assert leaked(repr(collector.metadata), key, PASSWORD, SECRET_KEY) == []


def _metrics(server: LiveServer) -> str:
    (line,) = [line for line in server.log.read_text().splitlines() if line.startswith("modelyard metrics")]
    with urllib.request.urlopen(line.split()[2], timeout=10) as response:
        return str(response.read().decode())


def _drop(request: pytest.FixtureRequest, database: str) -> None:
    import psycopg

    with psycopg.connect(request.getfixturevalue("postgres_url"), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{database.rpartition("/")[2]}" WITH (FORCE)')


def test_errors_of_the_store_hold_no_secret(
    request: pytest.FixtureRequest, live_server_factory: Factory, minio_server: S3Server
) -> None:
    place, _ = production_place(request)
    wrong = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": STORE_SECRET}
    database = ("--database", with_password(place[1]))
    dead = f"s3://{minio_server.new_bucket()}?endpoint=http://127.0.0.1:9&region=us-east-1"
    for store in (place[3], dead):
        for command in ("start", "doctor"):
            output = output_of(command, *database, "--store", store, env=wrong)
            assert "store" in output
            assert leaked(output, STORE_SECRET, PASSWORD) == []


def output_of(*command: str, env: Mapping[str, str] | None = None) -> str:
    """What a server's command prints until it fails, or waits for its database or store."""
    if command[0] == "migrate":
        command = (*command, "--wait-seconds", "0")
    process = start_python(
        *SERVER,
        *command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(env),
    )
    assert process.stdout is not None
    printed, waits = "", False
    for line in process.stdout:
        printed += line
        if '"waiting for the' in line and not waits:
            waits = True
            process.terminate()
    assert process.wait(60) == (0 if waits else 1), printed
    process.stdout.close()
    return printed


@pytest.mark.parametrize(
    "database",
    [
        "postgresql://modelyard:{password}@127.0.0.1:9/none",
        "postgresql://modelyard:{raw}@127.0.0.1:9/none",
        "postgresql://127.0.0.1:9/none?user=modelyard&password={password}",
        "postgresql:///none?host=127.0.0.1&port=9&password={password}",
        "postgresql://modelyard:{password}@127.0.0.1:port/none",
        "postgresql://modelyard:{password}@127.0.0.1:9/none?no_such_option=1",
        "mysql://modelyard:{password}@127.0.0.1/none",
    ],
)
@pytest.mark.parametrize("command", [("start",), ("doctor",), ("migrate",), ("key", "ls")])
def test_a_database_that_does_not_answer_is_named_without_its_password(
    database: str, command: tuple[str, ...], tmp_path: Path
) -> None:
    url = database.format(password=quote(PASSWORD, safe=""), raw=PASSWORD)
    output = output_of(*command, "--database", url, "--store", str(tmp_path / "store"))
    assert leaked(output, PASSWORD) == []
    assert "Traceback" not in output
    assert "traceback" not in output


@pytest.mark.parametrize(
    "database",
    [
        "postgresql://me:{}@127.0.0.1:9/none",
        "postgresql://me:{}@nohost.invalid/none?sslmode=require",
        "postgresql://127.0.0.1:9/none?user=me&password={}",
    ],
)
@pytest.mark.parametrize(
    "password", ["s3cret@w0rd", "s3cret@w0rd@m0re", "s3cret/w0rd@m0re", "s3cret?w0rd@m0re"]
)
@pytest.mark.parametrize("command", [("start",), ("doctor",), ("key", "ls")])
def test_an_unescaped_database_password_is_refused_without_printing_it(
    database: str, password: str, command: tuple[str, ...], tmp_path: Path
) -> None:
    variables = {"MODELYARD_SERVER_DATABASE": database.format(password)}
    done = run_server_command(*command, "--store", str(tmp_path / "store"), env=variables)
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert leaked(output, "s3cret", "w0rd", "m0re") == []
    assert "%40" in output


def test_an_address_with_a_password_is_refused_without_printing_it() -> None:
    for address in ("grpc://me:s3cret@host:1", "https://me:s3@cret@host", "s3cret@host:1"):
        with pytest.raises(ValueError, match="MODELYARD_API_KEY") as refused:
            addresses.parse(address)
        assert leaked(str(refused.value), "s3cret", "cret") == []


def test_credentials_in_a_store_url_are_refused_without_printing_them(tmp_path: Path) -> None:
    store = f"s3://{ACCESS_KEY}:{STORE_SECRET}@bucket?endpoint=http://127.0.0.1:9"
    for command in ("start", "doctor"):
        done = run_server_command(command, "--data", str(tmp_path), "--store", store)
        assert done.returncode == 1
        assert leaked(done.stdout + done.stderr, STORE_SECRET) == []


def test_the_token_of_a_folder_is_in_server_json_only(live_server_factory: Factory) -> None:
    server = live_server_factory("--embedded", "--log-level", "debug").start()
    token = server.token
    assert not list(failure_texts(server.stubs()))
    said = list(failure_texts(server.stubs(TOKEN)))
    assert len(said) == 3
    server.stop()
    said.append(server.log.read_text())
    for text in said:
        assert leaked(text, token, TOKEN) == []


SCRIPT = """
import sys, modelyard
from modelyard.rpc import retry
retry.GIVE_UP_SECONDS = 1.0
modelyard.Api().artifact(sys.argv[1])
"""


def test_the_sdk_names_the_server_without_the_key(live_server_factory: Factory, tmp_path: Path) -> None:
    server = live_server_factory().start()
    run_server_command("key", "create", "ci", "--data", str(server.data))
    for url in (server.url, "grpc://127.0.0.1:9"):
        variables = environment() | {"MODELYARD_URL": url, "MODELYARD_API_KEY": WRONG_KEY}
        done = run_python("-c", SCRIPT, "p/m:v0", env=variables, cwd=tmp_path)
        assert done.returncode == 1
        assert leaked(done.stdout + done.stderr, WRONG_KEY) == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:pw@db:5432/name?x=y", "postgresql://me@db:5432/name"),
        ("postgresql://me:p/w#@x@db/name", "postgresql://me@db/name"),
        ("postgresql:///name?password=pw", "postgresql:///name"),
        ("postgresql://db/name?password=p@w", "postgresql://db@w"),
        ("s3://bucket/prefix?endpoint=http://me:pw@s3", "s3://bucket@s3"),
        ("s3://bucket/prefix?endpoint=http://s3", "s3://bucket/prefix"),
        ("/srv/store?1", "/srv/store?1"),
    ],
)
def test_places_are_shown_without_secrets(url: str, shown: str) -> None:
    assert without_secrets(url) == shown
