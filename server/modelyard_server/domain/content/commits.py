"""The commit: makes a version of the chunks that an upload holds, in one transaction.

For a large manifest, `staging` stores files and entries ahead of it in short
transactions. Lock order: request, upload, files, project, artifact; the project's
event counter last. Concurrent commits of the same content make one version, and
concurrent commits of different content to one name get numbers without a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from sqlalchemy import Table, bindparam, select
from sqlalchemy.orm import Session

from modelyard.contract import errors, refs
from modelyard.contract.limits import MAX_STEP, REMOVED_PATHS
from modelyard.contract.values import identical
from modelyard_server import failpoints
from modelyard_server.db.engine import now
from modelyard_server.db.ids import new_id
from modelyard_server.db.tables import ArtifactVersion, Collection, Project, Upload
from modelyard_server.domain import etags, events, fields, lineage
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.content import manifest_rows, staging, uploads
from modelyard_server.domain.content.manifests import Manifest
from modelyard_server.domain.registry import aliases, artifacts, collections, versions
from modelyard_server.domain.registry.collections import record_tags
from modelyard_server.domain.registry.full_names import FullName
from modelyard_server.domain.registry.versions import VersionView

TTL_LIMIT = 1000 * 365 * 24 * 3600 * 1_000_000
"""Microseconds."""

# Built once: building a statement takes longer than running it.
_V = cast(Table, ArtifactVersion.__table__)
_EQUAL = (
    select(_V.c.id)
    .where(
        _V.c.collection_id == bindparam("artifact"),
        _V.c.digest == bindparam("digest"),
        _V.c.deleted_at.is_(None),
        _V.c.expires_at.is_(None) | (_V.c.expires_at > bindparam("now")),
    )
    .order_by(_V.c.number.desc())
    .limit(1)
)


@dataclass(frozen=True)
class VersionSpec:
    """The properties of a new version.

    `ttl` is in microseconds; `digest` is the client's, checked if given. The manifest
    also gets the entries of `base_version_id` without `removed_paths`.
    """

    entity: str
    project: str
    name: str
    type: str = ""
    description: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    aliases: Sequence[str] = ()
    run_id: str = ""
    history_step: int | None = None
    ttl: int | None = None
    digest: bytes | None = None
    base_version_id: str = ""
    removed_paths: Sequence[str] = ()


def commit(
    session: Session,
    principal: Principal,
    upload_id: str,
    spec: VersionSpec,
    manifest: Manifest,
    digest: bytes,
    *,
    staged: str = "",
) -> tuple[VersionView, bool]:
    """Returns the version, and whether it is new. `staged` is the id of the staged entries, if any.

    Raises UploadExpired, ChunksMissing, TypeMismatch, InvalidField, NotAllowed.
    """
    upload = uploads.find(session, principal, upload_id, lock=True)
    _check_entity(session, principal, upload, spec)
    file_ids = {} if staged else manifest_rows.store_files(session, upload, manifest.files.values())

    def store_entries(version: ArtifactVersion) -> None:
        if staged:
            staging.take(session, upload.id, staged, version, len(manifest))
        else:
            manifest_rows.store_entries(session, version, manifest, file_ids)

    version, created = _make(session, principal, spec, manifest, digest, store_entries)
    uploads.end(session, upload)  # also deletes its pins: the manifest holds the chunks now
    return version, created


def commit_known(
    session: Session, principal: Principal, spec: VersionSpec, manifest: Manifest, digest: bytes
) -> tuple[VersionView, bool] | None:
    """Returns a version of stored files, and whether it is new; None if some are not stored.

    Raises TypeMismatch, InvalidField, NotAllowed.
    """
    owner = owners.ensure_entity(session, principal, spec.entity)
    file_ids = manifest_rows.find_files(session, owner.id, manifest)
    if file_ids is None:
        return None

    def store_entries(version: ArtifactVersion) -> None:
        manifest_rows.store_entries(session, version, manifest, file_ids)

    return _make(session, principal, spec, manifest, digest, store_entries)


def _make(
    session: Session,
    principal: Principal,
    spec: VersionSpec,
    manifest: Manifest,
    digest: bytes,
    store_entries: Callable[[ArtifactVersion], None],
) -> tuple[VersionView, bool]:
    """The last part of every commit, after the files of the manifest are stored."""
    project = owners.ensure_project(session, principal, spec.entity, spec.project)
    run_id = lineage.find_producer(session, principal, spec.run_id)
    artifact = artifacts.open_artifact(session, principal, project, spec.name, spec.type)
    if spec.base_version_id:
        manifest_rows.hold_base(session, spec.base_version_id)
        manifest_rows.require_whole_base(session, manifest)
    failpoints.hit("commit.inside")
    version = _equal_version(session, artifact, digest)
    created = version is None
    if version is None:
        version = _new_version(session, principal, project, artifact, spec, manifest, digest, run_id)
        store_entries(version)
        _record_created(session, principal, artifact, version, run_id)
    else:
        _update_equal(session, principal, artifact, version, spec)
    names = _record_commit(session, principal, artifact, version, spec, run_id)
    if not created:
        return _view(session, principal, version), False
    owner = spec.entity or principal.entity
    home = FullName(owner, project.name, artifact.name, artifact.type, project.id, artifact.id)
    return VersionView(version, home, sorted(names), ()), True


def commit_equal(session: Session, principal: Principal, spec: VersionSpec) -> VersionView:
    """Commits the spec again to the live version of the name that has its digest.

    Raises NotFound if there is none, or if its bytes are damaged and must be uploaded
    again; TypeMismatch, InvalidField.
    """
    if spec.digest is None:
        raise errors.InvalidField.of("header.digest", "is required: it identifies the content")
    project = owners.find_project(session, principal, spec.entity, spec.project)
    run_id = lineage.find_producer(session, principal, spec.run_id)
    artifact = collections.lock_name(session, project.id, spec.name)
    if artifact is not None and artifact.deleted_at is None:
        collections.check_kind(artifact, "artifact", spec.type)
        version = _equal_version(session, artifact, spec.digest)
        if version is not None and not manifest_rows.is_damaged(session, version.id):
            _update_equal(session, principal, artifact, version, spec)
            _record_commit(session, principal, artifact, version, spec, run_id)
            return _view(session, principal, version)
    raise owners.not_found("version", f"{project.name}/{spec.name}@{spec.digest.hex()}")


def check(session: Session, principal: Principal, spec: VersionSpec) -> None:
    """Raises what a commit of the spec would raise now, whatever its content: before any of it is sent.

    Raises NotFound, TypeMismatch, InvalidField, NotAllowed.
    """
    owners.ensure_entity(session, principal, spec.entity, project=spec.project or refs.DEFAULT_PROJECT)
    lineage.find_producer(session, principal, spec.run_id)
    project = owners.project_if_any(session, principal, spec.entity, spec.project)
    artifacts.check_name(session, project, spec.project or refs.DEFAULT_PROJECT, spec.name, spec.type)
    if spec.base_version_id:
        manifest_rows.find_base(session, principal, spec.base_version_id, spec.entity)


def checked(spec: VersionSpec) -> VersionSpec:
    """The spec in its stored form, after all checks that need no transaction. Raises InvalidField."""
    fields.check_place("header.", spec.entity, spec.project)
    fields.check("header.name", refs.check_artifact_name, spec.name)
    if spec.type:
        fields.check_type("header.type", spec.type)
    aliases.check_names("header.aliases", spec.aliases)
    if spec.history_step is not None and not 0 <= spec.history_step <= MAX_STEP:
        raise errors.InvalidField.of("header.history_step", f"is {spec.history_step}; a step is 0 to 2^53")
    if spec.ttl is not None and not 0 < spec.ttl <= TTL_LIMIT:
        raise errors.InvalidField.of("header.ttl", "must be positive, and at most 1,000 years")
    if spec.removed_paths and not spec.base_version_id:
        raise errors.InvalidField.of("header.removed_paths", "goes with header.base_version_id only")
    if len(spec.removed_paths) > REMOVED_PATHS:
        raise errors.InvalidField.of("header.removed_paths", f"at most {REMOVED_PATHS:,} paths")
    return replace(
        spec,
        description=fields.check_description("header.description", spec.description),
        tags=fields.check_tags("header.tags", spec.tags),
        metadata=fields.check_metadata("header.metadata", spec.metadata),
    )


def _check_entity(session: Session, principal: Principal, upload: Upload, spec: VersionSpec) -> None:
    owner = owners.find_entity(session, principal, spec.entity)
    if owner.id != upload.entity_id:
        raise errors.InvalidField.of("header.entity", "is not the entity of the upload")


def _equal_version(session: Session, artifact: Collection, digest: bytes) -> ArtifactVersion | None:
    wanted = {"artifact": artifact.id, "digest": digest, "now": now(session)}
    found = session.execute(_EQUAL, wanted).scalar_one_or_none()
    return None if found is None else session.get_one(ArtifactVersion, found)


def _new_version(
    session: Session,
    principal: Principal,
    project: Project,
    artifact: Collection,
    spec: VersionSpec,
    manifest: Manifest,
    digest: bytes,
    run_id: str | None,
) -> ArtifactVersion:
    time = now(session)
    values = {
        "id": new_id(),
        "collection_id": artifact.id,
        "entity_id": project.entity_id,
        "project_id": project.id,
        "number": collections.take_number(session, artifact),
        "digest": digest,
        "size": manifest.total_size,
        "file_count": len(manifest),
        "description": spec.description,
        "metadata_": dict(spec.metadata),
        "tags": list(spec.tags),
        "producer_run_id": run_id,
        "history_step": -1 if spec.history_step is None else spec.history_step,
        "created_by": principal.name,
        "created_at": time,
        "updated_at": time,
        "expires_at": None if spec.ttl is None else time + spec.ttl,
        "deleted_at": None,
    }
    return versions.insert(session, values)


def _update_equal(
    session: Session,
    principal: Principal,
    artifact: Collection,
    version: ArtifactVersion,
    spec: VersionSpec,
) -> None:
    """Updates an existing version from a spec of equal content.

    Description and metadata are not content: if given, they replace the version's.
    Logging again without a TTL, or linking, clears the expiry.
    """
    place = {"version": f"v{version.number}", "version_id": version.id}
    before = (version.description, version.metadata_, version.expires_at)
    version.description = spec.description or version.description
    version.metadata_ = dict(spec.metadata) or version.metadata_
    version.expires_at = None
    if spec.ttl is not None and versions.link_of(session, version) is None:
        version.expires_at = now(session) + spec.ttl
    if not identical(before, (version.description, version.metadata_, version.expires_at)):
        details = {"collection": artifact.name, **place}
        events.record(
            session, artifact.project_id, "version_updated", principal, collection_id=artifact.id, **details
        )
    tags = fields.check_tags("header.tags", [*version.tags, *spec.tags])
    record_tags(session, principal, artifact, version.tags, tags, **place)
    version.tags = tags
    if session.is_modified(version):
        etags.renew(session, version)


def _record_commit(
    session: Session,
    principal: Principal,
    artifact: Collection,
    version: ArtifactVersion,
    spec: VersionSpec,
    run_id: str | None,
) -> Sequence[str]:
    """Records the producer and sets the aliases, for new and existing versions; returns the aliases."""
    if run_id is not None:
        lineage.record_output(session, run_id, version)
    names = list(dict.fromkeys([refs.LATEST, *spec.aliases]))
    aliases.set_aliases(session, principal, artifact, version, names)
    return names


def _view(session: Session, principal: Principal, version: ArtifactVersion) -> VersionView:
    session.flush()
    return versions.describe(session, principal, [version])[0]


def _record_created(
    session: Session, principal: Principal, artifact: Collection, version: ArtifactVersion, run_id: str | None
) -> None:
    place = {"version": f"v{version.number}", "version_id": version.id}
    events.record(
        session,
        artifact.project_id,
        "version_created",
        principal,
        collection_id=artifact.id,
        collection=artifact.name,
        run_id=run_id or "",
        **place,
    )
    record_tags(session, principal, artifact, (), version.tags, **place)
