"""Validates replies and cached records before they are used.

A server may be broken or hostile. Its names and digests become paths on this
machine, and content that is cached by digest is used for downloads from other
servers. So every reply is checked when it arrives, and every cached record when it
is read: names and ids by the grammar of `refs`, digests against their content,
sizes against their sum. Failures raise errors.ReplyInvalid.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from modelyard.contract import chunking, errors, refs
from modelyard.contract.limits import CONTENT_BYTES, DIGEST_BYTES, URI_LENGTH, URI_TAG_LENGTH
from modelyard.rpc.records import Collection, FileEntry, Link, ProjectRecord, RunRecord, Version

_HEX = re.compile(r"[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    """Whether a text is a digest: 64 lower-case hex digits."""
    return _HEX.fullmatch(text) is not None


def check_digest(text: str, what: str) -> str:
    """The text, which must be 64 lower-case hex."""
    if not is_digest(text):
        refuse(f"{what} is {text[:100]!r}, not 64 lower-case hex")
    return text


def check_version(version: Version) -> Version:
    """Checks names, number, digest and sizes of a version; returns it."""
    _check_place(version.entity, version.project)
    _check_text("name", refs.check_artifact_name, version.name)
    _check_numbers(number=version.number, size_bytes=version.size_bytes, file_count=version.file_count)
    check_digest(version.digest, "the digest of a version")
    return version


def check_link(link: Link) -> Link:
    """Checks names and number of a link; returns it."""
    _check_place(link.entity, link.project)
    _check_text("name", refs.check_model_name, link.name)
    _check_numbers(number=link.number)
    return link


def check_collection(collection: Collection) -> Collection:
    """Checks the names of an artifact or registered model; returns it."""
    _check_place(collection.entity, collection.project)
    _check_text("name", refs.check_model_name, collection.name)
    return collection


def check_project(project: ProjectRecord) -> ProjectRecord:
    """Checks the names of a project; returns it."""
    _check_place(project.entity, project.name)
    return project


def check_run(run: RunRecord) -> RunRecord:
    """Checks id and names of a run; returns it."""
    _check_place(run.entity, run.project)
    _check_text("run_id", refs.check_run_id, run.run_id)
    return run


def check_same_digest(found: str, expected: bytes) -> None:
    """Checks that the digest of a committed version is that of the logged content."""
    if found != expected.hex():
        refuse(f"what was logged has the digest {expected.hex()}, the version it became has {found[:100]!r}")


def check_chunks(chunks: Iterable[tuple[bytes, int]], path: str) -> int:
    """Checks that each chunk has a digest and 1 byte to 2 MiB; returns the sum of their sizes."""
    total = 0
    for digest, size in chunks:
        if len(digest) != DIGEST_BYTES or not 1 <= size <= chunking.MAXIMUM_BYTES:
            refuse(f"{path!r} has a chunk of {size:,} bytes with a digest of {len(digest)} bytes")
        total += size
    return total


def check_entries(entries: Sequence[FileEntry]) -> None:
    """Checks entries of a manifest: paths, sizes, and each file's digest against its chunks."""
    check_paths(entries)
    for entry in entries:
        if entry.uri:
            _check_reference(entry)
        else:
            _check_file(entry)


def check_manifest(entries: Sequence[FileEntry], digest: str) -> None:
    """Checks that the entries, which passed `check_entries`, are those of the version with this digest."""
    found = chunking.version_digest(entry.digested() for entry in entries).hex()
    if found != digest:
        refuse(f"the manifest of version {digest[:100]!r} has the digest {found}: it is another version's")


def check_size(entries: Sequence[FileEntry], version: Any) -> None:
    """Checks number and total size of a whole manifest against its version."""
    total = sum(entry.size or 0 for entry in entries)
    if (len(entries), total) != (version.file_count, version.size_bytes):
        refuse(
            f"the version states {version.file_count:,} files of {version.size_bytes:,} bytes, "
            f"its manifest has {len(entries):,} of {total:,}"
        )


def check_paths(entries: Sequence[FileEntry]) -> None:
    """Checks that paths stay inside the target folder and do not conflict with each other."""
    files: set[str] = set()
    for entry in entries:
        try:
            refs.check_manifest_path(entry.path)
        except ValueError as error:
            refuse(f"a path cannot be written: {error}")
        if entry.path in files:
            refuse(f"the path {entry.path!r} comes twice")
        files.add(entry.path)
    for path in files:
        parent = path.rpartition("/")[0]
        while parent:
            if parent in files:
                refuse(f"{parent!r} comes both as a file and as a folder")
            parent = parent.rpartition("/")[0]


def refuse(what: str) -> NoReturn:
    """Raises ReplyInvalid for a reply; `what` says what is wrong with it."""
    raise errors.ReplyInvalid(
        f"the server's reply cannot be used: {what}. The server is broken, or it is not a modelyard server"
    )


def _check_file(entry: FileEntry) -> None:
    if len(entry.digest) != DIGEST_BYTES:
        refuse(f"{entry.path!r} has a digest of {len(entry.digest)} bytes")
    if entry.sha256:
        check_digest(entry.sha256, f"the SHA-256 of {entry.path!r}")
    total = check_chunks(entry.chunks, entry.path)
    if entry.size != total:
        refuse(f"{entry.path!r} has {entry.size} bytes, its chunks have {total}")
    if chunking.file_digest(entry.chunks) != entry.digest:
        refuse(f"{entry.path!r} does not have the digest that its chunks make")


def _check_reference(entry: FileEntry) -> None:
    if entry.digest or entry.chunks:
        refuse(f"{entry.path!r} is a reference and has content")
    if entry.size is not None and not 0 <= entry.size <= CONTENT_BYTES:
        refuse(f"{entry.path!r} has {entry.size} bytes")
    if "://" not in entry.uri:
        refuse(f"{entry.path!r} points at {entry.uri[:100]!r}, which has no scheme")
    for text, limit in ((entry.uri, URI_LENGTH), (entry.tag, URI_TAG_LENGTH)):
        try:
            refs.check_text(text, limit=limit)
        except ValueError as error:
            refuse(f"where {entry.path!r} points at: {error}")


def _check_place(entity: str, project: str) -> None:
    try:
        refs.check_owner(entity, "entity")
        refs.check_owner(project, "project")
    except ValueError as error:
        refuse(str(error))


def _check_text(field: str, check: Callable[[str], str], text: str) -> None:
    try:
        check(text)
    except ValueError as error:
        refuse(f"{field}: {error}")


def _check_numbers(**numbers: int) -> None:
    for field, number in numbers.items():
        if not 0 <= number <= CONTENT_BYTES:
            refuse(f"{field} is {number}")
