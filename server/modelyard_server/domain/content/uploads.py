"""Uploads: sessions that hold chunks, and the two transactions of every pack.

That no chunk is lost follows from foreign keys alone: a pin keeps the row of a
chunk, and if that row is not quarantined, its bytes are usable. Time only decides
when an upload may be deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

from sqlalchemy import Select, Table, bindparam, func, select, union_all
from sqlalchemy import delete as delete_rows
from sqlalchemy.orm import Session

from modelyard.contract import chunking, errors, refs
from modelyard.contract.chunking import Chunk
from modelyard.contract.limits import CHUNKS_PER_CALL
from modelyard_server.db import bounded, tables
from modelyard_server.db.engine import now
from modelyard_server.db.ids import new_id
from modelyard_server.db.tables import Entity, Pack, Pin, StagedEntry, Upload
from modelyard_server.db.upserts import batches, insert, insert_missing
from modelyard_server.domain import fields
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.authorize import Action, Resource, authorize
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.content import confirmation
from modelyard_server.packs.builder import PackedChunk

LIFETIME = 24 * 3600 * 1_000_000
"""Microseconds an upload lives after its last acknowledgement."""

EMPTY_LIFETIME = 3600 * 1_000_000
"""Microseconds an upload that holds no chunk lives after its last call."""

IDLE = 3600 * 1_000_000
"""Microseconds without a call after which an upload may be ended to make room for a new one."""

OPEN_LIMIT = 10_000
"""Open uploads of one principal."""

SWEEP_BATCH = 500


# Built once: building a statement takes longer than running it.
_U, _P = (cast(Table, row.__table__) for row in (Upload, Pack))
_OPEN = select(func.count()).where(
    _U.c.principal_id == bindparam("principal"), _U.c.expires_at > bindparam("now")
)
_UPLOAD = select(Upload).where(Upload.id == bindparam("id"))
_OWN = (
    select(Upload, Entity.name)
    .join(Entity, Entity.id == Upload.entity_id)
    .where(Upload.id == bindparam("id"), Upload.principal_id == bindparam("principal"))
)
_OWN_LOCKED = _OWN.with_for_update(of=Upload)
_OWN_HELD = _OWN.with_for_update(of=Upload, read=True, key_share=True)
_SHARED = _UPLOAD.with_for_update(read=True, key_share=True)
_PROLONG = _U.update().where(_U.c.id == bindparam("of")).values(expires_at=bindparam("until"))
_BEGIN = _P.insert()
_PUBLISH = (
    _P.update()
    .where(_P.c.id == bindparam("of"), _P.c.state == "writing")
    .values(state="live", size=bindparam("new_size"), changed_at=bindparam("time"))
)
_BEYOND = [
    select(table.upload_id)
    .where(table.upload_id == bindparam("upload"))
    .offset(bounded.ROWS)
    .limit(1)
    .subquery()
    for table in (Pin, StagedEntry)
]
_MUCH = union_all(*(select(rows) for rows in _BEYOND))
"""Whether an upload holds more rows than one transaction should delete."""
_K = cast(Table, tables.Chunk.__table__)
_USABLE = select(tables.Chunk.digest, tables.Chunk.id, tables.Chunk.size, tables.Chunk.pack_id).where(
    tables.Chunk.quarantined_at.is_(None)
)
_RELOCATE = (
    _K.update()
    .where(_K.c.id == bindparam("of"))
    .values(pack_id=bindparam("new_pack"), offset=bindparam("new_offset"))
)
_HELD = _USABLE.join(Pin, Pin.chunk_id == tables.Chunk.id).where(
    Pin.upload_id == bindparam("upload"),
    tables.Chunk.entity_id == bindparam("entity"),
    tables.Chunk.digest.in_(bindparam("digests", expanding=True)),
)
_PRESENT = (
    _USABLE.where(
        tables.Chunk.entity_id == bindparam("entity"),
        tables.Chunk.digest.in_(bindparam("digests", expanding=True)),
    )
    .order_by(tables.Chunk.digest)
    .with_for_update(read=True, key_share=True)
)


class Stored(NamedTuple):
    """A stored chunk."""

    id: int
    size: int
    pack_id: str


def create(session: Session, principal: Principal, entity: str, project: str) -> Upload:
    """Opens an upload. Raises QuotaExceeded if the principal has too many open, none of them idle."""
    project = project or refs.DEFAULT_PROJECT
    fields.check("project", refs.check_owner, project, "project")
    owner = owners.ensure_entity(session, principal, entity, project=project)
    time = now(session)
    open_now = session.scalar(_OPEN, {"principal": principal.id, "now": time})
    if (open_now or 0) >= OPEN_LIMIT:
        _end_idle(session, principal, time)
    upload = Upload(
        id=new_id(),
        entity_id=owner.id,
        project=project,
        principal_id=principal.id,
        created_at=time,
        expires_at=time + EMPTY_LIFETIME,
    )
    session.add(upload)
    session.flush()
    return upload


def find(session: Session, principal: Principal, upload_id: str, *, lock: bool = False) -> Upload:
    """The principal's open upload, in an entity that the caller may access now.

    Raises UploadExpired, also for uploads of others and for unknown ids.
    """
    return _open(session, upload_id, _own(session, principal, upload_id, _OWN_LOCKED if lock else _OWN))


def hold(session: Session, principal: Principal, upload_id: str) -> Upload:
    """The same, and nobody deletes it until the transaction ends; others may hold it, too."""
    return _open(session, upload_id, _own(session, principal, upload_id, _OWN_HELD))


def delete(session: Session, principal: Principal, upload_id: str) -> None:
    """Deletes an upload. Deleting one that has ended changes nothing."""
    upload = _own(session, principal, upload_id, _OWN_LOCKED)
    if upload is not None:
        end(session, upload)


def end(session: Session, upload: Upload) -> None:
    """Ends an upload. Its pins and staged entries are deleted with it; if they are many, by the sweep."""
    if session.execute(_MUCH, {"upload": upload.id}).first() is None:
        session.delete(upload)
    else:
        upload.expires_at = 0


def delete_ended(session: Session) -> int:
    """Deletes ended and expired uploads with their rows, as many as one transaction should.

    Returns 500 if there may be more to do.
    """
    ended = select(Upload.id).where(Upload.expires_at <= now(session)).order_by(Upload.expires_at)
    found = session.scalars(ended.limit(SWEEP_BATCH).with_for_update(skip_locked=True)).all()
    room = bounded.ROWS
    for table in (Pin, StagedEntry):
        room -= bounded.delete_some(session, table, table.upload_id.in_(found), limit=room)
        if room == 0:
            return SWEEP_BATCH
    session.execute(
        delete_rows(Upload).where(Upload.id.in_(found)), execution_options={"synchronize_session": False}
    )
    return len(found)


def prolong(session: Session, upload: Upload) -> None:
    """Extends the expiry of an upload that holds chunks."""
    upload.expires_at = now(session) + LIFETIME


def missing(session: Session, principal: Principal, upload_id: str, chunks: Sequence[Chunk]) -> list[int]:
    """Returns the indexes of the chunks that have to be sent; the others are pinned."""
    if len(chunks) > CHUNKS_PER_CALL:
        raise errors.InvalidField.of("chunks", f"at most {CHUNKS_PER_CALL} in one call")
    chunking.check_chunks(chunks)
    upload = hold(session, principal, upload_id)
    present = _lock_present(session, upload.entity_id, {chunk.digest for chunk in chunks})
    confirmation.require_confirmed(session, {stored.pack_id for stored in present.values()})
    for index, chunk in enumerate(chunks):
        stored = present.get(chunk.digest)
        if stored is not None and stored.size != chunk.size:
            raise errors.InvalidField.of(
                f"chunks[{index}].size_bytes", f"the chunk with this digest has {stored.size} bytes"
            )
    pin(session, upload, (stored.id for stored in present.values()))
    upload.expires_at = max(upload.expires_at, now(session) + (LIFETIME if present else EMPTY_LIFETIME))
    return [index for index, chunk in enumerate(chunks) if chunk.digest not in present]


def pin(session: Session, upload: Upload, chunk_ids: Iterable[int]) -> None:
    """Pins the chunks for the upload."""
    rows = [{"upload_id": upload.id, "chunk_id": chunk_id} for chunk_id in sorted(chunk_ids)]
    insert_missing(session, Pin, rows)


def held(session: Session, upload: Upload, digests: Iterable[bytes]) -> dict[bytes, Stored]:
    """The usable ones of the chunks that the upload holds, by digest."""
    found: dict[bytes, Stored] = {}
    for batch in batches(sorted(digests)):
        rows = session.execute(_HELD, {"upload": upload.id, "entity": upload.entity_id, "digests": batch})
        found |= {digest: Stored(id_, size, pack_id) for digest, id_, size, pack_id in rows}
    return found


def begin_pack(session: Session, upload_id: str) -> str:
    """Inserts the row of a pack before any byte of it is stored; returns its id. Raises UploadExpired."""
    upload = _open(session, upload_id, session.scalar(_UPLOAD, {"id": upload_id}))
    pack_id = new_id()
    row = {"id": pack_id, "entity_id": upload.entity_id, "size": 0, "state": "writing"}
    session.execute(_BEGIN, {**row, "changed_at": now(session)})
    return pack_id


def publish_pack(
    session: Session, upload_id: str, pack_id: str, size: int, chunks: Sequence[PackedChunk]
) -> None:
    """Makes a durable pack live and pins its chunks, all or nothing.

    The update of the pack's state is the fence: of this transaction and one that gives
    the pack up, exactly one succeeds. Raises RetryTransaction if fenced off, UploadExpired.
    """
    upload = _open(session, upload_id, session.scalar(_SHARED, {"id": upload_id}))
    won = session.connection().execute(_PUBLISH, {"of": pack_id, "new_size": size, "time": now(session)})
    if won.rowcount != 1:
        raise errors.RetryTransaction(
            "the pack took too long to store and was given up; send its chunks again"
        )
    unique = {chunk.digest: chunk for chunk in reversed(chunks)}
    ordered = [unique[digest] for digest in sorted(unique)]
    _insert_chunks(session, upload.entity_id, pack_id, ordered)
    present = _lock_present(session, upload.entity_id, unique)
    _move_from_unconfirmed(session, pack_id, unique, present)
    pin(session, upload, (stored.id for stored in present.values()))
    session.execute(_PROLONG, {"of": upload_id, "until": now(session) + LIFETIME})


def _own(session: Session, principal: Principal, upload_id: str, query: Select[Upload, str]) -> Upload | None:
    wanted = {"id": fields.parse_id("upload_id", upload_id), "principal": principal.id}
    found = session.execute(query, wanted).one_or_none()
    if found is None or not authorize(session, principal, Action.WRITE, Resource(found[1], found[0].project)):
        return None
    upload: Upload = found[0]
    return upload


def _open(session: Session, upload_id: str, upload: Upload | None) -> Upload:
    if upload is None or upload.expires_at <= now(session):
        raise errors.UploadExpired(
            f"upload {upload_id} has ended or expired", metadata={"upload_id": upload_id}
        )
    return upload


def _end_idle(session: Session, principal: Principal, time: int) -> None:
    """Ends the principal's upload that is idle longest. Raises QuotaExceeded if none is idle."""
    own = select(Upload).where(
        Upload.principal_id == principal.id,
        Upload.expires_at > time,
        Upload.created_at <= time - IDLE,
        Upload.expires_at <= time + LIFETIME - IDLE,
    )
    idle = session.scalar(own.order_by(Upload.expires_at).limit(1).with_for_update(skip_locked=True))
    if idle is None:
        raise errors.QuotaExceeded(
            f"{principal.name} has {OPEN_LIMIT:,} open uploads, all of them used within the last hour: "
            "commit them, end those not needed with DeleteUpload, or wait until one is idle for an hour"
        )
    end(session, idle)


