"""A manifest while it is received: checked entry by entry, before any transaction begins."""

from __future__ import annotations

import hashlib
import re
import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from modelyard.contract import chunking, errors, refs
from modelyard.contract.chunking import Chunk, Entry, version_digest
from modelyard.contract.limits import CONTENT_BYTES, DIGEST_BYTES, URI_LENGTH, URI_TAG_LENGTH
from modelyard_server.domain import fields
from modelyard_server.settings import MAX_VERSION_CHUNKS, MAX_VERSION_FILES, MAX_VERSION_GIB

_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Limits:
    """The limits of one version: the server's options `--max-version-…`.

    `chunks` counts every mention of a chunk in an entry; `size` is the bytes of all
    files, which may contain the same chunk many times.
    """

    files: int = MAX_VERSION_FILES
    chunks: int = MAX_VERSION_CHUNKS
    size: int = MAX_VERSION_GIB << 30


@dataclass(slots=True)
class ManifestFile:
    """A file of a manifest. Chunks are stored compactly: a file of 100 GB has 200,000 of them."""

    path: str
    stated_size: int | None
    stated_digest: bytes | None
    stated_sha256: bytes | None = None
    whole_sha256: bytes | None = None
    """SHA-256 of the plain bytes, where the server has hashed all of them."""
    size: int = 0
    digests: bytearray = field(default_factory=bytearray)
    sizes: array[int] = field(default_factory=lambda: array("I"))
    _hash: Any = field(default_factory=hashlib.sha256)

    def extend(self, chunks: Sequence[Chunk]) -> None:
        """Adds the next chunks."""
        for digest, size in chunks:
            self.digests += digest
            self.sizes.append(size)
            self.size += size
            self._hash.update(digest + struct.pack(">Q", size))

    @property
    def digest(self) -> bytes:
        """The file digest, made from the chunks."""
        return bytes(self._hash.digest())

    @property
    def sha256(self) -> bytes | None:
        """The SHA-256 of the plain bytes, if it is known: that of one chunk is the chunk's digest."""
        if len(self.sizes) == 1:
            return bytes(self.digests)
        return self.whole_sha256 if self.sizes else hashlib.sha256().digest()

    def chunks(self, first: int = 0, end: int | None = None) -> Iterator[Chunk]:
        """The chunks from `first` to before `end`, in order; all without."""
        for index in range(first, len(self.sizes) if end is None else end):
            yield Chunk(
                bytes(self.digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]), self.sizes[index]
            )


@dataclass(frozen=True)
class ManifestReference:
    """A reference of a manifest; the size is None if it is not known."""

    path: str
    uri: str
    tag: str
    size: int | None


class KeptFile(NamedTuple):
    """A file that the entity has already: of a base version, or named by its digest, then without an id."""

    path: str
    size: int
    digest: bytes
    file_id: int | None


