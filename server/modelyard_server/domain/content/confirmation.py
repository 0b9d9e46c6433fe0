"""Which packs a rule may rely on: those that this process has confirmed in the store.

Transactions find the process's `ConfirmedPacks` in the information of their database.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard_server.db.engine import Database
from modelyard_server.db.tables import Pack
from modelyard_server.db.upserts import batches
from modelyard_server.packs.confirmed import ConfirmedPacks, PackSize

_CONFIRMED = "confirmed_packs"


def set_confirmed_packs(database: Database, packs: ConfirmedPacks) -> None:
    """Sets what `confirmed_packs` returns in the transactions of this database."""
    database.info[_CONFIRMED] = packs


def confirmed_packs(session: Session) -> ConfirmedPacks | None:
    """The packs that this process has confirmed; None where packs are not checked."""
    packs: ConfirmedPacks | None = session.info.get(_CONFIRMED)
    return packs


def require_confirmed(session: Session, pack_ids: Iterable[str]) -> None:
    """Raises PacksUnconfirmed for packs that must be checked before their chunks count as present."""
    confirmed = confirmed_packs(session)
    if confirmed is not None:
        confirmed.require(pack_ids)


def pack_sizes(session: Session, pack_ids: Sequence[str]) -> list[PackSize]:
    """The sizes of those of the packs that are live."""
    found: list[PackSize] = []
    for batch in batches(pack_ids):
        rows = select(Pack.id, Pack.entity_id, Pack.size).where(Pack.id.in_(batch), Pack.state == "live")
        found += [PackSize(*row) for row in session.execute(rows)]
    return found


def newest_packs(session: Session, count: int) -> list[PackSize]:
    """The newest live packs."""
    rows = select(Pack.id, Pack.entity_id, Pack.size).where(Pack.state == "live")
    return [PackSize(*row) for row in session.execute(rows.order_by(Pack.changed_at.desc()).limit(count))]
