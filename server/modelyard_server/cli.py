"""`modelyard server …`: the commands that start and maintain a server."""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from modelyard.contract.streams import echo
from modelyard.contract.transport import DEFAULT_PORT
from modelyard_server.process import file_permissions
from modelyard_server.settings import (
    COLLECT_SECONDS,
    DEFAULT_HOST,
    DOWNLOAD_STREAMS,
    EMBEDDED_IDLE_SECONDS,
    MAX_VERSION_CHUNKS,
    MAX_VERSION_FILES,
    MAX_VERSION_GIB,
    RETENTION,
    STALL_SECONDS,
    STREAM_SHARE,
    SWEEP_SECONDS,
    UPLOAD_STREAMS,
    WATCH_STREAMS,
    Location,
    Settings,
    StartError,
    parse_duration,
    parse_location,
)

F = TypeVar("F", bound=Callable[..., Any])
_PASSWORD = re.compile(r"://[^/@]*:[^/]*@|[?&]password=")
LOG_LEVELS = ("debug", "info", "warning", "error")


def _option(*names: str, variable: str = "", **attributes: Any) -> Callable[[F], F]:
    """An option with its environment variable."""
    envvar = variable or "MODELYARD_SERVER_" + names[0].lstrip("-").upper().replace("-", "_")
    return click.option(*names, envvar=envvar, show_envvar=True, show_default=True, **attributes)


def _location_options(command: F, *, failure: type[click.ClickException] = click.ClickException) -> F:
    """--data, --database and --store as one argument `location`; `failure` is raised for errors."""

    @_option("--data", type=click.Path(file_okay=False, path_type=Path), variable="MODELYARD_DATA_DIR",
             help="Folder for metadata and bytes.  [default: one for each user]")  # fmt: skip
    @_option("--database", help="postgresql://user:password@host/name instead of a folder.")
    @_option("--store", help="s3://bucket[/prefix]?endpoint=…&region=…, or file:///folder.")
    @functools.wraps(command)
    def with_location(data: Path | None, database: str | None, store: str | None, **rest: Any) -> Any:
        with _errors_as_messages(failure):
            _warn_of_password(database)
            location = parse_location(data, database, store)
            file_permissions.set_umask(location)
            return command(location=location, **rest)

    return with_location  # type: ignore[return-value]  # click reads the options off the wrapper


def _tls_options(command: F) -> F:
    """--tls-cert and --tls-key."""
    path = click.Path(dir_okay=False, path_type=Path)
    key = _option("--tls-key", type=path, help="Private key, PEM.")
    return _option("--tls-cert", type=path, help="Certificate chain, PEM.")(key(command))


@contextmanager
def _errors_as_messages(failure: type[click.ClickException] = click.ClickException) -> Iterator[None]:
    """Raises errors as a failure, which prints one sentence and has an exit code."""
    from modelyard.contract import errors

    try:
        yield
    except (StartError, errors.CommError) as error:
        raise failure(str(error)) from error
    except ModuleNotFoundError as error:
        raise failure(
            f'the server is not installed ({error}). Install it: pip install "modelyard[server]"'
        ) from error


class _Unchecked(click.ClickException):
    """A failure of `fsck`, whose exit code 1 means damage."""

    exit_code = 2


def _warn(sentence: str) -> None:
    echo(f"Warning: {sentence}", err=True)


def _warn_of_password(database: str | None) -> None:
    source = click.get_current_context().get_parameter_source("database")
    if database and source is ParameterSource.COMMANDLINE and _PASSWORD.search(database):
        _warn(
            "every user of this machine can read the password in --database: set MODELYARD_SERVER_DATABASE "
            "instead"
        )


class _Duration(click.ParamType):  # type: ignore[type-arg]  # not generic in older releases
    """A duration as text, such as 24h: settings go to workers as they were given."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text; fails for one that is no duration."""
        try:
            parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


DURATION = _Duration()


@click.group()
def server() -> None:
    """Run and look after a modelyard server."""


