"""What follows a restore: compares the database with its store, and makes numbers unique again.

A database of a backup does not know the versions that were logged after it, and would
give out their numbers again. The store has marks of the numbers that were given out. A
mark beyond the events of the database also stops collectors, which would delete packs
that only the lost state knows; this work replaces it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass

from sqlalchemy.orm import Session

from modelyard_server.db.engine import Database
from modelyard_server.domain.registry import collections, number_marks
from modelyard_server.domain.registry.number_marks import Mark, Position
from modelyard_server.fsck import objects
from modelyard_server.fsck.scan import Deadline, Result
from modelyard_server.packs import PackStore
from modelyard_server.packs.confirmed import ConfirmedPacks
from modelyard_server.process import data_folder, storage
from modelyard_server.settings import Location, StartError

MARGIN = 1_000
"""Numbers that one name may have given out after its last mark: ten seconds before the database was lost."""


@dataclass(frozen=True)
class Restored:
    """What was found and done; `released` if collectors may work again."""

    compared: Result
    projects_beyond: int
    counters: int
    released: bool

    def lines(self) -> list[str]:
        """For people."""
        older = "the database has all events that the store knows of"
        if self.projects_beyond:
            older = f"the database is older than the store: {self.projects_beyond} projects had newer events"
        state = "collectors may delete again"
        if not self.released:
            state = "packs are missing, so collectors stay stopped: put them back, or give --accept-losses"
        return [
            older,
            f"{self.counters:,} counters were raised beyond all numbers that were given out",
            state,
        ]


def restore(
    location: Location, *, margin: int, accept_losses: bool, show: Callable[[Result], None]
) -> Restored:
    """Verifies a restored database against its store and raises its counters. Raises StartError, CommError.

    Unless `accept_losses`, missing packs leave collectors stopped.
    """
    with data_folder.held(location.folder) if location.folder else nullcontext():
        database = storage.open_database(location)
        try:
            store = storage.open_store(location)
            packs = ConfirmedPacks(store, storage.require_same_store(database, store))
            compared = Result("objects")
            objects.check(objects.Stored(database, packs), Deadline(), compared)
            show(compared)
            marks = [Position(*mark) for mark in store.marks()]
            beyond = database.read(functools.partial(number_marks.beyond, marks=marks))
            counters = _raise_counters(database, store, marks, margin)
            released = accept_losses or not any(finding.is_damage for finding in compared.findings)
            if released:
                _replace_marks(database, store, marks)
            return Restored(compared, len({mark.project_id for mark in beyond}), counters, released)
        finally:
            database.close()


def _raise_counters(database: Database, store: PackStore, marks: Iterable[Position], margin: int) -> int:
    """Raises every counter by the margin, and beyond the marks; returns how many there are."""
    newest = {mark.project_id: mark for mark in sorted(marks)}
    read = [_read(store, mark) for mark in newest.values()]

    def rule(session: Session) -> int:
        counters = collections.raise_numbers(session, margin)
        for mark in read:
            number_marks.raise_beyond(session, mark, margin)
        return counters

    return database.write(rule)


def _read(store: PackStore, position: Position) -> Mark:
    try:
        return number_marks.decode(position, store.read_mark(*position))
    except (ValueError, KeyError, TypeError) as error:
        raise StartError(f"the mark marks/{position[0]}/{position[1]} of the store is damaged") from error


def _replace_marks(database: Database, store: PackStore, marks: Iterable[Position]) -> None:
    """Marks all projects as they are now; only then removes the old marks."""
    new = set()
    for project_id in database.read(number_marks.all_projects):
        mark = database.read(functools.partial(number_marks.make, project_id=project_id))
        store.put_mark(*mark.position, mark.encode())
        database.write(functools.partial(number_marks.written, position=mark.position))
        new.add(mark.position)
    for old in marks:
        if old not in new:
            store.delete_mark(*old)
