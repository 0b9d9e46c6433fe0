"""The collector: steps that look for what nothing needs, and delete it.

Each step is an iterator that does a short piece of work between two items, so that the
caller decides how long it runs. Any number of collectors may run at once, in any
processes: what makes a deletion safe is decided in its transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server import failpoints
from modelyard_server.collecting import objects, packs, rewriting, rows
from modelyard_server.collecting.packs import PackUse, Trashed
from modelyard_server.collecting.rules import GONE_KEPT, Rules
from modelyard_server.collecting.totals import Totals
from modelyard_server.db.engine import Database, set_now
from modelyard_server.db.upserts import batches
from modelyard_server.domain.content import holds, uploads
from modelyard_server.domain.registry import deletes, number_marks
from modelyard_server.domain.registry.number_marks import Position
from modelyard_server.domain.runs import removals
from modelyard_server.packs.confirmed import ConfirmedPacks
from modelyard_server.packs.store import pack_key

T = TypeVar("T")
Step = Iterator[None]

COPY_BYTES = 32 << 20
"""About the most bytes that are copied into one new pack."""
log = logging.getLogger(__name__)


class Collector:
    """Collects in one database and its store. Blocks; used by one thread at a time."""

    def __init__(self, database: Database, confirmed: ConfirmedPacks, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self._totals = Totals()
        self._database = database
        self._packs = confirmed
        self._store = confirmed.store

    def steps(self) -> dict[str, Callable[[], Step]]:
        """The steps by name, in the order in which one finds what another has left."""
        return {
            "deleted": self.deleted,
            "uploads": self.uploads,
            "files": self.files,
            "chunks": self.chunks,
            "packs": self.packs,
            "abandoned": self.abandoned,
            "trash": self.trash,
            "strays": self.strays,
        }

    def collect(self) -> Totals:
        """Runs every step to its end.

        Raises the first error of a step after the others have run, since a full disk must
        not keep them from making room. Errors: StoreUnavailable, DatabaseUnavailable, DiskFull.
        """
        self._packs.require_store_id()
        failures: list[errors.CommError] = []
        for step in self.steps().values():
            try:
                for _ in step():
                    pass
            except errors.CommError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        self._totals.waiting = self._read(packs.trash_size)
        return self.take_totals()

    def take_totals(self) -> Totals:
        """What was done since the last call."""
        done, self._totals = self._totals, Totals()
        return done

    def deleted(self) -> Step:
        """Removes what deleted and expired versions and runs left, which the sweep does as well."""
        for artifact_id in self._read(deletes.artifacts_with_expired):
            while self._write(deletes.delete_expired, artifact_id) == deletes.SWEEP_BATCH:
                yield
        for rule, batch in (
            (deletes.remove_contents, deletes.SWEEP_BATCH),
            (removals.remove_waiting, removals.SWEEP_BATCH),
        ):
            while self._write(rule) == batch:
                yield

    def uploads(self) -> Step:
        """Deletes uploads that have ended or expired, which the sweep does as well."""
        while self._write(uploads.delete_ended) == uploads.SWEEP_BATCH:
            yield

    def files(self) -> Step:
        """Deletes the rows of files without references."""
        page = rows.Page((), 0)
        while page.last is not None:
            page = self._read(rows.find_files, page.last)
            if page.ids:
                failpoints.hit("collector.files_found")
            for ids in batches(page.ids):
                while ids:
                    freed = self._write(rows.delete_files, ids)
                    self._totals.add("files", freed.rows, freed.size)
                    ids = freed.left
                    yield
            yield

    def chunks(self) -> Step:
        """Deletes the rows of chunks without references."""
        page = rows.Page((), 0)
        while page.last is not None:
            page = self._read(rows.find_chunks, page.last)
            if page.ids:
                failpoints.hit("collector.chunks_found")
            for ids in batches(page.ids):
                freed = self._write(rows.delete_chunks, ids)
                self._totals.add("chunks", freed.rows, freed.size)
                yield
            yield

    def packs(self) -> Step:
        """Makes trash of packs without chunks, and rewrites those that are mostly dead."""
        last: str | None = packs.BEFORE_ALL
        waiting: dict[int, list[PackUse]] = {}
        while last is not None:
            found, last = self._read(packs.uses, last)
            if unused := [pack.id for pack in found if not pack.used]:
                failpoints.hit("collector.packs_found")
                self._give_up(packs.give_up_unused, unused)
            for pack in found:
                if self.rules.is_mostly_dead(pack.size, pack.used) and not pack.damaged:
                    sources = waiting.setdefault(pack.entity_id, [])
                    if sum(source.used for source in sources) + pack.used > COPY_BYTES and sources:
                        yield from self._rewrite(waiting.pop(pack.entity_id))
                        sources = waiting.setdefault(pack.entity_id, [])
                    sources.append(pack)
            yield
        for sources in waiting.values():
            yield from self._rewrite(sources)

    def abandoned(self) -> Step:
        """Gives up packs that have been written for too long."""
        while ids := self._read(packs.abandoned, self.rules.unfinished):
            failpoints.hit("collector.abandoned_found")
            given_up = self._give_up(packs.give_up_abandoned, ids)
            yield
            if given_up < packs.TRASH_BATCH:  # others hold the rest, or there is none
                break

    def trash(self) -> Step:
        """Deletes the objects of packs that have been trash for long enough."""
        while found := self._read(packs.old_trash, self.rules.retention):
            self._require_pair()
            failpoints.hit("collector.trash_found")
            for pack in found:
                self._delete(pack)
                yield
        while self._write(packs.forget_gone, GONE_KEPT) == packs.TRASH_BATCH:
            yield

    def strays(self) -> Step:
        """Deletes objects that belong to no pack."""
        self._require_pair()
        for found in objects.strays(self._database, self._store, self.rules.retention):
            if self._read(holds.any_live):
                return
            if found:
                failpoints.hit("collector.strays_found")
            for info in found:
                self._store.delete(info.key)
                self._totals.add("strays", 1, info.size)
                log.warning("%s belonged to no pack and was deleted: %s bytes", info.key, info.size)
            yield

    def _require_pair(self) -> None:
        """Raises StoreUnavailable unless the store is the database's, and not newer than it."""
        self._packs.require_store_id()
        marks = [Position(*mark) for mark in self._store.marks()]
        self._read(number_marks.require_newest, marks)

    def _rewrite(self, sources: list[PackUse]) -> Step:
        moved = rewriting.rewrite(self._database, self._packs, sources)
        self._totals.add("moved", moved.chunks, moved.size)
        self._give_up(packs.give_up_unused, [source.id for source in sources])
        yield

    def _give_up(self, rule: Callable[..., list[Trashed]], ids: Sequence[str]) -> int:
        given_up = self._write(rule, ids)
        self._totals.add("trash", len(given_up), sum(pack.size for pack in given_up))
        return len(given_up)

    def _delete(self, pack: Trashed) -> None:
        self._store.delete(pack_key(pack.entity_id, pack.id))
        failpoints.hit("collector.object_deleted")
        if self._write(packs.mark_gone, [pack.id]):
            self._totals.add("packs", 1, pack.size)

    def _read(self, rule: Callable[..., T], *values: object) -> T:
        return self._database.read(lambda session: rule(self._timed(session), *values))

    def _write(self, rule: Callable[..., T], *values: object) -> T:
        return self._database.write(lambda session: rule(self._timed(session), *values))

    def _timed(self, session: Session) -> Session:
        if self.rules.time is not None:
            set_now(session, self.rules.time())
        return session
