"""Rows of manifests: the files of an entity, and the entries of a version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, cast

from sqlalchemy import Table, bindparam, select
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard.contract.chunking import Chunk
from modelyard_server.db import tables
from modelyard_server.db.tables import ArtifactVersion, File, FileChunk, Upload, VersionFile
from modelyard_server.db.upserts import batches, inserting_missing
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.authorize import Action
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.content import confirmation, file_ranges, uploads
from modelyard_server.domain.content.manifests import KeptFile, Manifest, ManifestFile, ManifestReference
from modelyard_server.domain.content.uploads import Stored
from modelyard_server.domain.registry import resolve, versions

# Built once: building a statement takes longer than running it.
_FILES = (
    select(File.digest, File.id, File.size, File.sha256.is_(None))
    .where(
        File.entity_id == bindparam("entity"),
        File.digest.in_(bindparam("digests", expanding=True)),
        File.next_chunk.is_(None),
    )
    .order_by(File.digest)
    .with_for_update(read=True, key_share=True)
)
_PACKS = (
    select(tables.Chunk.pack_id, tables.Chunk.quarantined_at.is_not(None))
    .join(FileChunk, FileChunk.chunk_id == tables.Chunk.id)
    .distinct()
)
_PACKS_OF_FILES = _PACKS.where(FileChunk.file_id.in_(bindparam("files", expanding=True)))
_PACKS_OF_VERSION = _PACKS.join(VersionFile, VersionFile.file_id == FileChunk.file_id).where(
    VersionFile.version_id == bindparam("version")
)
ADD_CHUNKS = cast(Table, FileChunk.__table__).insert()
_ADD_ENTRIES = cast(Table, VersionFile.__table__).insert()
ENTRY_COLUMNS = ("path", "file_id", "size", "uri", "tag")
_CHUNKS_AT_ONCE = 5_000
"""Rows of one statement: a version may have millions of chunks."""


def store_files(session: Session, upload: Upload, files: Iterable[ManifestFile]) -> dict[bytes, int]:
    """The ids of files by digest; new files are stored. Raises ChunksMissing."""
    distinct = {file.digest: file for file in files}
    stored = require_held(session, upload, [(file, file.chunks()) for file in distinct.values()])
    ordered = sorted(distinct)
    rows = [file_row(upload, distinct[digest]) for digest in ordered]
    new: dict[bytes, int] = {}
    if rows:
        # Of two transactions that store the same file, the one that inserts its row also stores its chunks.
        adding = inserting_missing(session, File, File.digest, File.id)
        new = dict(session.execute(adding, rows).all())
    chunk_rows = (
        row for digest, file_id in new.items() for row in chunk_rows_of(file_id, distinct[digest], stored)
    )
    while part := list(islice(chunk_rows, _CHUNKS_AT_ONCE)):
        session.execute(ADD_CHUNKS, part)
    known = dict(new)
    learned: list[tuple[int, bytes, bytes]] = []
    for digests in batches([digest for digest in ordered if digest not in new]):
        for digest, file_id, _, lacks_sha256 in session.execute(
            _FILES, {"entity": upload.entity_id, "digests": digests}
        ):
            known[digest] = file_id
            whole = distinct[digest].whole_sha256
            if lacks_sha256 and whole is not None:
                learned.append((file_id, digest, whole))
    file_ranges.remember_sha256s(session, learned)
    if len(known) != len(distinct):  # a file was deleted between the two statements
        raise errors.RetryTransaction("a file with this content was just deleted; repeat the call")
    return known


def file_row(upload: Upload, file: ManifestFile) -> dict[str, Any]:
    """The row of a file that the entity does not have yet."""
    return {
        "entity_id": upload.entity_id,
        "digest": file.digest,
        "sha256": file.sha256,
        "size": file.size,
    }


def find_files(session: Session, entity_id: int, manifest: Manifest) -> dict[bytes, int] | None:
    """The ids of the kept files by digest, locked until the transaction ends.

    None if the entity lacks one, or its chunks are damaged. Raises InvalidField if a size differs,
    PacksUnconfirmed.
    """
    found: dict[bytes, int] = {}
    sizes: dict[bytes, int] = {}
    wanted = sorted({kept.digest for kept in manifest.kept.values()})
    for digests in batches(wanted):
        for digest, file_id, size, _ in session.execute(_FILES, {"entity": entity_id, "digests": digests}):
            found[digest], sizes[digest] = file_id, size
    if len(found) < len(wanted):
        return None
    if are_damaged(session, found.values()):
        return None
    for kept in manifest.kept.values():
        if kept.size != sizes[kept.digest]:
            raise errors.InvalidField.of(
                "entries.size_bytes",
                f"{kept.path!r} says {kept.size} bytes, its content has {sizes[kept.digest]}",
            )
    return found


def is_damaged(session: Session, version_id: str) -> bool:
    """Whether chunks of a version are quarantined. Raises PacksUnconfirmed for packs not checked yet."""
    return _has_quarantined(session, [session.execute(_PACKS_OF_VERSION, {"version": version_id})])


def are_damaged(session: Session, file_ids: Iterable[int]) -> bool:
    """The same for files."""
    found = (session.execute(_PACKS_OF_FILES, {"files": files}) for files in batches(sorted(file_ids)))
    return _has_quarantined(session, found)


def require_whole_base(session: Session, manifest: Manifest) -> None:
    """Checks that the files of a base version are complete. Raises ChunkCorrupt, PacksUnconfirmed."""
    kept = {file.file_id for file in manifest.kept.values() if file.file_id is not None}
    if are_damaged(session, kept):
        raise errors.ChunkCorrupt(
            "some bytes of the base version are lost; log its content again, or send those files"
        )


def _has_quarantined(session: Session, found: Iterable[Iterable[Any]]) -> bool:
    packs: set[str] = set()
    for rows in found:
        for pack_id, is_quarantined in rows:
            if is_quarantined:
                return True
            packs.add(pack_id)
    # All packs in one go, since each check restarts the transaction.
    confirmation.require_confirmed(session, packs)
    return False


def chunk_rows_of(
    file_id: int,
    file: ManifestFile,
    stored: Mapping[bytes, Stored],
    first: int = 0,
    end: int | None = None,
    start: int = 0,
) -> Iterator[dict[str, int]]:
    """The rows of a file's chunks from `first`, at the byte `start` of the file, to before `end`."""
    for index, chunk in enumerate(file.chunks(first, end), first):
        yield {"file_id": file_id, "idx": index, "chunk_id": stored[chunk.digest].id, "start": start}
        start += chunk.size


