"""Files of runs: entries by path whose bytes are stored as those of versions are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.orm import Session

from modelyard.contract import errors, refs
from modelyard.contract.limits import PATH_BYTES
from modelyard_server.db.engine import now
from modelyard_server.db.tables import File, RunFile
from modelyard_server.db.upserts import batches, insert
from modelyard_server.domain import fields
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.authorize import Action
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.content import file_ranges, manifest_rows, staging, uploads
from modelyard_server.domain.content.file_ranges import FileInfo, Range
from modelyard_server.domain.content.manifests import Manifest
from modelyard_server.domain.runs import runs
from modelyard_server.domain.runs.run_maps import Attempt
from modelyard_server.domain.search import paging

DEFAULT_PAGE = 100
NAMED_PATHS = 1_000
"""The most paths that a call names."""
_RANGES = 100
"""Ranges of paths in one statement."""
_SHOWN = select(RunFile.path, RunFile.media_type, RunFile.updated_at, File).join(File)


class Shown(NamedTuple):
    """A file of a run as replies have it."""

    path: str
    media_type: str
    updated_at: int
    file: File


def commit(
    session: Session,
    principal: Principal,
    run_id: str,
    upload_id: str,
    manifest: Manifest,
    media_types: Mapping[str, str],
    *,
    attempt: int | None,
    staged: str = "",
    field: str = "entries.path",
) -> Attempt:
    """Adds the files of a manifest, or replaces those of the same paths; the upload stays open.

    `staged` is the id under which a large manifest was staged, `field` the one that
    errors name. Raises NotFound, UploadExpired, ChunksMissing, InvalidField.
    """
    view = runs.find(session, principal, run_id, action=Action.WRITE, name="run_id", attempt=attempt)
    upload = uploads.find(session, principal, upload_id, lock=True)
    if (upload.entity_id, upload.project) != (view.run.entity_id, view.project):
        raise errors.InvalidField.of("upload_id", "is an upload of another project than the run's")
    if staged:
        file_ids = staging.take_files(session, upload.id, staged, len(manifest.files))
    else:
        stored = manifest_rows.store_files(session, upload, manifest.files.values())
        file_ids = {path: stored[file.digest] for path, file in manifest.files.items()}
    # Locked after the files, as versions are; a run that was deleted meanwhile is not found.
    at = runs.find(
        session, principal, run_id, action=Action.WRITE, name="run_id", lock=True, attempt=attempt
    ).attempt
    _refuse_folders(session, at, sorted(manifest.files), field)
    time = now(session)
    rows = [
        {
            "run_id": at.run_id,
            "attempt": at.number,
            "path": path.encode(),
            "file_id": file_ids[path],
            "media_type": media_types[path],
            "updated_at": time,
        }
        for path in sorted(manifest.files)
    ]
    adding = insert(session, RunFile)
    replaced = {name: getattr(adding.excluded, name) for name in ("file_id", "media_type", "updated_at")}
    session.execute(
        adding.on_conflict_do_update(index_elements=["run_id", "attempt", "path"], set_=replaced), rows
    )
    return at


def _refuse_folders(session: Session, at: Attempt, paths: Sequence[str], field: str) -> None:
    """Raises InvalidField if one of the paths is a folder of a file that there is, or the other way round."""
    above = {folder: path for path in paths for folder in _folders(path)}
    for batch in batches(sorted(folder.encode() for folder in above)):
        found = session.scalar(select(RunFile.path).where(*_of(at), RunFile.path.in_(batch)).limit(1))
        if found is not None:
            raise _clash(field, above[found.decode()], found.decode())
    for batch in batches([path.encode() for path in paths], _RANGES):
        # All that begins with `path/`: the byte after the slash is `0`.
        below = or_(*(and_(RunFile.path >= path + b"/", RunFile.path < path + b"0") for path in batch))
        found = session.scalar(select(RunFile.path).where(*_of(at), below).limit(1))
        if found is not None:
            path = found.decode()
            raise _clash(field, path, next(folder for folder in _folders(path) if folder in paths))


def _folders(path: str) -> Iterator[str]:
    """The folders that a path is in: `a` and `a/b` of `a/b/c`."""
    slash = path.find("/")
    while slash > 0:
        yield path[:slash]
        slash = path.find("/", slash + 1)


def _clash(field: str, path: str, folder: str) -> errors.InvalidField:
    return errors.InvalidField.of(
        field, f"{folder[:200]!r} would be both a file and a folder of the run: of {path[:200]!r}"
    )


def count(session: Session, at: Attempt) -> int:
    """How many files an attempt has."""
    return session.scalar(select(func.count()).select_from(RunFile).where(*_of(at))) or 0


def find(session: Session, at: Attempt, path: str) -> Shown | None:
    """The file of a path."""
    row = session.execute(_SHOWN.where(*_of(at), RunFile.path == path.encode())).one_or_none()
    return None if row is None else Shown(row[0].decode(), *row[1:])


def readable(
    session: Session, principal: Principal, run_id: str, attempt: int | None, part: Range
) -> tuple[Shown, FileInfo]:
    """A file whose bytes are to be read. Raises NotFound, InvalidField."""
    at = runs.find(session, principal, run_id, action=Action.DOWNLOAD, name="run_id", attempt=attempt).attempt
    shown = find(session, at, part.path)
    if shown is None:
        raise owners.not_found("file", part.path)
    return shown, file_ranges.checked("", part, info(shown))


def many(
    session: Session, principal: Principal, run_id: str, attempt: int | None, paths: Sequence[str]
) -> list[Shown]:
    """The files of those paths that a run has, in their order, to be read. Raises NotFound, InvalidField."""
    _check_paths(paths)
    if len(set(paths)) < len(paths):
        twice = next(path for index, path in enumerate(paths) if path in paths[:index])
        raise errors.InvalidField.of("paths", f"names {twice[:200]!r} twice")
    at = runs.find(session, principal, run_id, action=Action.DOWNLOAD, name="run_id", attempt=attempt).attempt
    found: dict[str, Shown] = {}
    for batch in batches(sorted(path.encode() for path in paths)):
        rows = session.execute(_SHOWN.where(*_of(at), RunFile.path.in_(batch)))
        found |= {row[0].decode(): Shown(row[0].decode(), *row[1:]) for row in rows}
    return [found[path] for path in paths if path in found]


def info(shown: Shown) -> FileInfo:
    """What is needed to read a file."""
    return FileInfo(shown.file.id, shown.file.size, shown.file.digest, shown.file.sha256)


def page(
    session: Session,
    principal: Principal,
    run_id: str,
    *,
    attempt: int | None,
    path_prefix: str,
    page_size: int,
    page_token: str,
) -> tuple[list[Shown], str]:
    """One page of the files of a run by path, and the token of the next.

    Raises NotFound, InvalidField, InvalidPageToken.
    """
    fields.check("path_prefix", refs.check_text, path_prefix, limit=PATH_BYTES)
    at = runs.find(session, principal, run_id, name="run_id", attempt=attempt).attempt
    query = _SHOWN.where(*_of(at))
    if prefix := path_prefix.encode():
        # No byte of UTF-8 is 0xFF, so the last one can be raised.
        end = prefix[:-1] + bytes([prefix[-1] + 1])
        query = query.where(RunFile.path >= prefix, RunFile.path < end)
    rows, token = paging.page(
        session,
        query,
        order=paging.OrderBy((paging.Term(RunFile.path.expression),)),
        size=paging.check_size(page_size, default=DEFAULT_PAGE),
        token=page_token,
        binding=("run files", *at, path_prefix),
    )
    return [Shown(row[0].decode(), *row[1:]) for row in rows], token


def remove(
    session: Session, principal: Principal, run_id: str, paths: Sequence[str], *, attempt: int | None
) -> int:
    """Removes files; returns how many of the paths there were. Raises NotFound, InvalidField."""
    _check_paths(paths)
    at = runs.find(
        session, principal, run_id, action=Action.WRITE, name="run_id", lock=True, attempt=attempt
    ).attempt
    removed = 0
    for batch in batches(sorted({path.encode() for path in paths})):
        gone = delete(RunFile).where(*_of(at), RunFile.path.in_(batch)).returning(RunFile.path)
        removed += len(session.execute(gone).all())
    return removed


def _check_paths(paths: Sequence[str]) -> None:
    """Raises InvalidField for no paths, too many, and one that no file may have."""
    if not 1 <= len(paths) <= NAMED_PATHS:
        raise errors.InvalidField.of("paths", f"has {len(paths)} paths; expected 1 to {NAMED_PATHS:,}")
    for index, path in enumerate(paths):
        fields.check(f"paths[{index}]", refs.check_manifest_path, path)


def _of(at: Attempt) -> tuple[Any, Any]:
    return RunFile.run_id == at.run_id, RunFile.attempt == at.number
