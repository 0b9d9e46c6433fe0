"""`file://`: files that every user of the version finds at the same path. The tag is their SHA-256."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from modelyard.contract import errors
from modelyard.host.local_files import files_below, is_folder, not_regular, unreadable
from modelyard.references.store import Body, Target, changed, limited

_READ_BYTES = 1 << 20
_THREADS = 2


class Files:
    """Files and folders of this machine, or of a file system that it shares."""

    def name_of(self, uri: str) -> str:
        """The name of the file or folder."""
        name = _path(uri).name
        if not name:
            raise ValueError(f"{uri!r}: name= is needed")
        return name

    def find(self, uri: str, limit: int) -> list[Target]:
        """The file, or all below the folder. Errors: ReferenceMissing, LocalFileError."""
        path = _path(uri)
        if is_folder(path):
            found = (Target(file.path, Path(file.source).as_uri(), None, "") for file in files_below(path))
            targets = list(limited(found, limit, uri))
        elif os.path.lexists(path):
            targets = [Target("", path.as_uri(), None, "")]
        else:
            raise errors.ReferenceMissing(f"there is nothing at {uri}")
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(_hashed, targets))

    @contextmanager
    def opened(self, uri: str, tag: str) -> Iterator[Body]:
        """The file. Its digest is verified when the last byte has been read."""
        file = _open(uri)
        try:
            body = _File(file)
            yield body
            if tag and body.digest() != tag:
                raise changed(uri, f"SHA-256 {tag}", body.digest())
        finally:
            os.close(file)


class _File:
    def __init__(self, file: int) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size: int | None = os.fstat(file).st_size

    def read(self, size: int) -> bytes:
        data = os.read(self._file, size)
        self._hash.update(data)
        return data

    def digest(self) -> str:
        return self._hash.hexdigest()


def _hashed(target: Target) -> Target:
    file = _open(target.uri)
    try:
        before, body = os.fstat(file), _File(file)
        for _ in iter(partial(body.read, _READ_BYTES), b""):
            pass
        after = os.fstat(file)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise errors.Error(f"{target.uri} changed while it was read; add it when it is complete")
        return target._replace(size=before.st_size, tag=body.digest())
    finally:
        os.close(file)


def _open(uri: str) -> int:
    try:
        # O_NONBLOCK: opening a pipe must not wait for its other end.
        file = os.open(_path(uri), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise errors.ReferenceMissing(f"there is nothing at {uri}") from None
    except OSError as error:
        raise unreadable(_path(uri), error) from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise not_regular(_path(uri))
    return file


def _path(uri: str) -> Path:
    text = uri.partition("://")[2].removeprefix("localhost")
    if not text.startswith("/"):
        raise ValueError(f"{uri!r}: a file:// URI has an absolute path, as in file:///data/model.bin")
    # As `Path.as_uri` writes it; names with spaces and percent signs are accepted unescaped too.
    decoded = Path(unquote(text))
    return decoded if "%" not in text or decoded.exists() else Path(text)
