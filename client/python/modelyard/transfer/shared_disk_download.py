"""Reads chunks from pack files of a server on this machine, at positions that it returns."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from typing import Any

from modelyard.local.v1 import local_pb2 as pb
from modelyard.rpc.connection import Connection
from modelyard.v1 import model_artifact_pb2

READ_BYTES = 1 << 20  # stays in the processor's cache until it is hashed and written


class NotReadable(Exception):
    """A pack file cannot be read at the position that the server returned."""


class Reading:
    """The bytes of ranges in order, as views that are valid until the next one.

    They are not verified. Errors while iterating: NotReadable, CommError.
    """

    def __init__(
        self, connection: Connection, version_id: str, ranges: Sequence[model_artifact_pb2.FileRange]
    ) -> None:
        request = pb.LocateFilesRequest(version_id=version_id, ranges=ranges)
        self._call: Any = connection.local.LocateFiles(request)

    def __iter__(self) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(READ_BYTES))
        for reply in self._call:
            for location in reply.ranges:
                yield from _read(location, buffer)

    def cancel(self) -> None:
        """Cancels the call."""
        self._call.cancel()


def _read(location: pb.LocalRange, buffer: memoryview) -> Iterator[memoryview]:
    try:
        # O_NONBLOCK: opening a pipe must not wait for its other end.
        descriptor = os.open(location.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise NotReadable from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotReadable
        offset, end = location.offset, location.offset + location.length
        while offset < end:
            part = buffer[: end - offset]
            try:
                count = os.preadv(descriptor, [part], offset)
            except OSError as error:
                raise NotReadable from error
            if not count:
                raise NotReadable
            yield part[:count]
            offset += count
    finally:
        os.close(descriptor)
