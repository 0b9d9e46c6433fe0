"""The digests of the published standard, computed from rows as they stream by."""

from __future__ import annotations

import hashlib
import struct

_UNKNOWN = (1 << 64) - 1


class FileDigest:
    """SHA-256 over the raw digest and the size (uint64, big-endian) of each chunk."""

    def __init__(self) -> None:
        self._state = hashlib.sha256()

    def add(self, digest: bytes, size: int) -> None:
        """Adds the next chunk."""
        self._state.update(digest + struct.pack(">Q", size % (1 << 64)))

    @property
    def value(self) -> bytes:
        """The digest of the chunks so far."""
        return self._state.digest()


class VersionDigest:
    """SHA-256 over the entries of a version in the order of the bytes of their paths."""

    def __init__(self) -> None:
        self._state = hashlib.sha256()

    def add_file(self, path: bytes, digest: bytes, size: int) -> None:
        """Adds a file."""
        self._state.update(_prefixed(path) + b"\0" + digest + struct.pack(">Q", size % (1 << 64)))

    def add_reference(self, path: bytes, uri: str, tag: str, size: int | None) -> None:
        """Adds a reference; its size is None where it is not known."""
        number = _UNKNOWN if size is None else size % (1 << 64)
        parts = (_prefixed(path), b"\1", _prefixed(uri.encode()), _prefixed(tag.encode()))
        self._state.update(b"".join(parts) + struct.pack(">Q", number))

    @property
    def value(self) -> bytes:
        """The digest of the entries so far."""
        return self._state.digest()


def _prefixed(raw: bytes) -> bytes:
    return struct.pack(">I", len(raw)) + raw