@server.command()
@_location_options
@_option("--host", default=DEFAULT_HOST, help="Address to listen on.")
@_option("--port", default=DEFAULT_PORT, type=click.IntRange(0, 65535), help="0: any free port.")
@_option("--workers", default=1, type=click.IntRange(1, 64), help="Processes on one port; PostgreSQL only.")
@_tls_options
@_option("--no-auth", is_flag=True, help="Accept calls without API keys, from everywhere.")
@_option("--embedded", is_flag=True, help="Serve the folder's owner only, and exit when idle.")
@_option(
    "--idle-seconds",
    default=EMBEDDED_IDLE_SECONDS,
    type=click.FloatRange(0.1),
    help="Embedded: exit after so long without calls.",
)
@_option(
    "--sweep-seconds",
    default=SWEEP_SECONDS,
    type=click.FloatRange(0.1),
    help="How often to delete what has expired.",
)
@_option(
    "--collect-seconds",
    default=COLLECT_SECONDS,
    type=click.FloatRange(0.1),
    help="How often to look for space that nothing needs any more.",
)
@_option(
    "--retention",
    default=RETENTION,
    type=DURATION,
    help="How long to keep packs in the store that nothing needs any more: 0, 90s, 15m, 24h, 7d.",
)
@_option(
    "--upload-streams",
    default=UPLOAD_STREAMS,
    type=click.IntRange(1),
    help="Uploads served at once by each worker, and commits beside them.",
)
@_option(
    "--download-streams",
    default=DOWNLOAD_STREAMS,
    type=click.IntRange(1),
    help="Downloads served at once by each worker, and scans of metrics beside them.",
)
@_option(
    "--watch-streams", default=WATCH_STREAMS, type=click.IntRange(1), help="Watches of each worker at once."
)
@_option(
    "--stream-share",
    default=STREAM_SHARE,
    type=click.IntRange(1, 100),
    help="Percent of the streams not held by others that one principal may hold.",
)
@_option(
    "--stall-seconds",
    default=STALL_SECONDS,
    type=click.FloatRange(0.1),
    help="End streams whose client neither sends nor reads for so long.",
)
@_option(
    "--max-version-files",
    default=MAX_VERSION_FILES,
    type=click.IntRange(1),
    help="Most entries of a version.",
)
@_option(
    "--max-version-chunks",
    default=MAX_VERSION_CHUNKS,
    type=click.IntRange(1),
    help="Most chunks of the files of a version, repetitions included.",
)
@_option(
    "--max-version-gib",
    default=MAX_VERSION_GIB,
    type=click.IntRange(1, 1 << 30),
    help="Most GiB of the files of a version.",
)
@_option(
    "--log-level",
    default="info",
    type=click.Choice(LOG_LEVELS),
    help="Lowest level to log; info: refused and slow calls, debug: every call.",
)
@_option(
    "--web-port",
    type=click.IntRange(0, 65535),
    help="HTTP/1.1 for browsers and curl, on the same --host; 0: any free port.  [default: --port + 1]",
)
@_option("--no-web", is_flag=True, help="Serve nothing over HTTP.")
@_option(
    "--web-url",
    default="",
    help="Where browsers reach the page, if not on --web-port: https://models.example.org.",
)
@_option(
    "--web-host",
    multiple=True,
    metavar="NAME",
    help="A further name that browsers reach the server by; may be repeated. Beyond loopback all names are "
    "accepted unless one is given.",
)
@_option(
    "--web-behind-proxy",
    is_flag=True,
    help="Browsers come by a proxy with a certificate, which sets x-forwarded-for: sign-in is allowed over "
    "the plain HTTP between proxy and server.",
)
@_option(
    "--web-dist",
    type=click.Path(file_okay=False, path_type=Path),
    help="Serve the page of this folder instead of the package's: for changing it.",
)
@_option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Prometheus metrics by HTTP, also on --host; 0: any free port. Each of --workers takes the next.",
)
@_option("--otel-endpoint", help="Send traces by OTLP over gRPC: http://host:4317, or https:// for TLS.")
def start(location: Location, **options: Any) -> None:
    """Serve until SIGTERM or Ctrl-C; running calls then have 30 s to end."""
    from modelyard_server.observability import logs
    from modelyard_server.process import tls, workers

    settings = Settings(location, **options)
    settings.check()
    logs.configure(settings.log_level)
    is_worker = workers.is_worker()
    if not is_worker and not settings.embedded:
        for sentence in (
            tls.check(settings.tls_cert, settings.tls_key),
            *settings.warnings(),
            *file_permissions.warnings(location),
        ):
            if sentence:
                logging.getLogger(__name__).warning(sentence)
    if settings.workers > 1 and not is_worker:
        workers.supervise(settings)
        return
    # gRPC's own log lines are not JSON, and add nothing to our errors.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # A client that starts this process may have set it for itself. The server never forks.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    from modelyard_server import app  # imports gRPC and SQLAlchemy, which --help does not need

    app.run(settings)


@server.command()
@_location_options
@click.option("--make-bucket", is_flag=True, help="Create the bucket of the S3 store if it does not exist.")
@_option(
    "--wait-seconds",
    default=60.0,
    type=click.FloatRange(0),
    help="How long to wait for a database or store that cannot be reached.",
)
def migrate(location: Location, make_bucket: bool, wait_seconds: float) -> None:
    """Migrate the database's schema to this release. `start` does it too."""
    from modelyard_server import admin

    if make_bucket:
        echo(admin.make_bucket(location, wait_seconds))
    echo(admin.migrate(location, wait_seconds))


