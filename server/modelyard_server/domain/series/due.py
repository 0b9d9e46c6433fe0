"""Which logs of metrics should be packed."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard_server.db.tables import PACK_WEIGHT, MetricLog, Run

_LOGS = 100


def logs(session: Session) -> list[int]:
    """Ids of some logs with much to pack, the heaviest first."""
    heavy = select(MetricLog.id).join(Run, MetricLog.run_id == Run.id)
    heavy = heavy.where(MetricLog.waiting >= PACK_WEIGHT, Run.deleted_at.is_(None))
    return list(session.scalars(heavy.order_by(MetricLog.waiting.desc()).limit(_LOGS)))