class Manifest:
    """The entries of a version to be made. Every method raises InvalidField, QuotaExceeded.

    With `plain` its files come as in UploadModelArtifact, and errors name the fields of that request.
    """

    def __init__(self, limits: Limits = Limits(), *, plain: bool = False) -> None:
        self._plain = plain
        self.files: dict[str, ManifestFile] = {}
        self.references: dict[str, ManifestReference] = {}
        self.kept: dict[str, KeptFile] = {}
        self.chunk_count = 0
        """The number of chunks that the files to be stored name, repetitions included."""
        self._limits = limits
        self._file_bytes = 0
        self._count = 0
        self._last: ManifestFile | None = None

    def add_file(
        self,
        path: str,
        chunks: Sequence[Chunk],
        *,
        size: int | None = None,
        digest: str = "",
        sha256: str = "",
        whole_sha256: bytes | None = None,
    ) -> None:
        """Starts a file.

        `size`, `digest` and `sha256` are what the client says, checked by `finish`; None or
        empty: nothing. `whole_sha256` is what the server made.
        """
        where = self._start(path)
        _check_size(where, size)
        stated = parse_digest(f"{where}.digest", digest) if digest else None
        stated_sha256 = parse_digest(f"{where}.sha256", sha256) if sha256 else None
        self._last = ManifestFile(path, size, stated, stated_sha256, whole_sha256)
        self._extend(where, self._last, chunks)
        self.files[path] = self._last

    def add_known(self, path: str, *, size: int | None, digest: str, sha256: str = "") -> None:
        """Adds a file that the entity has already, by its digest."""
        where = self._start(path)
        self._last = None
        if size is None:
            raise errors.InvalidField.of(f"{where}.size_bytes", "is required")
        _check_size(where, size)
        raw = parse_digest(f"{where}.digest", digest)
        if sha256:
            parse_digest(f"{where}.sha256", sha256)
        self._count_bytes(f"{where}.size_bytes", size)
        self.kept[path] = KeptFile(path, size, raw, None)

    def add_reference(self, path: str, uri: str, tag: str, size: int | None) -> None:
        """Adds a reference; its size is None where it is not known."""
        where = self._start(path)
        self._last = None
        fields.check(f"{where}.reference_uri", refs.check_text, uri, limit=URI_LENGTH)
        fields.check(f"{where}.reference_tag", refs.check_text, tag, limit=URI_TAG_LENGTH)
        if "://" not in uri:
            raise errors.InvalidField.of(
                f"{where}.reference_uri", "has no scheme: expected for example s3://bucket/key"
            )
        _check_size(where, size)
        self.references[path] = ManifestReference(path, uri, tag, size)

    def continue_file(self, path: str, chunks: Sequence[Chunk]) -> None:
        """Adds chunks to the file of the previous entry."""
        where = f"entries[{self._count}]"
        if self._last is None or self._last.path != path:
            raise errors.InvalidField.of(
                f"{where}.continued", "the previous entry is not a file with this path"
            )
        self._extend(where, self._last, chunks)

    def build_on(self, base: Mapping[str, KeptFile | ManifestReference], removed: Sequence[str]) -> None:
        """Adds the entries of a base version, except for removed paths and paths that are given here."""
        for index, path in enumerate(removed):
            if path not in base:
                raise errors.InvalidField.of(
                    f"header.removed_paths[{index}]", f"{path[:100]!r} is not in the base version"
                )
        left_out = {*removed, *self.files, *self.references}
        for path, entry in base.items():
            if path in left_out:
                continue
            self._count_one()
            if isinstance(entry, KeptFile):
                self._count_bytes("header.base_version_id", entry.size)
                self.kept[path] = entry
            else:
                self.references[path] = entry

    def finish(self, stated: bytes | None) -> bytes:
        """The version digest, after the checks that need the whole manifest."""
        for file in self.files.values():
            if file.stated_size not in (None, file.size):
                raise errors.InvalidField.of(
                    "entries.size_bytes",
                    f"{file.path!r} says {file.stated_size} bytes, its chunks have {file.size}",
                )
            if file.stated_digest not in (None, file.digest):
                raise errors.InvalidField.of(
                    "entries.digest", f"{file.path!r} does not have the digest stated for it"
                )
            if file.stated_sha256 is not None and file.sha256 not in (None, file.stated_sha256):
                raise errors.InvalidField.of(
                    "entries.sha256", f"{file.path!r} does not have the SHA-256 stated for it"
                )
        if self.total_size > CONTENT_BYTES:
            raise errors.InvalidField.of("entries.size_bytes", "all sizes together are more than 2^62 bytes")
        self._refuse_files_that_are_folders()
        digest = self.digest()
        if stated not in (None, digest):
            raise errors.InvalidField.of("header.digest", f"the manifest has the digest {digest.hex()}")
        return digest

    def digest(self) -> bytes:
        """The version digest of the entries so far."""
        return version_digest(self._entries())

    @property
    def total_size(self) -> int:
        """Bytes of all files, and of the references with a known size."""
        return self._file_bytes + sum(entry.size or 0 for entry in self.references.values())

    def __len__(self) -> int:
        return self._count

    def check_path(self, path: str) -> None:
        """Raises InvalidField unless an entry of this path can be added."""
        field = self._field("path", f"entries[{self._count}].path")
        fields.check(field, refs.check_manifest_path, path)
        if path in self.files or path in self.references or path in self.kept:
            raise errors.InvalidField.of(field, f"{path!r} appears twice")

    def _start(self, path: str) -> str:
        self.check_path(path)
        where = f"entries[{self._count}]"
        self._count_one()
        return where

    def _field(self, plain: str, field: str) -> str:
        return plain if self._plain else field

    def _count_one(self) -> None:
        if self._count >= self._limits.files:
            raise _beyond(
                self._field("path", "entries"),
                f"a version has at most {self._limits.files:,} entries",
                "files",
            )
        self._count += 1

    def _extend(self, where: str, file: ManifestFile, chunks: Sequence[Chunk]) -> None:
        chunking.check_chunks(chunks, f"{where}.chunks")
        field = self._field("data", f"{where}.chunks")
        self.chunk_count += len(chunks)
        if self.chunk_count > self._limits.chunks:
            most = f"the files of a version name at most {self._limits.chunks:,} chunks"
            raise _beyond(field, most, "chunks")
        self._count_bytes(field, sum(chunk.size for chunk in chunks))
        file.extend(chunks)

    def _count_bytes(self, field: str, size: int) -> None:
        self._file_bytes += size
        if self._file_bytes > self._limits.size:
            most = f"the files of a version have at most {self._limits.size:,} bytes"
            raise _beyond(field, most, "gib")

    def _entries(self) -> Iterator[Entry]:
        for file in self.files.values():
            yield Entry(file.path, file.size, file.digest)
        for kept in self.kept.values():
            yield Entry(kept.path, kept.size, kept.digest)
        for reference in self.references.values():
            yield Entry(reference.path, reference.size, uri=reference.uri, tag=reference.tag)

    def _refuse_files_that_are_folders(self) -> None:
        taken = self.files.keys() | self.references.keys() | self.kept.keys()
        for path in taken:
            slash = path.rfind("/")
            while slash > 0:
                if path[:slash] in taken:
                    raise errors.InvalidField.of(
                        self._field("path", "entries.path"), f"{path[:slash]!r} is both a file and a folder"
                    )
                slash = path.rfind("/", 0, slash)


def _beyond(field: str, most: str, option: str) -> errors.QuotaExceeded:
    advice = f"make several versions of it, or have the server started with a higher --max-version-{option}"
    return errors.QuotaExceeded.of(field, f"{most}; {advice}")


def _check_size(where: str, size: int | None) -> None:
    if size is not None and not 0 <= size <= CONTENT_BYTES:
        raise errors.InvalidField.of(f"{where}.size_bytes", f"is {size}; expected 0 to 2^62")


def parse_digest(field: str, text: str) -> bytes:
    """64 lower-case hex digits as raw bytes. Raises InvalidField."""
    if not _HEX.fullmatch(text):
        raise errors.InvalidField.of(field, "is not a digest: expected 64 lower-case hex digits")
    return bytes.fromhex(text)
