"""The bytes of packs: reads some or all of them, and compares each chunk with its digest."""

from __future__ import annotations

import functools
import hashlib
import math
import random
from collections.abc import Iterator
from typing import NamedTuple, cast

from sqlalchemy import Table, func, select
from sqlalchemy.orm import Session

from modelyard_server.db import tables
from modelyard_server.db.engine import Database
from modelyard_server.fsck import touched
from modelyard_server.fsck.findings import Corrupt
from modelyard_server.fsck.objects import Stored
from modelyard_server.fsck.scan import ROWS, Deadline, OutOfTime, Result
from modelyard_server.packs.store import PackMissing, PackTruncated, RangeReader, pack_key

_P, _K = (cast(Table, row.__table__) for row in (tables.Pack, tables.Chunk))
_LIVE = _P.c.state == "live"


class _Chunk(NamedTuple):
    id: int
    digest: bytes
    offset: int
    size: int


def check(stored: Stored, percent: float, deadline: Deadline, result: Result) -> None:
    """Reads this percentage of the live packs, chosen at random, at least one. Errors: StoreUnavailable."""
    try:
        for pack_id, entity_id in _chosen(stored.database, percent):
            _check_pack(stored, pack_id, entity_id, deadline, result)
            result.examined += 1
    except OutOfTime:
        result.complete = False


def _chosen(database: Database, percent: float) -> Iterator[tuple[str, int]]:
    """A uniform sample of the packs, in one pass: each is taken with the odds that are left."""
    count = select(func.count()).select_from(_P).where(_LIVE)
    left = database.read(lambda session: session.execute(count).scalar_one())
    wanted = math.ceil(left * percent / 100)
    after = ""
    while wanted:
        page = database.read(functools.partial(_page, after=after))
        if not page:
            return
        for pack_id, entity_id in page:
            if random.random() * left < wanted:
                yield pack_id, entity_id
                wanted -= 1
            left -= 1
        after = page[-1][0]


def _page(session: Session, *, after: str) -> list[tuple[str, int]]:
    query = select(_P.c.id, _P.c.entity_id).where(_LIVE)
    if after:
        query = query.where(_P.c.id > after)
    return [(id_, entity_id) for id_, entity_id in session.execute(query.order_by(_P.c.id).limit(ROWS))]


def _check_pack(stored: Stored, pack_id: str, entity_id: int, deadline: Deadline, result: Result) -> None:
    key = pack_key(entity_id, pack_id)
    after = -1
    while chunks := stored.database.read(functools.partial(_chunks, pack_id=pack_id, after=after)):
        begin, end = chunks[0].offset, max(chunk.offset + chunk.size for chunk in chunks)
        reader = stored.store.open_range(key, begin, end - begin)
        try:
            for chunk in chunks:
                deadline.check()
                if not _matches(_read(reader, chunk), chunk):
                    _report(stored, result, key, pack_id, chunk)
        except (PackMissing, PackTruncated):
            stored.report_loss(result, pack_id)
            return
        finally:
            reader.close()
        after = chunks[-1].offset


def _chunks(session: Session, *, pack_id: str, after: int) -> list[_Chunk]:
    """The next chunks of a pack that count as usable; ones that do not fit into a pack are left out."""
    query = select(_K.c.id, _K.c.digest, _K.c.offset, _K.c.size).where(
        _K.c.pack_id == pack_id, _K.c.offset > after, _K.c.quarantined_at.is_(None), _K.c.size > 0
    )
    found: list[_Chunk] = []
    end = 0
    for row in session.execute(query.order_by(_K.c.offset, _K.c.id).limit(ROWS)):
        chunk = _Chunk(*row)
        if chunk.offset >= end:  # one that overlaps is reported by the check of rows
            found.append(chunk)
            end = chunk.offset + chunk.size
    return found


def _read(reader: RangeReader, chunk: _Chunk) -> bytes:
    while reader.at < chunk.offset:  # what no row needs any more
        reader.read(min(chunk.offset - reader.at, 1 << 20))
    return reader.read(chunk.size)


def _matches(data: bytes, chunk: _Chunk) -> bool:
    return hashlib.sha256(data).digest() == chunk.digest


def _report(stored: Stored, result: Result, key: str, pack_id: str, chunk: _Chunk) -> None:
    """Reads the chunk a second time, and reports it if its row still says that its bytes are there."""
    if _matches(stored.store.read(key, chunk.offset, chunk.size), chunk):
        return

    def rule(session: Session) -> None:
        own = (_K.c.id == chunk.id, _K.c.pack_id == pack_id, _K.c.quarantined_at.is_(None))
        if session.execute(select(_K.c.id).where(*own)).first() is None:
            return
        what = f"{chunk.size} bytes at {chunk.offset} of {key} do not have their digest"
        about: dict[str, str | int] = {"pack": key, "chunk": chunk.digest.hex(), "offset": chunk.offset}
        touching = touched.by_chunks(session, *own)
        result.add("chunk_corrupt", what, about, touching, Corrupt(chunk.id, pack_id))

    stored.database.read(rule)