def require_held(
    session: Session, upload: Upload, named: Iterable[tuple[ManifestFile, Iterable[Chunk]]]
) -> dict[bytes, Stored]:
    """The chunks of the files that the upload holds, by digest.

    Raises ChunksMissing if it does not hold all of them, InvalidField for another size.
    """
    wanted: dict[bytes, tuple[ManifestFile, int]] = {}
    for file, chunks in named:
        for chunk in chunks:
            known = wanted.setdefault(chunk.digest, (file, chunk.size))
            if known[1] != chunk.size:
                raise _other_size(file, chunk.size, known[1])
    stored = uploads.held(session, upload, wanted)
    for digest, (file, size) in wanted.items():
        if digest in stored and stored[digest].size != size:
            raise _other_size(file, size, stored[digest].size)
    missing = wanted.keys() - stored.keys()
    if missing:
        raise errors.ChunksMissing(
            f"the upload does not hold {len(missing)} of the chunks; ask FindMissingChunks and send them",
            metadata={"count": str(len(missing)), "first": min(missing).hex()},
        )
    return stored


def _other_size(file: ManifestFile, said: int, has: int) -> errors.InvalidField:
    return errors.InvalidField.of(
        "entries.chunks", f"{file.path!r} says {said} bytes of a chunk that has {has}"
    )


def store_entries(
    session: Session, version: ArtifactVersion, manifest: Manifest, file_ids: Mapping[bytes, int]
) -> None:
    """Stores the entries of a new version."""
    files: list[tuple[ManifestFile | KeptFile, int]] = [
        *((file, file_ids[file.digest]) for file in manifest.files.values()),
        *((kept, kept.file_id or file_ids[kept.digest]) for kept in manifest.kept.values()),
    ]
    rows = [row_of_file(file, file_id) for file, file_id in files]
    rows += [row_of_reference(reference) for reference in manifest.references.values()]
    for row in rows:
        row["version_id"] = version.id
    if rows:
        session.execute(_ADD_ENTRIES, sorted(rows, key=lambda row: row["path"]))


def row_of_file(file: ManifestFile | KeptFile, file_id: int) -> dict[str, Any]:
    """The columns of a file's entry, without its version."""
    values = (file.path.encode(), file_id, file.size, None, "")
    return dict(zip(ENTRY_COLUMNS, values, strict=True))


def row_of_reference(reference: ManifestReference) -> dict[str, Any]:
    """The columns of a reference's entry, without its version."""
    values = (reference.path.encode(), None, reference.size, reference.uri, reference.tag)
    return dict(zip(ENTRY_COLUMNS, values, strict=True))


def find_base(session: Session, principal: Principal, version_id: str, entity: str) -> ArtifactVersion:
    """A base version. Raises NotFound; InvalidField for another entity's."""
    view = resolve.version(
        session, principal, id_=version_id, field="header.base_version_id", action=Action.DOWNLOAD
    ).view
    owner = view.full_name.entity
    if owner != (entity or principal.entity):
        raise errors.InvalidField.of("header.base_version_id", f"is a version of the entity {owner!r}")
    return view.version


def base_entries(
    session: Session, principal: Principal, version_id: str, entity: str
) -> dict[str, KeptFile | ManifestReference]:
    """The entries of a base version, by path. Raises NotFound; InvalidField for another entity's."""
    version = find_base(session, principal, version_id, entity)
    rows = session.execute(
        select(
            VersionFile.path,
            VersionFile.size,
            File.digest,
            VersionFile.file_id,
            VersionFile.uri,
            VersionFile.tag,
        )
        .outerjoin(File, File.id == VersionFile.file_id)
        .where(VersionFile.version_id == version.id)
    )
    found: dict[str, KeptFile | ManifestReference] = {}
    for raw, size, digest, file_id, uri, tag in rows:
        path = raw.decode()
        if uri is not None:
            found[path] = ManifestReference(path, uri, tag, size)
        elif file_id is not None:
            found[path] = KeptFile(path, size or 0, digest, file_id)
    return found


def hold_base(session: Session, version_id: str) -> None:
    """Locks a version, and so its files, until the transaction ends. Raises NotFound if it was deleted."""
    held = select(ArtifactVersion.id).where(ArtifactVersion.id == version_id, versions.live(session))
    if session.scalar(held.with_for_update(read=True)) is None:
        raise owners.not_found("version", version_id)
