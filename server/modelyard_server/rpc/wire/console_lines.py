"""Lines of consoles: checks of messages, and stored lines → messages."""

from __future__ import annotations

import re
from typing import Any

from modelyard.contract import errors, refs
from modelyard.contract.limits import (
    CONSOLE_BATCH_BYTES,
    CONSOLE_BATCH_LINES,
    CONSOLE_LINE_BYTES,
    NAME_LENGTH,
)
from modelyard.v1 import run_console_pb2 as pb
from modelyard_server.domain import fields
from modelyard_server.domain.runs.console import MAX_NUMBER, Batch
from modelyard_server.domain.runs.console_segments import Line, PlacedLine
from modelyard_server.rpc.wire import arguments, convert

_LEFT_OUT = re.compile(
    r"(\x1b\[[0-9;:]*m)"  # colours, the one thing that is kept
    r"|\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\^_]?"
    r"|[\x00-\x08\x0a-\x1f\x7f-\x9f]"
)


def parse(request: pb.LogConsoleLinesRequest) -> Batch:
    """The checked lines of a request. Raises InvalidField."""
    if not 1 <= len(request.lines) <= CONSOLE_BATCH_LINES:
        raise errors.InvalidField.of(
            "lines", f"has {len(request.lines)} lines; expected 1 to {CONSOLE_BATCH_LINES}"
        )
    size = request.ByteSize()
    if size > CONSOLE_BATCH_BYTES:
        raise errors.InvalidField.of("lines", f"has {size} bytes; at most {CONSOLE_BATCH_BYTES}")
    lines = [_line(f"lines[{index}]", line) for index, line in enumerate(request.lines)]
    # Of two states of a line, the later one counts.
    by_number = {line.number: line for line in lines}
    return Batch(request.writer, request.sequence, [by_number[number] for number in sorted(by_number)])


def message(placed: PlacedLine) -> pb.ConsoleLine:
    """The message of a stored line."""
    line = placed.line
    stream: Any = line.stream
    return pb.ConsoleLine(
        number=line.number,
        write_time=convert.timestamp(line.time),
        stream=stream,
        text=line.text,
        process=line.process,
        writer=placed.writer,
    )


def check_stream(field: str, stream: int) -> int:
    """The stream of lines. Raises InvalidField for one that this server does not know."""
    if stream not in pb.ConsoleStream.values():
        raise errors.InvalidField.of(field, f"{stream} is not a stream this server knows")
    return stream


def _line(field: str, line: pb.ConsoleLine) -> Line:
    if not 1 <= line.number <= MAX_NUMBER:
        raise errors.InvalidField.of(f"{field}.number", f"is {line.number}; lines are counted from 1")
    if not line.HasField("write_time"):
        raise errors.InvalidField.of(f"{field}.write_time", "is required")
    if "\0" in line.text:
        raise errors.InvalidField.of(f"{field}.text", "holds the character U+0000, which is not allowed here")
    if len(line.text.encode()) > CONSOLE_LINE_BYTES:
        raise errors.InvalidField.of(f"{field}.text", f"is longer than {CONSOLE_LINE_BYTES} bytes")
    return Line(
        number=line.number,
        time=arguments.microseconds(f"{field}.write_time", line.write_time),
        stream=check_stream(f"{field}.stream", line.stream),
        text=_LEFT_OUT.sub(lambda found: found[1] or "", line.text),
        process=fields.check(f"{field}.process", refs.check_text, line.process, limit=NAME_LENGTH),
        place=0,
        revision=0,
    )