@server.command()
@click.option(
    "--address", default=f"{DEFAULT_HOST}:{DEFAULT_PORT}", show_default=True, help="The server's host:port."
)
@click.option("--tls", is_flag=True, help="Use TLS.")
@click.option(
    "--tls-ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Trust this certificate, PEM; implies --tls.",
)
@click.option(
    "--timeout", default=5.0, show_default=True, type=click.FloatRange(0.1), help="Seconds to wait."
)
def health(address: str, tls: bool, tls_ca: Path | None, timeout: float) -> None:
    """Ask a server whether it is serving. Exit code 0 if it is, else 1."""
    from modelyard_server.process import health

    with _errors_as_messages():
        echo(health.ask(address, timeout, tls=tls or tls_ca is not None, authority=tls_ca))


@server.command()
@_location_options
@_tls_options
def doctor(location: Location, tls_cert: Path | None, tls_key: Path | None) -> None:
    """Check the database, the store and the certificate, and say what to do about each problem.

    Exit code 1 if there is a problem. A folder or database that does not exist yet is not one: `start` and
    `migrate` create it.
    """
    from modelyard_server import admin

    findings = admin.examine(location)
    if tls_cert and tls_key:
        findings.append(admin.examine_certificate(tls_cert, tls_key))
    for finding in findings:
        state = "new" if finding.new else "ok" if finding.ok else "problem"
        echo(f"{state:8} {finding.what}: {finding.detail}")
    if not all(finding.ok for finding in findings):
        click.get_current_context().exit(1)
    if any(finding.new for finding in findings):
        echo("No problem found: `modelyard server start` or `migrate` creates what is new.")


@server.command()
@functools.partial(_location_options, failure=_Unchecked)
@click.option(
    "--read-data",
    "read_percent",
    default=0.0,
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Read so much of the packs, chosen at random, and compare all bytes with their digests.",
)
@click.option(
    "--max-duration",
    type=DURATION,
    help="End after so long, such as 90s, 15m or 2h; checks that are left out are reported.",
)
@click.option(
    "--quarantine",
    is_flag=True,
    help="Mark chunks whose bytes are lost or wrong as missing, so that logging their content again "
    "replaces them. Without it nothing is written.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def fsck(
    location: Location, read_percent: float, max_duration: str | None, quarantine: bool, as_json: bool
) -> None:
    """Check that every version is complete, and name what is damaged and the versions that it touches.

    Compares rows with each other, packs with the store, and with --read-data bytes with digests. It runs
    beside servers. Exit code 0: no damage; 1: damage; 2: something could not be checked.
    """
    from modelyard_server.fsck import report, run

    shown = report.Document(echo) if as_json else report.Lines(echo)
    seconds = None if max_duration is None else parse_duration(max_duration) / 1e6
    results = run.check(location, run.Wanted(read_percent, seconds, quarantine), shown.show)
    shown.end(results)
    click.get_current_context().exit(report.exit_code(results))


