"""Manifests as rows: the files that an entity has, and the entries of a version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard import errors
from modelyard_server.db.tables import ArtifactVersion, File, FileChunk, Upload, VersionFile
from modelyard_server.db.upserts import batches, insert
from modelyard_server.domain import expiry, owners, uploads, versions
from modelyard_server.domain.homes import homes
from modelyard_server.domain.manifests import FileDraft, KeptFile, Manifest, ReferenceDraft
from modelyard_server.domain.principals import Principal
from modelyard_server.domain.uploads import Stored


def store_files(session: Session, upload: Upload, manifest: Manifest) -> dict[bytes, int]:
    """The ids of the manifest's files by digest; those the entity does not have yet are stored."""
    stored = uploads.held(session, upload)
    _check_held(manifest, stored)
    distinct = {draft.digest: draft for draft in manifest.files.values()}
    ordered = sorted(distinct)
    rows = [
        {"entity_id": upload.entity_id, "digest": digest, "size": distinct[digest].size} for digest in ordered
    ]
    new: dict[bytes, int] = {}
    for batch in batches(rows):
        # Of two that store the same file at once, the one whose row it becomes also stores its chunks.
        statement = insert(session, File).on_conflict_do_nothing().returning(File.digest, File.id)
        new |= dict(session.execute(statement.values(list(batch))).all())
    for digest, file_id in new.items():
        _store_chunks(session, file_id, distinct[digest], stored)
    known = dict(new)
    for digests in batches([digest for digest in ordered if digest not in new]):
        found = session.execute(
            select(File.digest, File.id)
            .where(File.entity_id == upload.entity_id, File.digest.in_(digests))
            .order_by(File.digest)
            .with_for_update(read=True, key_share=True)
        )
        known |= dict(found.all())
    if len(known) != len(distinct):  # a file row went between the two statements
        raise errors.RetryTransaction("a file of this content was just collected; repeat the call")
    return known


def _store_chunks(session: Session, file_id: int, draft: FileDraft, stored: Mapping[bytes, Stored]) -> None:
    start = 0
    rows = []
    for index, chunk in enumerate(draft.chunks()):
        rows.append({"file_id": file_id, "idx": index, "chunk_id": stored[chunk.digest].id, "start": start})
        start += chunk.size
    if rows:
        session.execute(insert(session, FileChunk), rows)


def _check_held(manifest: Manifest, stored: Mapping[bytes, Stored]) -> None:
    absent = set()
    for draft in manifest.files.values():
        for chunk in draft.chunks():
            found = stored.get(chunk.digest)
            if found is None:
                absent.add(chunk.digest)
            elif found.size != chunk.size:
                raise errors.InvalidField.of(
                    "entries.chunks",
                    f"{draft.path!r} says {chunk.size} bytes of a chunk that has {found.size}",
                )
    if absent:
        raise errors.ChunksMissing(
            f"the upload does not hold {len(absent)} of the chunks; ask FindMissingChunks and send them",
            metadata={"count": str(len(absent)), "first": min(absent).hex()},
        )


def store_entries(
    session: Session, version: ArtifactVersion, manifest: Manifest, file_ids: Mapping[bytes, int]
) -> None:
    """The entries of a new version."""
    files: list[tuple[FileDraft | KeptFile, int]] = [
        *((draft, file_ids[draft.digest]) for draft in manifest.files.values()),
        *((kept, kept.file_id) for kept in manifest.kept.values()),
    ]
    rows: list[dict[str, Any]] = [
        {
            "version_id": version.id,
            "path": file.path.encode(),
            "file_id": file_id,
            "size": file.size,
            "sha256": file.sha256,
            "uri": None,
            "tag": "",
        }
        for file, file_id in files
    ]
    rows += [
        {
            "version_id": version.id,
            "path": reference.path.encode(),
            "file_id": None,
            "size": reference.size,
            "sha256": "",
            "uri": reference.uri,
            "tag": reference.tag,
        }
        for reference in manifest.references.values()
    ]
    if rows:
        session.execute(insert(session, VersionFile), sorted(rows, key=lambda row: row["path"]))


def base_entries(
    session: Session, principal: Principal, version_id: str, entity: str
) -> dict[str, KeptFile | ReferenceDraft]:
    """What a version offers to be built on, by path. Raises NotFound, InvalidField for another entity's."""
    version = versions.get(session, principal, version_id)
    home = homes(session, [version.collection_id])[version.collection_id]
    if home.entity != (entity or principal.entity):
        raise errors.InvalidField.of("header.base_version_id", f"is a version of the entity {home.entity!r}")
    rows = session.execute(
        select(
            VersionFile.path,
            VersionFile.size,
            File.digest,
            VersionFile.sha256,
            VersionFile.file_id,
            VersionFile.uri,
            VersionFile.tag,
        )
        .outerjoin(File, File.id == VersionFile.file_id)
        .where(VersionFile.version_id == version.id)
    )
    found: dict[str, KeptFile | ReferenceDraft] = {}
    for raw, size, digest, sha256, file_id, uri, tag in rows:
        path = raw.decode()
        if uri is not None:
            found[path] = ReferenceDraft(path, uri, tag, size)
        elif file_id is not None:
            found[path] = KeptFile(path, size or 0, digest, sha256, file_id)
    return found


def hold_base(session: Session, version_id: str) -> None:
    """Keeps a version, and so its files, until the transaction ends. Raises NotFound when it went."""
    held = select(ArtifactVersion.id).where(ArtifactVersion.id == version_id, expiry.live(session))
    if session.scalar(held.with_for_update(read=True)) is None:
        raise owners.not_found("version", version_id)
