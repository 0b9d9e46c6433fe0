"""Packs waiting batches into blocks, from which series are read.

Batches stay: they are what a scan returns, and blocks could be made of them again.
So a crash at any moment loses nothing. Packing reads and computes in one
transaction and stores in another, short one, which begins with the fence: it
raises the log's `packed_id` from where the reading found it. Of several processes
that pack one log at once, one passes. The removal of a deleted run locks its logs
and removes them last, so no block is left behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, delete, func, select, update
from sqlalchemy.orm import Session

from modelyard_server import failpoints
from modelyard_server.db.engine import BINARY_RESULTS
from modelyard_server.db.tables import (
    MetricBatch,
    MetricBlock,
    MetricKey,
    MetricLog,
    MetricSegment,
)
from modelyard_server.db.upserts import batches, insert
from modelyard_server.domain.runs.metrics import Decode, Rows
from modelyard_server.domain.series import blocks, keys
from modelyard_server.domain.series.blocks import Block, Floats, Segment
from modelyard_server.domain.series.keys import KeyRow

PACK_ROWS = 16 * blocks.BLOCK_ROWS
"""About how many rows, and points, are packed at a time: what bounds memory and the time of a thread."""
PACK_POINTS = 1 << 18
PACK_BYTES = 16 << 20
_LOOKED_AT = 4096
_JOINED = 16


@dataclass(frozen=True)
class Packed:
    """What a transaction found and computed, for another one to store.

    `replaced` are blocks whose rows are in the new ones too; `weight` is that of the batches.
    """

    log_id: int
    old_packed_id: int
    new_packed_id: int
    weight: int
    replaced: Sequence[int]
    blocks: Sequence[Block]
    keys: Mapping[str, KeyRow]
    kinds: Mapping[str, int]


def pack(session: Session, log_id: int, decode: Decode) -> Packed | None:
    """The next waiting batches of a log as blocks, joined by small newest blocks; None for a removed log."""
    log = session.get(MetricLog, log_id)
    if log is None:
        return None
    found = _next_batches(session, log)
    if not found:  # what is counted there does not wait
        return Packed(log.id, log.packed_id, log.packed_id, log.waiting, (), (), {}, {})
    rows = _decoded(session, found, decode)
    small = _small_blocks(session, log, rows)
    return Packed(
        log_id=log.id,
        old_packed_id=log.packed_id,
        new_packed_id=found[len(rows) - 1],
        weight=sum(batch.weight for batch in rows),
        replaced=[block.id for block in small],
        blocks=blocks.cut([*(_as_batch(session, block) for block in small), *rows]),
        keys=keys.count(rows),
        kinds=keys.kinds(rows),
    )


def store(session: Session, packed: Packed) -> bool:
    """Stores blocks; False, and nothing is changed, if the log was packed or removed meanwhile."""
    fence = (
        update(MetricLog)
        .where(
            MetricLog.id == packed.log_id,
            MetricLog.packed_id == packed.old_packed_id,
        )
        .values(
            packed_id=packed.new_packed_id,
            waiting=case((MetricLog.waiting > packed.weight, MetricLog.waiting - packed.weight), else_=0),
        )
    )
    passed: Any = session.execute(fence, execution_options={"synchronize_session": False})
    if passed.rowcount != 1:
        return False
    for block_id in packed.replaced:
        _delete_block(session, block_id)
    key_ids = _count_keys(session, packed) if packed.keys else {}
    for block in packed.blocks:
        _insert_block(session, packed.log_id, key_ids, block)
    failpoints.hit("metrics.stored")
    return True


def _next_batches(session: Session, log: MetricLog) -> list[int]:
    """Ids of waiting batches, in the order of their arrival, as many as are packed at a time.

    Batches of a run are inserted under the lock of its row, so none appears later among older ids.
    """
    sizes = session.execute(
        select(MetricBatch.id, MetricBatch.row_count, func.length(MetricBatch.payload))
        .where(*_waiting(log))
        .order_by(MetricBatch.id)
        .limit(_LOOKED_AT)
    )
    found: list[int] = []
    rows = size = 0
    for id_, row_count, length in sizes:
        rows, size = rows + row_count, size + length
        if found and (rows > PACK_ROWS or size > PACK_BYTES):
            break
        found.append(id_)
    return found


def _waiting(log: MetricLog) -> tuple[Any, ...]:
    """The condition of the batches of a log that are not packed."""
    return (
        MetricBatch.run_id == log.run_id,
        MetricBatch.attempt == log.attempt,
        MetricBatch.stream == log.stream,
        MetricBatch.id > log.packed_id,
    )


def _decoded(session: Session, ids: Sequence[int], decode: Decode) -> list[Rows]:
    """The rows of the batches, up to about as many points as are packed at a time."""
    rows: list[Rows] = []
    points = 0
    for some in batches(ids, 50):
        payloads = session.scalars(
            select(MetricBatch.payload).where(MetricBatch.id.in_(some)).order_by(MetricBatch.id),
            execution_options=BINARY_RESULTS,
        )
        for payload in payloads:
            batch = decode(payload, None)
            points += batch.point_count
            if rows and points > PACK_POINTS:
                return rows
            rows.append(batch)
    return rows


def _small_blocks(session: Session, log: MetricLog, rows: Sequence[Rows]) -> list[MetricBlock]:
    """The newest blocks, oldest first, that are small enough for newer rows to join them.

    A block joins rows that are half as many at least, so each row is written again a few times only.
    """
    row_count = sum(len(batch.steps) for batch in rows)
    points = sum(batch.point_count for batch in rows)
    newest = select(MetricBlock).where(MetricBlock.log_id == log.id).order_by(MetricBlock.id.desc())
    small: list[MetricBlock] = []
    for block in session.scalars(newest.limit(_JOINED)):
        row_count, points = row_count + block.row_count, points + block.point_count
        if 3 * block.row_count > 2 * row_count or points > blocks.BLOCK_POINTS:
            break
        if block.row_count >= blocks.BLOCK_ROWS // 2:
            break
        small.insert(0, block)
    return small


def _as_batch(session: Session, block: MetricBlock) -> Rows:
    segments = session.execute(
        select(MetricKey.key, MetricSegment.rows, MetricSegment.points)
        .join(MetricKey, MetricSegment.key_id == MetricKey.id)
        .where(MetricSegment.block_id == block.id),
        execution_options=BINARY_RESULTS,
    )

    def decoded() -> Iterator[tuple[str, list[int] | None, Floats]]:
        for key, data, points in segments:
            rows = blocks.decode_rows(data)
            yield key, None if rows is None else rows.tolist(), blocks.decode_floats(points)

    steps = blocks.decode_steps(block.steps, block.row_count)
    return blocks.as_batch(steps, blocks.decode_floats(block.times), decoded())


def _delete_block(session: Session, block_id: int) -> None:
    for table, column in ((MetricSegment, MetricSegment.block_id), (MetricBlock, MetricBlock.id)):
        session.execute(
            delete(table).where(column == block_id), execution_options={"synchronize_session": False}
        )


def _count_keys(session: Session, packed: Packed) -> dict[str, int]:
    """Adds to the counts of metrics; returns their ids."""
    new = insert(session, MetricKey)
    old, given = MetricKey.__table__.c, new.excluded
    adding = new.on_conflict_do_update(
        index_elements=["log_id", "key"],
        set_={
            "point_count": old.point_count + given.point_count,
            "number_count": old.number_count + given.number_count,
            "first_step": case((given.first_step < old.first_step, given.first_step), else_=old.first_step),
            "kinds": old.kinds.op("|")(given.kinds),  # unknown stays unknown
            "last_step": case((given.last_step > old.last_step, given.last_step), else_=old.last_step),
        },
    )
    rows = [
        {"log_id": packed.log_id, **packed.keys[key]._asdict(), "kinds": packed.kinds[key]}
        for key in sorted(packed.keys)
    ]
    session.execute(adding, rows)
    known = session.execute(select(MetricKey.key, MetricKey.id).where(MetricKey.log_id == packed.log_id))
    return {row.key: row.id for row in known}


def _insert_block(session: Session, log_id: int, key_ids: Mapping[str, int], block: Block) -> None:
    row = {
        "log_id": log_id,
        "row_count": len(block.steps),
        "point_count": block.point_count,
        "steps": blocks.encode_steps(block.steps),
        "times": blocks.encode_floats(block.times),
    }
    block_id = session.execute(
        insert(session, MetricBlock).returning(MetricBlock.id).values(row)
    ).scalar_one()
    segments = [_segment_row(key_ids[key], block_id, segment) for key, segment in block.segments.items()]
    if segments:
        session.execute(insert(session, MetricSegment), segments)


def _segment_row(key_id: int, block_id: int, segment: Segment) -> dict[str, Any]:
    tile, places = blocks.encode_tile(segment.tile)
    return {
        "key_id": key_id,
        "block_id": block_id,
        "tile": tile,
        "places": places,
        "rows": blocks.encode_rows(segment.rows),
        "points": blocks.encode_floats(segment.values),
    }
