"""`modelyard watch`."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

import click

from modelyard.api import Api
from modelyard.cli.output import coloured, print_json_text
from modelyard.contract.streams import echo
from modelyard.registry.events import Event, Events, as_json
from modelyard.runs.tracking import describe_server

_COLOURS = {"added": "green", "created": "green", "linked": "green", "removed": "red", "deleted": "red"}


@click.command()
@click.argument("project", metavar="[ENTITY/]PROJECT | ENTITY/")
@click.option("--after", type=click.IntRange(0), help="Events with a larger number. Default: new ones.")
@click.option("--follow/--no-follow", default=True, help="Wait for more, or end with the newest event.")
@click.option("--filter", "condition", default="", help="Only what matches a filter.")
@click.option("--json", "json", is_flag=True, help="Print a line of JSON for each event.")
def watch(project: str, after: int | None, follow: bool, condition: str, json: bool) -> None:
    """Print what changes in a PROJECT, each event once and in order, until Ctrl-C.

    ENTITY/, with a slash at the end, watches every project of an entity, from
    now on. The command waits for a project that does not exist yet, and reconnects
    when the connection is lost. Each line starts with the event's number: --after
    NUMBER continues after it. Events are printed on stdout, messages on stderr.
    """
    whole_entity = project.endswith("/")
    if whole_entity and (after is not None or not follow):
        raise click.UsageError("an entity is watched from now on: --after and --no-follow need a project")
    start = 0 if after is None and not follow else after
    events = Api().events(project, after=start, follow=follow, filter=condition)

    def say_start(sequence: int) -> None:
        where = "" if whole_entity else f" from event {sequence + 1} on"
        is_new = after is None and sequence == 0 and not whole_entity
        note = " (it has no events yet)" if is_new else ""
        server = describe_server(events._connection)
        echo(f"Watching {project} on {server}{where}{note}; Ctrl-C ends it", err=True)

    events.on_start = say_start
    with _until_interrupted(events) as interrupted:
        for event in events:
            if json:
                print_json_text(as_json(event))
            else:
                echo(f"{event.project}  {_line(event)}" if whole_entity else _line(event))
    if interrupted.is_set() and not whole_entity:
        echo(f"Continue with: modelyard watch {project} --after {events.last_sequence or 0}", err=True)


@contextlib.contextmanager
def _until_interrupted(events: Events) -> Iterator[threading.Event]:
    """Ctrl-C ends the iteration and sets the event.

    Another thread closes the events: an exception raised while gRPC holds its lock
    would make the call impossible to cancel.
    """
    interrupted = threading.Event()

    def on_interrupt(_number: int, _frame: object) -> None:
        interrupted.set()
        threading.Thread(target=events.close, daemon=True).start()

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
        events.close()


def _line(event: Event) -> str:
    kind = event.type.replace("_", " ")
    colour = _COLOURS.get(event.type.rpartition("_")[2])
    time = event.create_time.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return (
        f"{event.sequence:>6}  {time}  {coloured(f'{kind:<18}', colour)}  {_what(event)}  ({event.principal})"
    )


def _what(event: Event) -> str:
    """A short description of the event: what it is about, and what changed."""
    name = f"{event.collection}:{event.version}" if event.version else event.collection
    if event.type == "alias_added":
        return f"{event.alias} → {name}" + (
            f" from {event.previous_version}" if event.previous_version else ""
        )
    if event.type == "alias_removed":
        return f"{event.alias} off {name}"
    if event.type == "run_state":
        return f"run {event.run_id} {event.run_state}"
    if event.type in {"linked", "unlinked"}:
        return f"{name} and {event.linked}"
    return f"{event.tag} on {name}" if event.tag else name
