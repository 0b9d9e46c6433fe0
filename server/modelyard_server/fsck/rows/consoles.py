"""Lines of consoles: each stored segment can be unpacked, and has the lines that its row says."""

from __future__ import annotations

import json
import zlib
from typing import Any, cast

from sqlalchemy import Table, select

from modelyard_server.db.output_tables import ConsoleSegment
from modelyard_server.fsck.scan import BYTES_ROWS, Scan

_S = cast(Table, ConsoleSegment.__table__)
_SEGMENTS = select(
    _S.c.id, _S.c.run_id, _S.c.payload,
    _S.c.line_count, _S.c.size, _S.c.first_number, _S.c.last_number, _S.c.first_revision, _S.c.last_revision,
).order_by(_S.c.id)  # fmt: skip
UNPACKED_BYTES = 64 << 20
"""More than any segment has: a damaged one must not fill the memory."""


def check(scan: Scan) -> None:
    """Checks every segment."""
    for id_, run_id, payload, *said in scan.rows(_SEGMENTS, at_once=BYTES_ROWS, counted=True):
        try:
            problem = _problem(payload, said)
        except (zlib.error, ValueError, TypeError, IndexError, AttributeError) as error:
            problem = f"cannot be unpacked ({type(error).__name__})"
        if problem:
            what = f"lines of the run {run_id} {problem}"
            scan.add("console_broken", what, {"run_id": run_id, "segment": id_})


def _problem(payload: bytes, said: list[int]) -> str:
    """What is wrong with a segment; empty if nothing is."""
    unpacking = zlib.decompressobj()
    text = unpacking.decompress(payload, UNPACKED_BYTES)
    if not unpacking.eof:
        return "end early, or are too many"
    lines: list[Any] = json.loads(text)
    numbers = [line[0] for line in lines]
    revisions = [line[6] for line in lines]
    size = sum(len(line[3].encode()) + len(line[4].encode()) for line in lines)
    found = [len(lines), size, numbers[0], numbers[-1], min(revisions), max(revisions)]
    if found != said:
        return f"are {found}, and their row says {said}"
    return "" if numbers == sorted(set(numbers)) else "are not in the order of their numbers"
