"""Packs and objects: the store has every live pack in its size, and nothing that no row knows.

Rows and objects are read page by page and not as of one time, so that no transaction
waits for the store. What seems wrong is looked at again before it is reported.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple, cast

from sqlalchemy import Table, func, select
from sqlalchemy.orm import Session

from modelyard_server.db import tables
from modelyard_server.db.engine import Database
from modelyard_server.fsck import touched
from modelyard_server.fsck.findings import Lost
from modelyard_server.fsck.scan import ROWS, Deadline, OutOfTime, Result
from modelyard_server.packs.confirmed import ConfirmedPacks, PackLoss, PackSize
from modelyard_server.packs.store import PackInfo, PackMissing, PackStore, pack_key

_P, _K, _E = (cast(Table, row.__table__) for row in (tables.Pack, tables.Chunk, tables.Entity))
_KEY = re.compile(
    r"packs/([0-9]{1,18})/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
)  # fmt: skip


class _Row(NamedTuple):
    id: str
    entity_id: int
    size: int
    state: str

    @property
    def key(self) -> str:
        return pack_key(self.entity_id, self.id)


class Stored:
    """The database and its store, with the checks of single packs that need both."""

    def __init__(self, database: Database, packs: ConfirmedPacks) -> None:
        self.database = database
        self.packs = packs
        self._lost: set[str] = set()

    @property
    def store(self) -> PackStore:
        """The store."""
        return self.packs.store

    def report_loss(self, result: Result, pack_id: str) -> None:
        """Reports a pack, once, that the store does not have completely, if chunks need what is lost.

        Asks the store twice, and whether it is the right one. Errors: StoreUnavailable.
        """
        row = self.database.read(lambda session: _live(session, pack_id))
        if row is None or pack_id in self._lost:
            return
        self._lost.add(pack_id)
        for loss in self.packs.losses([PackSize(row.id, row.entity_id, row.size)]):
            self.database.read(functools.partial(_add_loss, result=result, loss=loss))


def check(stored: Stored, deadline: Deadline, result: Result) -> None:
    """Compares all packs with all objects. Errors: StoreUnavailable."""
    try:
        for row, found in _joined(_rows(stored.database), stored.store.list()):
            deadline.check()
            result.examined += 1
            if row is None:
                assert found is not None
                _check_unknown(stored, result, found)
            elif found is None:
                if row.state == "live":
                    stored.report_loss(result, row.id)
            elif row.state == "live" and found.size < row.size:
                stored.report_loss(result, row.id)
            elif row.state == "live" and found.size > row.size:
                what = f"{row.key} has {found.size} bytes in the store, and {row.size} were written"
                result.add("pack_long", what, {"pack": row.key})
            elif row.state == "gone":
                _check_left(stored, result, row)
    except OutOfTime:
        result.complete = False


def _joined(
    rows: Iterator[_Row], objects: Iterator[PackInfo]
) -> Iterator[tuple[_Row | None, PackInfo | None]]:
    """Rows and objects of the same key together; both come in the order of keys."""
    row, found = next(rows, None), next(objects, None)
    while row is not None or found is not None:
        if found is None or (row is not None and row.key < found.key):
            yield row, None
            row = next(rows, None)
        elif row is None or found.key < row.key:
            yield None, found
            found = next(objects, None)
        else:
            yield row, found
            row, found = next(rows, None), next(objects, None)


def _rows(database: Database) -> Iterator[_Row]:
    """All packs in the order of their keys."""
    entities = database.read(lambda session: session.scalars(select(_E.c.id)).all())
    for entity_id in sorted(entities, key=lambda id_: f"{id_}/"):
        after = ""
        while True:
            page = database.read(functools.partial(_page, entity_id=entity_id, after=after))
            yield from page
            if len(page) < ROWS:
                break
            after = page[-1].id


def _page(session: Session, *, entity_id: int, after: str) -> list[_Row]:
    query = select(_P.c.id, _P.c.entity_id, _P.c.size, _P.c.state).where(_P.c.entity_id == entity_id)
    if after:
        query = query.where(_P.c.id > after)
    return [_Row(*row) for row in session.execute(query.order_by(_P.c.id).limit(ROWS))]


def _live(session: Session, pack_id: str) -> _Row | None:
    query = select(_P.c.id, _P.c.entity_id, _P.c.size, _P.c.state)
    row = session.execute(query.where(_P.c.id == pack_id, _P.c.state == "live")).one_or_none()
    return None if row is None else _Row(*row)


def _add_loss(session: Session, *, result: Result, loss: PackLoss) -> None:
    pack, left = loss
    lost = (_K.c.pack_id == pack.pack_id, _K.c.offset + _K.c.size > left, _K.c.quarantined_at.is_(None))
    count = session.execute(select(func.count()).select_from(_K).where(*lost)).scalar_one()
    # Chunks that were uploaded again since are elsewhere, and those that are quarantined are reported so.
    if not count or _live(session, pack.pack_id) is None:
        return
    key = pack_key(pack.entity_id, pack.pack_id)
    what = f"has {left} of {pack.size} bytes in the store" if left else "is not in the store"
    result.add(
        "pack_short" if left else "pack_missing",
        f"{key} {what}: {count} chunks are lost",
        {"pack": key},
        touched.by_chunks(session, *lost),
        Lost(pack.pack_id, left),
    )


def _check_unknown(stored: Stored, result: Result, found: PackInfo) -> None:
    """Reports an object that no row knows: rows are inserted before their object is put."""
    name = _KEY.fullmatch(found.key)
    if name is not None:
        known = select(_P.c.entity_id).where(_P.c.id == name[2])
        owner = stored.database.read(lambda session: session.execute(known).scalar())
        if owner == int(name[1]):
            return
    if _is_there(stored, found.key):
        what = f"{found.key} has {found.size} bytes, and no row knows it"
        result.add("object_unknown", what, {"object": found.key})


def _check_left(stored: Stored, result: Result, row: _Row) -> None:
    if _is_there(stored, row.key):
        result.add("object_left", f"{row.key} was given up and is still there", {"pack": row.key})


def _is_there(stored: Stored, key: str) -> bool:
    """Whether the store has an object; one whose key cannot be one of ours counts as there."""
    try:
        stored.store.stat(key)
    except PackMissing:
        return False
    except ValueError:
        return True
    return True
