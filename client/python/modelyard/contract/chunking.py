"""Cutting files into chunks, and the digests of chunks, files and versions: the published standard.

Cutting is FAST_CDC_2020 as the Remote Execution API defines it, with the
parameters below; `proto/chunking-vectors.json` holds test vectors for other
languages. The server cuts only the files that it is given whole; where a client cut a
file, the server checks digests and sizes and not the cut points.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from modelyard.contract import errors
from modelyard.contract.limits import DIGEST_BYTES

if TYPE_CHECKING:
    from pyfastcdc import FastCDC

Buffer: TypeAlias = bytes | bytearray | memoryview

AVERAGE_BYTES = 524_288
MINIMUM_BYTES = 131_072
MAXIMUM_BYTES = 2_097_152
NORMALIZATION: Final = 2
SEED = 0

UNKNOWN_SIZE = (1 << 64) - 1
"""Stands in the version digest for the size of a reference whose size is not known."""


class Chunk(NamedTuple):
    """Digest (SHA-256, 32 raw bytes) and size in bytes of a part of a file."""

    digest: bytes
    size: int


class Entry(NamedTuple):
    """The part of a manifest entry that enters the version digest.

    A file has `digest` (32 raw bytes); a reference has `uri` and `tag`, and
    None as size where it is not known.
    """

    path: str
    size: int | None
    digest: bytes = b""
    uri: str = ""
    tag: str = ""


def cut_points(data: Buffer, *, final: bool = True) -> Iterator[int]:
    """End offsets of the chunks of `data`, which starts at a cut point.

    Unless `final`, the tail whose end depends on bytes not read yet is left
    out: append the bytes that follow and cut again. The tail is shorter than
    `MAXIMUM_BYTES`. The GIL is released during the search.
    """
    size = len(data)
    if final and 0 < size <= MINIMUM_BYTES:
        yield size
        return
    for chunk in _cutter().cut_buf(data):
        end: int = chunk.offset + chunk.length
        # A cut at the end of the data may only be there because the data ends,
        # unless the chunk has its maximum size.
        if final or end < size or chunk.length == MAXIMUM_BYTES:
            yield end


def cut(data: Buffer, *, final: bool = True) -> list[Chunk]:
    """The chunks at the front of `data`, with their digests; see `cut_points`."""
    view = memoryview(data)
    ends = list(cut_points(view, final=final))
    return [Chunk(chunk_digest(view[start:end]), end - start) for start, end in pairwise([0, *ends])]


@functools.cache
def _cutter() -> FastCDC:
    from pyfastcdc import FastCDC  # imported when first needed: `import modelyard` stays fast

    return FastCDC(
        AVERAGE_BYTES,
        min_size=MINIMUM_BYTES,
        max_size=MAXIMUM_BYTES,
        normalized_chunking=NORMALIZATION,
        seed=SEED,
    )


def chunk_digest(data: Buffer) -> bytes:
    """SHA-256 of a chunk's bytes, raw."""
    return hashlib.sha256(data).digest()


def file_digest(chunks: Iterable[Chunk]) -> bytes:
    """SHA-256 over, for each chunk in order, its raw digest and its size (uint64, big-endian)."""
    state = hashlib.sha256()
    for digest, size in chunks:
        state.update(digest)
        state.update(struct.pack(">Q", size))
    return state.digest()


def version_digest(entries: Iterable[Entry]) -> bytes:
    """The digest of a version; the rule stands at `ModelArtifactVersion.digest` in the protos."""
    state = hashlib.sha256()
    for entry in sorted(entries, key=lambda entry: entry.path.encode()):
        state.update(_prefixed(entry.path))
        if entry.uri:
            size = UNKNOWN_SIZE if entry.size is None else entry.size
            state.update(b"\x01" + _prefixed(entry.uri) + _prefixed(entry.tag) + struct.pack(">Q", size))
        else:
            state.update(b"\x00" + entry.digest + struct.pack(">Q", entry.size or 0))
    return state.digest()


def _prefixed(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">I", len(raw)) + raw


def check_chunks(chunks: Iterable[Chunk], field: str = "chunks") -> None:
    """Raises InvalidField for digests that are not 32 bytes, and sizes out of range."""
    for index, (digest, size) in enumerate(chunks):
        if len(digest) != DIGEST_BYTES:
            raise errors.InvalidField.of(
                f"{field}[{index}].digest", f"has {len(digest)} bytes; SHA-256 has 32"
            )
        if not 1 <= size <= MAXIMUM_BYTES:
            raise errors.InvalidField.of(
                f"{field}[{index}].size_bytes", f"is {size}; a chunk has 1 to {MAXIMUM_BYTES} bytes"
            )
