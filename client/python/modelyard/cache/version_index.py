"""Cached manifests of downloaded versions, and what `name:vN` resolved to.

    manifests/<version digest>             never changes, so it is requested once
    versions/<digest of server and ref>    what `use_model` needs while the server is away

Each file begins with a SHA-256 of the rest; a file that does not match counts as
missing. So does a manifest that does not have the digest of its name.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelyard.cache.storage import best_effort, write_bytes
from modelyard.contract import errors
from modelyard.rpc import records, validation
from modelyard.rpc.manifest import entries_from_bytes, entries_to_bytes
from modelyard.rpc.records import FileEntry

MAX_BYTES, MAX_FILES = 256 << 20, 1_000
"""The most files of each kind; the least recently used are evicted."""
_NAME = re.compile(r"([0-9a-f]{64}|[0-9a-f]{32})(\.[0-9]+)?")
_TIMES = ("create_time", "update_time", "expire_time")
_TUPLES = ("aliases", "tags", "linked_to")


class VersionIndex:
    """Two folders of the cache. Files that cannot be read or written are skipped."""

    def __init__(self, folder: Path) -> None:
        self._manifests = folder / "manifests"
        self._versions = folder / "versions"

    def manifest(self, digest: str) -> list[FileEntry] | None:
        """All entries of the version with this digest; None if they are not cached. Errors: ReplyInvalid."""
        validation.check_digest(digest, "the digest of a version")
        data = _read(self._manifests / digest)
        if data is None:
            return None
        try:
            entries = entries_from_bytes(data)
            validation.check_manifest(entries, digest)
        except errors.ReplyInvalid:
            return None
        return entries

    def keep_manifest(self, digest: str, entries: Sequence[FileEntry]) -> None:
        """Stores all entries of a version, verified against its digest. Errors: ReplyInvalid."""
        validation.check_digest(digest, "the digest of a version")
        _write(self._manifests / digest, entries_to_bytes(entries))

    def version(self, server: str, ref: str) -> records.Version | None:
        """The stored record of `entity/project/name:vN` on a server; None if there is none."""
        data = _read(self._versions / _key(server, ref))
        try:
            return None if data is None else _from_json(json.loads(data))
        except (errors.ReplyInvalid, ValueError, TypeError, KeyError, AttributeError):
            return None  # written by another release

    def keep_version(self, server: str, ref: str, version: records.Version) -> None:
        """Stores the record of a ref with a version number.

        The number of a link never changes its target either.
        """
        data = json.dumps(dataclasses.asdict(version), default=datetime.datetime.isoformat)
        _write(self._versions / _key(server, ref), data.encode())


def _key(server: str, ref: str) -> str:
    return hashlib.sha256(f"{server}\n{ref}".encode()).hexdigest()[:32]


def _from_json(fields: dict[str, Any]) -> records.Version:
    for name in _TIMES:
        fields[name] = fields[name] and datetime.datetime.fromisoformat(fields[name])
    for name in _TUPLES:
        fields[name] = tuple(fields[name])
    return validation.check_version(records.Version(**fields))


def _read(path: Path) -> bytes | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    with suppress(OSError):
        os.utime(path)  # marks it as used
    return data[32:] if hashlib.sha256(data[32:]).digest() == data[:32] else None


def _write(path: Path, data: bytes) -> None:
    with best_effort(path.parent.parent):
        write_bytes(os.fspath(path), hashlib.sha256(data).digest() + data)
        _trim(path.parent)


def _trim(folder: Path) -> None:
    files = sorted(_own_files(folder))
    total = sum(size for _, size, _ in files)
    for number, (_, size, path) in enumerate(files):
        if total <= MAX_BYTES and len(files) - number <= MAX_FILES:
            return
        with suppress(FileNotFoundError):  # another process evicts files too
            os.unlink(path)
        total -= size


def _own_files(folder: Path) -> Iterator[tuple[int, int, str]]:
    """Last use (ns), size and path of each file of the cache; others are left alone."""
    for entry in os.scandir(folder):
        if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
            with suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                yield status.st_mtime_ns, status.st_size, entry.path
