"""The commit: chunks that an upload holds become a version, in one transaction.

Lock order: request, upload, files, project, artifact; the project's event
counter last. Two that log the same content at once end with one version, and
any number that log different content to one name get numbers without a gap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard import errors, refs
from modelyard_server import failpoints
from modelyard_server.db.engine import now
from modelyard_server.db.ids import new_id
from modelyard_server.db.tables import (
    ArtifactVersion,
    Collection,
    File,
    FileChunk,
    Lineage,
    Project,
    Run,
    Upload,
    VersionFile,
)
from modelyard_server.db.upserts import batches, insert, insert_missing
from modelyard_server.domain import aliases, artifacts, catalog, events, fields, owners, uploads
from modelyard_server.domain.manifests import FileDraft, Manifest
from modelyard_server.domain.principals import Principal
from modelyard_server.domain.uploads import Stored

ALIAS_LIMIT = 100


@dataclass(frozen=True)
class VersionDraft:
    """What a new version is to be. `ttl` in microseconds; `digest` is the client's, checked when given."""

    entity: str
    project: str
    name: str
    type: str = ""
    description: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    aliases: Sequence[str] = ()
    run_id: str = ""
    history_step: int = -1
    ttl: int | None = None
    digest: bytes | None = None


def commit(
    session: Session,
    principal: Principal,
    upload_id: str,
    draft: VersionDraft,
    manifest: Manifest,
    digest: bytes,
) -> tuple[ArtifactVersion, bool]:
    """The version, and whether it is new.

    Raises UploadExpired, ChunksMissing, TypeMismatch, InvalidField, NotAllowed.
    """
    upload = uploads.find(session, principal, upload_id, lock=True)
    _check_entity(session, principal, upload, draft)
    file_ids = _store_files(session, upload, manifest)
    project = owners.ensure_project(session, principal, draft.entity, draft.project)
    run = _producer(session, principal, project, draft.run_id)
    artifact = artifacts.open_artifact(session, principal, project, draft.name, draft.type)
    failpoints.hit("commit.inside")
    version = _equal_version(session, artifact, digest)
    created = version is None
    if version is None:
        version = _new_version(session, principal, artifact, draft, manifest, digest, run)
        _store_manifest(session, version, manifest, file_ids)
        events.record(
            session,
            project.id,
            "version_created",
            principal,
            collection_id=artifact.id,
            collection=artifact.name,
            version=f"v{version.number}",
            version_id=version.id,
            run_id=run.id if run else "",
        )
    else:
        _take_over(session, principal, artifact, version, draft)
    if run is not None:
        _record_output(session, run, version)
    names = list(dict.fromkeys([refs.LATEST, *draft.aliases]))
    aliases.set_aliases(session, principal, artifact, version, names)
    session.delete(upload)  # its pins go with it: the manifest holds the chunks now
    return version, created


def checked(draft: VersionDraft) -> VersionDraft:
    """The draft as it will be stored, after all checks that need no transaction. Raises InvalidField."""
    owners.field("header.name", refs.check_artifact_name, draft.name)
    for index, alias in enumerate(draft.aliases):
        owners.field(f"header.aliases[{index}]", refs.check_alias, alias)
    if len(draft.aliases) > ALIAS_LIMIT:
        raise errors.InvalidField.of("header.aliases", f"at most {ALIAS_LIMIT} aliases")
    if draft.history_step < -1:
        raise errors.InvalidField.of("header.history_step", "is negative; -1 means not known")
    if draft.ttl is not None and draft.ttl <= 0:
        raise errors.InvalidField.of("header.ttl", "must be positive")
    return replace(
        draft,
        description=fields.check_description("header.description", draft.description),
        tags=fields.check_tags("header.tags", draft.tags),
        metadata=fields.check_metadata("header.metadata", draft.metadata),
    )


def _check_entity(session: Session, principal: Principal, upload: Upload, draft: VersionDraft) -> None:
    owner = owners.find_entity(session, principal, draft.entity)
    if owner.id != upload.entity_id:
        raise errors.InvalidField.of("header.entity", "is not the entity of the upload")


def _store_files(session: Session, upload: Upload, manifest: Manifest) -> dict[bytes, int]:
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


def _equal_version(session: Session, artifact: Collection, digest: bytes) -> ArtifactVersion | None:
    return session.scalar(
        select(ArtifactVersion)
        .where(
            ArtifactVersion.collection_id == artifact.id,
            ArtifactVersion.digest == digest,
            ArtifactVersion.deleted_at.is_(None),
        )
        .order_by(ArtifactVersion.number.desc())
        .limit(1)
    )


def _new_version(
    session: Session,
    principal: Principal,
    artifact: Collection,
    draft: VersionDraft,
    manifest: Manifest,
    digest: bytes,
    run: Run | None,
) -> ArtifactVersion:
    time = now(session)
    version = ArtifactVersion(
        id=new_id(),
        collection_id=artifact.id,
        number=artifact.next_version,
        digest=digest,
        size=manifest.total_size,
        file_count=len(manifest),
        description=draft.description,
        facts=dict(draft.metadata),
        tags=list(draft.tags),
        producer_run_id=run.id if run else None,
        history_step=draft.history_step,
        created_by=principal.name,
        created_at=time,
        updated_at=time,
        expires_at=None if draft.ttl is None else time + draft.ttl,
    )
    artifact.next_version += 1
    artifact.updated_at = time
    session.add(version)
    session.flush()
    return version


def _take_over(
    session: Session,
    principal: Principal,
    artifact: Collection,
    version: ArtifactVersion,
    draft: VersionDraft,
) -> None:
    """Description and metadata are not content: given with equal content, they replace the version's."""
    place = {"version": f"v{version.number}", "version_id": version.id}
    before = (version.description, version.facts)
    version.description = draft.description or version.description
    version.facts = dict(draft.metadata) or version.facts
    if (version.description, version.facts) != before:
        events.record(
            session,
            artifact.project_id,
            "version_updated",
            principal,
            collection_id=artifact.id,
            collection=artifact.name,
            **place,
        )
    tags = list(dict.fromkeys([*version.tags, *draft.tags]))
    catalog.record_tags(session, principal, artifact, version.tags, tags, **place)
    version.tags = tags
    if draft.ttl is not None:
        version.expires_at = now(session) + draft.ttl
    if session.is_modified(version):
        version.updated_at = now(session)


def _store_manifest(
    session: Session, version: ArtifactVersion, manifest: Manifest, file_ids: Mapping[bytes, int]
) -> None:
    rows: list[dict[str, Any]] = [
        {
            "version_id": version.id,
            "path": draft.path.encode(),
            "file_id": file_ids[draft.digest],
            "size": draft.size,
            "sha256": draft.sha256,
            "uri": None,
            "tag": "",
        }
        for draft in manifest.files.values()
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


def _producer(session: Session, principal: Principal, project: Project, run_id: str) -> Run | None:
    if not run_id:
        return None
    run = session.get(Run, uploads.parse_id("header.run_id", run_id))
    owner = session.get(Project, run.project_id) if run else None
    if run is None or run.deleted_at is not None or owner is None:
        raise owners.not_found("run", run_id)
    # A run may log into another project of an entity its caller may enter.
    if owner.entity_id != project.entity_id and not principal.may_enter(
        owners.entity_of(session, owner).name
    ):
        raise owners.not_found("run", run_id)
    return run


def _record_output(session: Session, run: Run, version: ArtifactVersion) -> None:
    row = {
        "run_id": run.id,
        "version_id": version.id,
        "relation": "output",
        "use_as": "",
        "created_at": now(session),
    }
    insert_missing(session, Lineage, [row])
