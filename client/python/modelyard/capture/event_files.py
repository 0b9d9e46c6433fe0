"""Reads the event files that a writer of TensorBoard's format appends to, as they grow."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

_HEADER = struct.Struct("<QI")
"""The length of a record, and a checksum of it. The record and its own checksum follow."""
_CHECKSUM = 4
_RECORD_LIMIT = 256 * 2**20
"""A longer record is none: the file is read no further."""


class EventFiles:
    """The files of one folder whose names end as those of one kind of writer in this process.

    What is in them already is left out.
    """

    def __init__(self, folder: str, ending: str) -> None:
        self._folder = folder
        name = rf"events\.out\.tfevents\.\d+\..*\.{os.getpid()}\.\d+{re.escape(ending)}"
        self._name = re.compile(name)
        self._read = dict(self._sizes())
        """How many bytes of each file are read."""

    def records(self) -> Iterator[bytes]:
        """The records that were completely written since the last call, file by file."""
        for path, size in sorted(self._sizes()):
            if size > self._read.get(path, 0):
                with suppress(OSError), open(path, "rb") as file:
                    yield from self._records_of(path, file)

    def _sizes(self) -> Iterator[tuple[str, int]]:
        with suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if self._name.fullmatch(entry.name):
                    yield entry.path, entry.stat().st_size

    def _records_of(self, path: str, file: BinaryIO) -> Iterator[bytes]:
        position = self._read.get(path, 0)
        file.seek(position)
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            length, _ = _HEADER.unpack(header)
            if length > _RECORD_LIMIT:
                return
            record = file.read(length + _CHECKSUM)
            if len(record) < length + _CHECKSUM:
                return
            position += _HEADER.size + len(record)
            self._read[path] = position
            yield record[:length]
