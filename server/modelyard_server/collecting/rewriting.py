"""Copies the chunks of packs that are mostly dead into a new pack, after which nothing needs the old ones.

The new pack is written as any other: intent row, durable put, then the transaction that
makes it live. That transaction moves the rows of those chunks that are still where they
were copied from. A reader that does not find the old pack asks again where its chunks are.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.orm import Session

from modelyard.contract.chunking import Chunk
from modelyard_server import failpoints
from modelyard_server.collecting.packs import PackUse
from modelyard_server.db import tables
from modelyard_server.db.engine import Database, now
from modelyard_server.db.ids import new_id
from modelyard_server.db.tables import Pack
from modelyard_server.domain.content import confirmation, damage
from modelyard_server.domain.content.file_ranges import ChunkRange
from modelyard_server.packs.builder import PackBuilder
from modelyard_server.packs.confirmed import ConfirmedPacks
from modelyard_server.packs.store import PackMissing, PackTruncated, pack_key

READ_BYTES = 4 << 20

_K = cast(Table, tables.Chunk.__table__)
_MOVE = (
    update(_K)
    .where(
        _K.c.id == bindparam("of"),
        _K.c.pack_id == bindparam("old_pack"),
        _K.c.offset == bindparam("old_offset"),
        _K.c.quarantined_at.is_(None),
    )
    .values(pack_id=bindparam("new_pack"), offset=bindparam("new_offset"))
)


class Rewritten(NamedTuple):
    """How many chunks were moved, and their bytes."""

    chunks: int
    size: int


class _Piece(NamedTuple):
    """A chunk where it is."""

    id: int
    digest: bytes
    pack_id: str
    offset: int
    size: int


def rewrite(database: Database, packs: ConfirmedPacks, sources: Sequence[PackUse]) -> Rewritten:
    """Copies what packs of one entity hold into one new pack. Blocks.

    Chunks that turn out to be damaged or lost are quarantined and stay. Errors:
    StoreUnavailable, DiskFull, DatabaseUnavailable.
    """
    entity_id = sources[0].entity_id
    pieces = database.read(lambda session: _pieces(session, [source.id for source in sources]))
    builder = PackBuilder(packs.store)
    try:
        copied = _copy(database, packs, builder, entity_id, pieces)
        if not copied:
            return Rewritten(0, 0)
        failpoints.hit("collector.before_copy")
        pack_id = database.write(lambda session: _begin(session, entity_id))
        builder.put(pack_key(entity_id, pack_id))
    finally:
        builder.discard()
    failpoints.hit("collector.copied")
    moved = database.write(lambda session: _publish(session, pack_id, builder, copied))
    packs.add([pack_id])
    failpoints.hit("collector.moved")
    return moved


def _pieces(session: Session, pack_ids: Sequence[str]) -> list[_Piece]:
    row = tables.Chunk
    found = session.execute(
        select(row.id, row.digest, row.pack_id, row.offset, row.size)
        .where(row.pack_id.in_(pack_ids), row.quarantined_at.is_(None))
        .order_by(row.pack_id, row.offset)
    )
    return [_Piece(*each) for each in found]


def _copy(
    database: Database, packs: ConfirmedPacks, builder: PackBuilder, entity_id: int, pieces: Sequence[_Piece]
) -> list[_Piece]:
    """Appends the pieces to the new pack; returns those that were whole."""
    copied: list[_Piece] = []
    for run in _runs(pieces):
        first, last = run[0], run[-1]
        key = pack_key(entity_id, first.pack_id)
        try:
            data = memoryview(packs.store.read(key, first.offset, last.offset + last.size - first.offset))
        except (PackMissing, PackTruncated):
            _report_loss(database, packs, first.pack_id)
            continue
        for piece in run:
            part = data[piece.offset - first.offset :][: piece.size]
            if hashlib.sha256(part).digest() == piece.digest:
                builder.add([Chunk(piece.digest, piece.size)], part, hashed_here=True)
                copied.append(piece)
            else:
                wrong = ChunkRange(
                    entity_id, piece.pack_id, piece.offset, piece.size, piece.digest, 0, piece.size
                )
                database.write(functools.partial(damage.quarantine, piece=wrong))
    return copied


def _runs(pieces: Sequence[_Piece]) -> Iterator[list[_Piece]]:
    """Pieces that lie end to end in a pack, 4 MiB at most."""
    run: list[_Piece] = []
    size = 0
    for piece in pieces:
        if run and (
            piece.pack_id != run[-1].pack_id
            or piece.offset != run[-1].offset + run[-1].size
            or size + piece.size > READ_BYTES
        ):
            yield run
            run, size = [], 0
        run.append(piece)
        size += piece.size
    if run:
        yield run


def _report_loss(database: Database, packs: ConfirmedPacks, pack_id: str) -> None:
    """Has the chunks of a pack quarantined, if it is live and certainly lost."""
    packs.forget([pack_id])
    losses = packs.losses(database.read(lambda session: confirmation.pack_sizes(session, [pack_id])))
    if losses:
        database.write(lambda session: damage.quarantine_losses(session, losses))


def _begin(session: Session, entity_id: int) -> str:
    pack = Pack(id=new_id(), entity_id=entity_id, size=0, state="writing", changed_at=now(session))
    session.add(pack)
    return pack.id


def _publish(session: Session, pack_id: str, builder: PackBuilder, pieces: Sequence[_Piece]) -> Rewritten:
    """Makes the new pack live and moves the rows of its chunks.

    A pack that was given up meanwhile gets none. One that gets none because another
    collector moved them is trash at once.
    """
    size = sum(piece.size for piece in pieces)
    if not _change(session, pack_id, "writing", "live", size):
        return Rewritten(0, 0)
    moved = [
        piece
        # In the order in which the writers of packs lock chunks.
        for piece in sorted(pieces, key=lambda piece: piece.digest)
        if _move(session, pack_id, builder.chunks[piece.digest].offset, piece)
    ]
    if not moved:
        _change(session, pack_id, "live", "trash", size)
    return Rewritten(len(moved), sum(piece.size for piece in moved))


def _change(session: Session, pack_id: str, old: str, new: str, size: int) -> bool:
    """Changes the state of a pack; whether it had the old one."""
    done: Any = session.execute(
        update(Pack)
        .where(Pack.id == pack_id, Pack.state == old)
        .values(state=new, size=size, changed_at=now(session))
    )
    return bool(done.rowcount)


def _move(session: Session, pack_id: str, offset: int, piece: _Piece) -> bool:
    """Moves the row of a chunk, if it is still where it was copied from."""
    values = {"of": piece.id, "old_pack": piece.pack_id, "old_offset": piece.offset}
    done = session.connection().execute(_MOVE, {**values, "new_pack": pack_id, "new_offset": offset})
    return done.rowcount == 1
