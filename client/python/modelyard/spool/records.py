"""The bytes of a spool file: records with a length and a checksum, of the kinds below.

    record   length of the body (u32), CRC-32 of the body (u32), body
    body     kind (one byte), content

Numbers are little-endian. The first record of a file is its HEADER. What follows a
record that is incomplete or damaged is not read: a process may be killed while it
writes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple
from zlib import crc32

FRAME = struct.Struct("<II")
FORMAT = 1

HEADER = ord("H")
"""JSON: `format`, `writer`, `first_row` (how many rows the writer had before this file)."""
LAYOUT = ord("L")
"""JSON: names and kinds of the points of ROW records with its number."""
ROW, OPEN_ROW = ord("R"), ord("r")
"""A row of numbers; see `rows`. Of an OPEN row more points may follow, under the same step."""
PLAIN_ROW, OPEN_PLAIN_ROW = ord("J"), ord("j")
"""A row as JSON: step, time, points, paths of nested points."""
END_OF_ROW = ord("C")
"""No content: the open row is complete."""
FIELDS = ord("F")
"""JSON: new values of fields of the run, by name (`config.lr`, `notes`, …)."""
SUMMARY = ord("S")
"""JSON: `set`, entries that the program set in the summary, and `removed`, names."""
DEFINITION = ord("D")
"""JSON: the arguments of `define_metric`. The definitions so far follow each HEADER."""
ARTIFACT = ord("A")
"""JSON: a call about artifacts; see `sync.artifact_calls`."""
SYSTEM = ord("Y")
"""JSON: a row of the machine's metrics: `number` of the writer's, from 0, `time` and `points`."""
CONSOLE = ord("O")
"""JSON: `number` of the writer's record, from 1, `process`, and `lines` (number, time, stream, text)."""
FILE = ord("V")
"""JSON: `path` and `source` of a file to be sent, and `policy`: now, live (now and after changes) or end.

A source in the folder of the run is relative to that.
"""
FINISH = ord("E")
"""JSON: `exit_code` and `killed` of a run that ended."""


class Record(NamedTuple):
    """A record that is no row: its kind, and its content."""

    kind: int
    content: Any


def framed(body: bytes) -> bytes:
    """The record of a body."""
    return FRAME.pack(len(body), crc32(body)) + body


def json_record(kind: int, content: Any) -> bytes:
    """A record with JSON. Errors: TypeError, ValueError, RecursionError."""
    return framed(bytes((kind,)) + json.dumps(content, separators=(",", ":")).encode())


def bodies(data: memoryview) -> Iterator[tuple[memoryview, int]]:
    """The bodies of the whole records in `data`, each with the place where it ends."""
    at, size = 0, len(data)
    while at + FRAME.size < size:
        length, checksum = FRAME.unpack_from(data, at)
        start, at = at + FRAME.size, at + FRAME.size + length
        if not length or at > size:
            return
        body = data[start:at]
        if crc32(body) != checksum:
            return
        yield body, at


def whole_length(start: bytes) -> int:
    """The length of the record that begins with these bytes; 0 if they are too few."""
    if len(start) < FRAME.size:
        return 0
    length, _ = FRAME.unpack_from(start)
    return FRAME.size + int(length)
