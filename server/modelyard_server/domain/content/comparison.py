"""Two versions compared: the paths that differ, in pages, and the bytes that both have by their chunks.

Files are equal if their digests are, so that versions of two entities can be
compared; their chunks too are then compared by digest, else by their rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import Session, aliased

from modelyard.contract import refs
from modelyard.contract.limits import MANIFEST_PAGE_ENTRIES, PATH_BYTES
from modelyard_server.db import tables
from modelyard_server.db.tables import File, FileChunk, VersionFile
from modelyard_server.domain import fields
from modelyard_server.domain.registry.versions import VersionView
from modelyard_server.domain.search import paging

DEFAULT_CHANGES = 1000
CHUNK_LIMIT = 500_000
"""Chunks of the base and of the files that differ, up to which shared bytes are counted: about 250 GB."""
BYTE_LIMIT = 2_500_000
"""Bytes of names and digests in a page."""

_N, _B = aliased(VersionFile, name="new_entry"), aliased(VersionFile, name="base_entry")
_FN, _FB = aliased(File, name="new_file"), aliased(File, name="base_file")
# Of the base too, but for subqueries that do not refer to the entry at the same path.
_HELD, _HELD_FILE = aliased(VersionFile, name="held_entry"), aliased(File, name="held_file")
_HELD_PART, _HELD_CHUNK = aliased(FileChunk, name="held_part"), aliased(tables.Chunk, name="held_chunk")
_COLUMNS = tuple(
    column
    for entry, file in ((_N, _FN), (_B, _FB))
    for column in (entry.path, entry.size, file.digest, file.sha256, entry.uri, entry.tag)
)
_DIFFERS = or_(
    _B.path.is_(None),
    _FN.digest.is_distinct_from(_FB.digest),
    _N.uri.is_distinct_from(_B.uri),
    _N.tag != _B.tag,
    _N.size.is_distinct_from(_B.size),
)
_POSITION = (VersionFile.path.expression,)


class Side(NamedTuple):
    """What one of the versions has at a path: a file, or a reference if `digest` is None."""

    size: int | None
    digest: bytes | None
    sha256: bytes | None
    uri: str
    tag: str


class Change(NamedTuple):
    """A path that differs: `entry` is None if it was removed, `base` if it was added.

    `shared` is in bytes; None if it has no meaning or was not counted.
    """

    path: bytes
    entry: Side | None
    base: Side | None
    shared: int | None = None


class Sums(NamedTuple):
    """Number and bytes of paths."""

    number: int
    size: int


class Total(NamedTuple):
    """The sums of a whole comparison; `shared` is None if the chunks are too many to be counted."""

    added: Sums
    removed: Sums
    changed: Sums
    unchanged: Sums
    shared: int | None


class Page(NamedTuple):
    """One page, the token of the next, and on the first page the sums."""

    changes: Sequence[Change]
    token: str
    total: Total | None


def page(
    session: Session,
    version: VersionView,
    base: VersionView,
    *,
    path_prefix: str,
    page_size: int,
    page_token: str,
) -> Page:
    """The next paths that differ, by the bytes of their path. Raises InvalidField, InvalidPageToken."""
    fields.check("path_prefix", refs.check_text, path_prefix, limit=PATH_BYTES)
    size = paging.check_size(page_size, default=DEFAULT_CHANGES, limit=MANIFEST_PAGE_ENTRIES)
    binding = ("comparison", version.version.id, base.version.id, path_prefix)
    after = paging.decode(page_token, binding, _POSITION)[0] if page_token else b""
    pair = _Pair(
        session,
        version.version.id,
        base.version.id,
        version.full_name.entity == base.full_name.entity,
        path_prefix.encode(),
    )
    found = pair.changes(after, size + 1)
    kept = found[: _fitting(found[:size])]
    token = paging.encode(binding, (kept[-1].path,)) if len(kept) < len(found) else ""
    return Page(pair.with_shared(kept), token, None if page_token else pair.total())


def _fitting(changes: Sequence[Change]) -> int:
    """How many of the changes fit the bytes of a page, at least one."""
    left = BYTE_LIMIT
    for index, change in enumerate(changes):
        sides = [side for side in (change.entry, change.base) if side]
        left -= len(change.path) + sum(len(side.uri) * 4 + len(side.tag) * 4 + 160 for side in sides)
        if index and left < 0:
            return index
    return len(changes)


@dataclass(frozen=True)
class _Pair:
    """The two versions, by their ids, below a prefix of paths."""

    session: Session
    version: str
    base: str
    is_one_entity: bool
    prefix: bytes

    def changes(self, after: bytes, limit: int) -> list[Change]:
        """The first changes behind a path."""
        new = self._new(*_COLUMNS).where(_DIFFERS, _N.path > after).order_by(_N.path).limit(limit)
        gone = self._gone(*_COLUMNS).where(_B.path > after).order_by(_B.path).limit(limit)
        rows = [*self.session.execute(new), *self.session.execute(gone)]
        found = [Change(row[0] or row[6], _side(row[:6]), _side(row[6:])) for row in rows]
        return sorted(found, key=lambda change: change.path)[:limit]

    def with_shared(self, changes: Sequence[Change]) -> list[Change]:
        """The changes with the bytes that each new or changed file shares with the base."""
        if not any(change.entry and change.entry.digest for change in changes) or not self._is_countable:
            return list(changes)
        shared = self._shared_by_path(changes[0].path, changes[-1].path)
        return [
            change._replace(shared=shared.get(change.path, 0))
            if change.entry and change.entry.digest
            else change
            for change in changes
        ]

    def total(self) -> Total:
        """The sums of all paths below the prefix."""
        is_added = _B.path.is_(None)
        rows = self.session.execute(
            self._new(is_added, _DIFFERS, *_sums(_N)).group_by(is_added, _DIFFERS)
        ).all()
        by_kind = {(bool(added), bool(differs)): _summed(*sums) for added, differs, *sums in rows}
        none = Sums(0, 0)
        removed = self.session.execute(self._gone(*_sums(_B))).one()
        return Total(
            added=by_kind.get((True, True), none),
            removed=_summed(*removed),
            changed=by_kind.get((False, True), none),
            unchanged=by_kind.get((False, False), none),
            shared=self._shared(),
        )

    def _new(self, *columns: Any) -> Select[*tuple[Any, ...]]:
        """The paths of the version, each with the entry that the base has there."""
        return (
            select(*columns)
            .select_from(_N)
            .outerjoin(_B, and_(_B.version_id == self.base, _B.path == _N.path))
            .outerjoin(_FN, _FN.id == _N.file_id)
            .outerjoin(_FB, _FB.id == _B.file_id)
            .where(_N.version_id == self.version, *self._below(_N))
        )

    def _gone(self, *columns: Any) -> Select[*tuple[Any, ...]]:
        """The paths that only the base has."""
        return (
            select(*columns)
            .select_from(_B)
            .outerjoin(_N, and_(_N.version_id == self.version, _N.path == _B.path))
            .outerjoin(_FN, _FN.id == _N.file_id)
            .outerjoin(_FB, _FB.id == _B.file_id)
            .where(_B.version_id == self.base, _N.path.is_(None), *self._below(_B))
        )

    def _below(self, entry: Any) -> list[ColumnElement[bool]]:
        if not self.prefix:
            return []
        # No byte of UTF-8 is 0xFF, so the last byte can be incremented.
        end = self.prefix[:-1] + bytes([self.prefix[-1] + 1])
        return [entry.path >= self.prefix, entry.path < end]

    def _shared(self) -> int | None:
        """Bytes of the version's files that lie in chunks of the base; files that both have count whole."""
        both = select(func.coalesce(func.sum(_N.size), 0)).select_from(_N).join(_FN, _FN.id == _N.file_id)
        whole = self.session.execute(both.where(*self._own, self._is_in_base)).scalar_one()
        if not self._is_countable:
            return None
        parts = self._new_chunks(func.coalesce(func.sum(tables.Chunk.size), 0)).where(self._is_shared)
        return int(whole or 0) + int(self.session.execute(parts).scalar_one() or 0)

    def _shared_by_path(self, first: bytes, last: bytes) -> Mapping[bytes, int]:
        """Bytes shared by chunk, of the files in a range of paths that differ from the base."""
        statement = (
            self._new(_N.path, func.sum(tables.Chunk.size))
            .join(FileChunk, FileChunk.file_id == _N.file_id)
            .join(tables.Chunk, tables.Chunk.id == FileChunk.chunk_id)
            .where(_DIFFERS, _N.path.between(first, last), self._is_shared)
            .group_by(_N.path)
        )
        return {path: int(shared) for path, shared in self.session.execute(statement)}

    @property
    def _own(self) -> list[ColumnElement[bool]]:
        return [_N.version_id == self.version, *self._below(_N)]

    @property
    def _is_in_base(self) -> ColumnElement[bool]:
        """Whether the base has the file `_FN`, at any path."""
        key = _HELD_FILE.id if self.is_one_entity else _HELD_FILE.digest
        files = select(key).join(_HELD, _HELD.file_id == _HELD_FILE.id).where(_HELD.version_id == self.base)
        return (_FN.id if self.is_one_entity else _FN.digest).in_(files)

    @property
    def _is_shared(self) -> ColumnElement[bool]:
        """Whether the base has the chunk."""
        if self.is_one_entity:
            return FileChunk.chunk_id.in_(self._held(_HELD_PART.chunk_id))
        digests = self._held(_HELD_CHUNK.digest).join(_HELD_CHUNK, _HELD_CHUNK.id == _HELD_PART.chunk_id)
        return tables.Chunk.digest.in_(digests)

    def _held(self, column: Any) -> Select[Any]:
        """The chunks of the base, in all of its files."""
        return (
            select(column)
            .select_from(_HELD)
            .join(_HELD_PART, _HELD_PART.file_id == _HELD.file_id)
            .where(_HELD.version_id == self.base)
        )

    def _new_chunks(self, *columns: Any) -> Select[*tuple[Any, ...]]:
        """The chunks of the version's files that the base does not have as a whole."""
        return (
            select(*columns)
            .select_from(_N)
            .join(_FN, _FN.id == _N.file_id)
            .join(FileChunk, FileChunk.file_id == _FN.id)
            .join(tables.Chunk, tables.Chunk.id == FileChunk.chunk_id)
            .where(*self._own, ~self._is_in_base)
        )

    @cached_property
    def _is_countable(self) -> bool:
        """Whether the chunks to look at are few enough."""
        own = self._count(self._new_chunks(FileChunk.chunk_id))
        if own > CHUNK_LIMIT:
            return False
        return own == 0 or own + self._count(self._held(_HELD_PART.chunk_id)) <= CHUNK_LIMIT

    def _count(self, rows: Select[*tuple[Any, ...]]) -> int:
        """The number of rows, counted up to one more than the limit."""
        some = rows.limit(CHUNK_LIMIT + 1).subquery()
        return self.session.execute(select(func.count()).select_from(some)).scalar_one()


def _sums(entry: Any) -> tuple[Any, Any]:
    return func.count(), func.coalesce(func.sum(entry.size), 0)


def _summed(number: int, size: Any) -> Sums:
    """PostgreSQL gives sums as decimals."""
    return Sums(number, int(size))


def _side(row: Sequence[Any]) -> Side | None:
    path, size, digest, sha256, uri, tag = row
    return None if path is None else Side(size, digest, sha256, uri or "", tag)
