"""What media are made of: the bytes of one file, and the places that files are put into."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from modelyard.media.file_names import safe_part

READ_BYTES = 1 << 20


class Content:
    """The bytes of a file, with the ending of its name (`.png`): in memory, at a path, or made when read."""

    def __init__(self, suffix: str, source: bytes | Path | Iterable[bytes]) -> None:
        self.suffix = suffix
        self._source = source
        self._digest = ""

    @property
    def path(self) -> Path | None:
        """Where the file is; None for bytes of this process."""
        return self._source if isinstance(self._source, Path) else None

    @property
    def digest(self) -> str:
        """SHA-256 in hex of bytes in memory; empty where it is known only after they are read."""
        if not self._digest and isinstance(self._source, bytes):
            self._digest = hashlib.sha256(self._source).hexdigest()
        return self._digest

    def parts(self) -> Iterator[bytes]:
        """The bytes, part by part. Errors: OSError."""
        if isinstance(self._source, bytes):
            yield self._source
        elif isinstance(self._source, Path):
            with open(self._source, "rb") as file:
                while data := file.read(READ_BYTES):
                    yield data
        else:
            yield from self._source

    def measure(self) -> tuple[str, int]:
        """SHA-256 in hex, and size in bytes. Errors: OSError."""
        digest, size = hashlib.sha256(), 0
        for part in self.parts():
            digest.update(part)
            size += len(part)
        return digest.hexdigest(), size

    def read(self) -> bytes:
        """All of the bytes. Errors: OSError."""
        return b"".join(self.parts())


def at_path(path: str | os.PathLike[str], suffix: str = "") -> Content:
    """The content of a file that exists; by default with the ending of its name. Errors: OSError."""
    found = Path(os.path.abspath(Path(path).expanduser()))
    with open(found, "rb"):  # a file that cannot be read is an error where it is named
        return Content(suffix or _suffix(found), found)


def _suffix(path: Path) -> str:
    return safe_part(path.suffix.lower()) if path.suffix else ""


def local_file(call: str, path: str | os.PathLike[str], suffix: str = "") -> Content:
    """As `at_path`, for an argument of `call`. ValueError for a URI."""
    if "://" in os.fspath(path):
        raise ValueError(f"{call}: {path} is not a local file; add it to an artifact with add_reference")
    return at_path(path, suffix)


class Placed(NamedTuple):
    """A file in its place: its path there, the SHA-256 of its bytes in hex, its size in bytes."""

    path: str
    sha256: str
    size: int

    def facts(self) -> dict[str, str | int]:
        """As the values of rows have them."""
        return self._asdict()


class Place(Protocol):
    """Where the files of a value go: a row of a run, a cell of its tables, or an artifact."""

    @property
    def cells(self) -> Place:
        """The place of the cells of a table that is put here."""

    def put(self, content: Content, folder: str) -> Placed:
        """Puts a file below `media/<folder>`; equal content once. Errors: OSError, LocalDiskFull."""
