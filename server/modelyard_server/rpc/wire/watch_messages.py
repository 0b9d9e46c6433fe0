"""Messages of WatchRuns: positions, and pages of changes that are split below the size of a message."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from sqlalchemy.orm import Session

from modelyard.contract import errors, framing
from modelyard.contract.limits import MESSAGE_BYTES
from modelyard.v1 import metric_pb2
from modelyard.v1 import run_pb2 as pb
from modelyard_server.domain.runs import metrics, run_changes
from modelyard_server.domain.runs.run_changes import Arrived, Head, Page, Position
from modelyard_server.rpc.wire import console_lines, metric_batches, run_messages

MOST_BYTES = MESSAGE_BYTES - (64 << 10)
_ROWS = {
    metrics.HISTORY: pb.WatchRunsResponse.HISTORY_FIELD_NUMBER,
    metrics.SYSTEM: pb.WatchRunsResponse.SYSTEM_FIELD_NUMBER,
}
_POSITION = re.compile(r"([1-9]\d{0,8})\.(\d{1,18})\.(\d{1,18})", re.ASCII)


class Selection(NamedTuple):
    """Which rows a watch sends: of these metrics, of all if empty, from a step on."""

    keys: frozenset[str]
    min_step: int


class Part(NamedTuple):
    """An encoded part of a message, and the position after it. Parts end to end are one message."""

    position: Position
    encoded: bytes


class Shown(NamedTuple):
    """A run as an encoded part. `content` is equal for runs that look the same to a watch."""

    head: Head
    encoded: bytes
    content: bytes


def parse_position(field: str, text: str) -> Position | None:
    """The position that a message had; None for an empty one. Raises InvalidField."""
    if not text:
        return None
    found = _POSITION.fullmatch(text)
    if found is None:
        raise errors.InvalidField.of(field, "is not the position of a message")
    return Position(*map(int, found.groups()))


def show(session: Session, run_id: str, attempt: int) -> Shown:
    """The run in one of its attempts. Raises NotFound."""
    head, view = run_changes.show(session, run_id, attempt)
    message = run_messages.message(view)
    encoded = pb.WatchRunsResponse(run=message).SerializeToString()
    # What changes all the time is no news by itself.
    message.ClearField("heartbeat_time")
    message.ClearField("update_time")
    message.ClearField("last_step")
    return Shown(head, encoded, hashlib.sha256(message.SerializeToString(deterministic=True)).digest())


def parts(page: Page, selection: Selection) -> list[Part]:
    """The rows and lines of a page, each with where to continue after it."""
    at = page.start
    found = []
    for batch in page.batches:
        at = at._replace(batch_id=batch.id)
        if payload := _selected(batch, selection):
            found.append(Part(at, framing.with_bytes(_ROWS[batch.stream], payload)))
    for revision, lines in groupby(page.lines, key=lambda placed: placed.line.revision):
        at = at._replace(revision=revision)
        message = pb.WatchRunsResponse(console=[console_lines.message(line) for line in lines])
        found.append(Part(at, message.SerializeToString()))
    return found


def messages(run_id: str, page: Page, found: Sequence[Part], shown: Shown | None) -> Iterator[bytes]:
    """The messages of a page, which begin with the run if it is to be sent; none if there is nothing."""
    kept: list[bytes] = [shown.encoded] if shown else []
    at = page.start
    for part in found:
        if kept and sum(map(len, kept)) + len(part.encoded) > MOST_BYTES:
            yield _message(run_id, at, kept)
            kept = []
        kept.append(part.encoded)
        at = part.position
    if kept:
        yield _message(run_id, page.end, kept)


def deleted(run_id: str, position: Position) -> bytes:
    """The last message of a run."""
    return _message(run_id, position, [pb.WatchRunsResponse(deleted=True).SerializeToString()])


def _message(run_id: str, position: Position, encoded: Collection[bytes]) -> bytes:
    head = pb.WatchRunsResponse(run_id=run_id, position=".".join(map(str, position)))
    return b"".join((head.SerializeToString(), *encoded))


def _selected(batch: Arrived, selection: Selection) -> bytes:
    """The selected rows of a batch, encoded; empty if there are none."""
    if not selection.keys and batch.first_step >= selection.min_step:
        return batch.payload
    rows = metric_pb2.MetricBatch.FromString(batch.payload)
    chosen = metric_batches.select(rows, selection.keys, selection.min_step, None)
    return b"" if chosen is None else chosen.SerializeToString()