@server.command()
@_location_options
@click.option(
    "--retention",
    default=RETENTION,
    show_default=True,
    type=DURATION,
    help="Delete packs that nothing has needed for so long: 0, 90s, 15m, 24h, 7d.",
)
@click.option(
    "--unfinished",
    default="10m",
    show_default=True,
    type=DURATION,
    help="Give up packs that have been written for so long.",
)
@click.option("--thorough", is_flag=True, help="Rewrite packs until at most a tenth of each is dead.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("--explain", metavar="REF", help="Only say who needs the bytes of a version or an artifact.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def collect(
    location: Location,
    retention: str,
    unfinished: str,
    thorough: bool,
    dry_run: bool,
    explain: str | None,
    as_json: bool,
) -> None:
    """Delete what nothing needs any more, so that its space can be used again.

    It may run beside servers and other collectors. Servers do the same in the background.
    """
    from modelyard_server import space
    from modelyard_server.collecting import shown
    from modelyard_server.collecting.rules import HALF, TENTH, Rules

    if explain is not None:
        lines = shown.explanation(space.explain(location, explain), as_json=as_json)
    else:
        ages = parse_duration(retention), parse_duration(unfinished)
        rules = Rules(*ages, TENTH if thorough else HALF)
        work = space.foresee if dry_run else space.collect
        lines = shown.totals(work(location, rules), as_json=as_json)
    for line in lines:
        echo(line)


@server.command()
@_location_options
@click.argument("what", metavar="[ENTITY[/PROJECT] | REF]", default="")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def usage(location: Location, what: str, as_json: bool) -> None:
    """Show what is stored of each entity, of each project of ENTITY, or of each artifact of PROJECT.

    REF is an artifact (ENTITY/PROJECT/NAME) or a version of one: who needs its bytes, and how many of them
    deleting it would free.
    """
    from modelyard_server import space
    from modelyard_server.collecting import shown

    if ":" in what or what.count("/") > 1:
        lines = shown.explanation(space.explain(location, what), as_json=as_json)
    else:
        lines = shown.usage(space.used(location, what), as_json=as_json)
    for line in lines:
        echo(line)


@server.command()
@_location_options
@click.argument("target", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def backup(location: Location, target: Path) -> None:
    """Copy a data folder to DIR, while its server runs. A later backup to DIR copies only what is new.

    DIR becomes a data folder itself: check it by `modelyard server fsck --data DIR`. Exit code 1 if the
    store lacks packs. For PostgreSQL and S3 see `modelyard server hold`.
    """
    from modelyard_server.backup import copying

    try:
        done = copying.back_up(location, target)
    except OSError as error:
        raise click.ClickException(f"the backup was not made: {error}") from error
    for line in done.lines():
        echo(line)
    if done.missing:
        click.get_current_context().exit(1)


@server.command()
@_location_options
@click.option(
    "--margin",
    default=1000,
    show_default=True,
    type=click.IntRange(0, 1_000_000_000),
    help="Numbers that are left out for versions logged in the last ten seconds before the loss.",
)
@click.option("--accept-losses", is_flag=True, help="Let collectors work again though packs are missing.")
def restore(location: Location, margin: int, accept_losses: bool) -> None:
    """Compare a restored database with its store, and make sure that no number is given out again.

    Run it once after a database or a store was put back, before the first server starts. Until then
    collectors delete nothing. Exit code 1 if packs are missing.
    """
    from modelyard_server.backup import restoring
    from modelyard_server.fsck import report

    lines = report.Lines(echo)
    done = restoring.restore(location, margin=margin, accept_losses=accept_losses, show=lines.show)
    for line in done.lines():
        echo(line)
    if not done.released:
        click.get_current_context().exit(1)


@server.group()
def hold() -> None:
    """Keep every object of the store while a backup of database and store is made by other tools.

    Make a hold, copy the database, then the bucket, then release the hold.
    """


@hold.command("create")
@_location_options
@click.argument("name")
@click.option(
    "--for", "lifetime", default="24h", show_default=True, type=DURATION, help="When it ends by itself."
)
def create_hold(location: Location, name: str, lifetime: str) -> None:
    """Make a hold for NAME, such as `nightly`, and print its id."""
    from modelyard_server.backup import holding

    echo(holding.create(location, name, parse_duration(lifetime)))


@hold.command("ls")
@_location_options
def list_holds(location: Location) -> None:
    """Show the holds: id, name, when it was made and when it ends."""
    from modelyard_server.backup import holding

    for line in holding.lines(location):
        echo(line)


@hold.command("release")
@_location_options
@click.argument("hold_id", metavar="ID")
def release_hold(location: Location, hold_id: str) -> None:
    """End a hold. Exit code 1 if it had ended by itself: what was copied may be incomplete."""
    from modelyard_server.backup import holding

    if not holding.release(location, hold_id):
        raise click.ClickException(
            "the hold had ended: packs that the copy of the database needs may have been deleted before "
            "they were copied. Check the copy, or make it again with a longer --for"
        )
    echo("the hold is released")


@server.group()
def key() -> None:
    """Make, list and revoke API keys. A running server applies changes within five seconds."""


@key.command("create")
@_location_options
@click.argument("name")
@click.option("--entity", default="local", show_default=True, help="The key's default and limit.")
@click.option("--all-entities", is_flag=True, help="Give it access to every entity.")
@click.option(
    "--key",
    "text",
    help="Use this key (my_ and 32 or more characters) instead of a new one; - reads it from standard input.",
)
@click.option("--if-absent", is_flag=True, help="With --key: do nothing if that key exists.")
def create_key(
    location: Location, name: str, entity: str, all_entities: bool, text: str | None, if_absent: bool
) -> None:
    """Make a key for NAME and print it. It is not shown again."""
    from modelyard_server import admin

    if text is not None:
        if text == "-":
            text = sys.stdin.readline()
        else:
            _warn("every user of this machine can read a --key: use --key - and pass the key by a pipe")
        text = text.strip()
        echo(admin.adopt_key(location, text, name, entity, all_entities=all_entities, if_absent=if_absent))
        return
    if if_absent:
        raise click.UsageError("--if-absent is only for --key: a new key never exists already")
    echo(admin.create_key(location, name, entity, all_entities=all_entities))


@key.command("ls")
@_location_options
def list_keys(location: Location) -> None:
    """Show all keys: id, name, entity, principal's id, state. Keys of one principal share its rights."""
    from modelyard_server import admin

    for line in admin.list_keys(location):
        echo(line)


@key.command("revoke")
@_location_options
@click.argument("key_id", metavar="ID")
def revoke_key(location: Location, key_id: str) -> None:
    """Revoke a key."""
    from modelyard_server import admin

    echo(admin.revoke_key(location, key_id))
