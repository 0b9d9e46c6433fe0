"""What a collection would do now, found by reading alone."""

from __future__ import annotations

import functools
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelyard_server.collecting import needed, objects, packs, pages, rows
from modelyard_server.collecting.rules import Rules
from modelyard_server.collecting.totals import Totals
from modelyard_server.db import tables
from modelyard_server.db.engine import Database, now
from modelyard_server.db.tables import File, Pack
from modelyard_server.packs.store import PackStore

_Chunk = tables.Chunk


def forecast(database: Database, store: PackStore, rules: Rules) -> Totals:
    """Counts what a collector would do. Blocks. Errors: StoreUnavailable, DatabaseUnavailable.

    Each part is as of the moment in which it is read; others may change it meanwhile.
    """
    totals = Totals()
    after: Any = 0
    while after is not None:
        after = database.read(functools.partial(_files, totals=totals, after=after))
    after = packs.BEFORE_ALL
    while after is not None:
        after = database.read(functools.partial(_packs, totals=totals, rules=rules, after=after))
    database.read(lambda session: _given_up(session, totals, rules))
    for found in objects.strays(database, store, rules.retention):
        totals.add("strays", len(found), sum(info.size for info in found))
    totals.waiting = database.read(packs.trash_size) + totals.get("trash")[1] - totals.get("packs")[1]
    return totals


def _files(session: Session, totals: Totals, after: int) -> int | None:
    within, last = pages.span(session, File.id, after, rows.PAGE)
    found = select(func.count(), func.sum(File.size)).where(*within, ~needed.file(now(session)))
    count, size = session.execute(found).one()
    totals.add("files", count, int(size or 0))
    return last


def _packs(session: Session, totals: Totals, rules: Rules, after: str) -> str | None:
    within, last = pages.span(session, Pack.id, after, packs.PAGE)
    is_needed = needed.chunk(now(session))
    found = session.execute(
        select(
            Pack.size,
            func.count(_Chunk.id),
            func.coalesce(func.sum(_Chunk.size), 0),
            func.count(_Chunk.id).filter(is_needed),
            func.coalesce(func.sum(_Chunk.size).filter(is_needed), 0),
            func.count(_Chunk.quarantined_at),
        )
        .outerjoin(_Chunk, _Chunk.pack_id == Pack.id)
        .where(*within, Pack.state == "live")
        .group_by(Pack.id)
    )
    for size, count, used, kept_count, kept, damaged in found:
        totals.add("chunks", count - kept_count, int(used) - int(kept))
        if rules.is_mostly_dead(size, int(kept)) and not damaged:
            totals.add("moved", kept_count, int(kept))
        elif kept_count:
            continue
        totals.add("trash", 1, size)
        if not rules.retention:
            totals.add("packs", 1, size)
    return last


def _given_up(session: Session, totals: Totals, rules: Rules) -> None:
    for state, age in (("writing", rules.unfinished), ("trash", rules.retention)):
        old = select(func.count(), func.sum(Pack.size)).where(
            Pack.state == state, Pack.changed_at <= now(session) - age
        )
        count, size = session.execute(old).one()
        if state == "writing":
            totals.add("trash", count, int(size or 0))
        if state == "trash" or not rules.retention:
            totals.add("packs", count, int(size or 0))