def _insert_chunks(session: Session, entity_id: int, pack_id: str, chunks: Sequence[PackedChunk]) -> None:
    statement = insert(session, tables.Chunk)
    relocated = {name: getattr(statement.excluded, name) for name in ("pack_id", "offset")}
    session.execute(
        # A usable chunk keeps its position; a quarantined one gets the new one.
        statement.on_conflict_do_update(
            index_elements=["entity_id", "digest"],
            set_={**relocated, "quarantined_at": None},
            where=tables.Chunk.quarantined_at.is_not(None),
        ),
        [
            {"entity_id": entity_id, "digest": digest, "pack_id": pack_id, "offset": offset, "size": size}
            for digest, offset, size in chunks
        ],
    )


def _move_from_unconfirmed(
    session: Session, pack_id: str, new: Mapping[bytes, PackedChunk], present: Mapping[bytes, Stored]
) -> None:
    """Points chunks in packs that are not confirmed at this pack, which was just written."""
    confirmed = confirmation.confirmed_packs(session)
    if confirmed is None:
        return
    moved = [
        {"of": stored.id, "new_pack": pack_id, "new_offset": new[digest].offset}
        for digest, stored in present.items()
        if stored.pack_id != pack_id and stored.pack_id not in confirmed and stored.size == new[digest].size
    ]
    if moved:
        session.execute(_RELOCATE, moved)


def _lock_present(session: Session, entity_id: int, digests: Iterable[bytes]) -> dict[bytes, Stored]:
    """The usable chunks among the digests, locked against deletion until the transaction ends."""
    present: dict[bytes, Stored] = {}
    for batch in batches(sorted(digests)):
        rows = session.execute(_PRESENT, {"entity": entity_id, "digests": batch})
        present |= {digest: Stored(id_, size, pack_id) for digest, id_, size, pack_id in rows}
    return present
