"""Finds objects in the store that belong to no pack.

The row of a pack is committed before its object is put, and a pack whose row is missing
or `gone` never becomes live. So such an object will not be needed: it was put by a
writer whose row is gone, or by a PUT that arrived after the object was deleted.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard_server.db.engine import Database
from modelyard_server.db.tables import Pack
from modelyard_server.db.upserts import batches
from modelyard_server.packs.store import PackInfo, PackStore

PAGE = 1_000
"""Objects that are compared at a time: as many as an S3 store lists in one reply."""

# Other keys were not made by a server; they are left alone.
_KEY = re.compile(r"packs/[1-9][0-9]*/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")


def strays(database: Database, store: PackStore, older: int) -> Iterator[list[PackInfo]]:
    """Lists the store; yields for each page the objects that belong to no pack and are so old.

    `older` is in microseconds, by the store's clock and this machine's.
    """
    after = ""
    while listed := list(islice(store.list(after=after), PAGE)):
        after = listed[-1].key
        found = database.read(functools.partial(_without_pack, listed=listed))
        oldest = datetime.now(UTC) - timedelta(microseconds=older)
        yield [info for info in found if not older or info.modified_at <= oldest]


def _without_pack(session: Session, listed: Sequence[PackInfo]) -> list[PackInfo]:
    """Those of the listed objects that belong to no pack. List them before this transaction begins."""
    ids = {info.key: match[1] for info in listed if (match := _KEY.fullmatch(info.key))}
    kept: set[str] = set()
    for batch in batches(sorted(ids.values())):
        kept.update(session.scalars(select(Pack.id).where(Pack.id.in_(batch), Pack.state != "gone")))
    return [info for info in listed if info.key in ids and ids[info.key] not in kept]
