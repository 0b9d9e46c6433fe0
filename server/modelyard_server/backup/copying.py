"""Copies a data folder while its server runs: a hold, the database, then the packs it refers to.

The copy is a data folder itself. Packs are never changed, so a later backup into the
same folder copies only new ones. Until the new database takes the place of the old
one, the folder is the old backup, complete; packs that only the old one needs go last.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from modelyard_server import failpoints
from modelyard_server.db import migrations
from modelyard_server.db.engine import Database
from modelyard_server.domain.content import holds
from modelyard_server.packs.store import pack_key
from modelyard_server.settings import Location, StartError

HOLD = 3600 * 1_000_000
"""Microseconds after which the hold of a killed backup ends. A running one renews it."""
RENEW_EACH = 256 << 20
"""Bytes that are copied between two renewals."""
DATABASE = "modelyard.db"
_NEW = "modelyard.db.new"
_LIVE = "SELECT entity_id, id, size FROM pack WHERE state = 'live' ORDER BY entity_id, id"


@dataclass
class Copied:
    """What a backup did; `missing` are the keys of packs that the store does not have completely."""

    packs: int = 0
    new: int = 0
    new_bytes: int = 0
    removed: int = 0
    missing: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For people."""
        done = f"{self.packs:,} packs, {self.new:,} of them new ({self.new_bytes:,} bytes)"
        lost = [f"not in the store, and so not in the backup: {key}" for key in self.missing]
        return [f"{done}; {self.removed:,} that are not needed any more were removed", *lost]


def back_up(location: Location, target: Path) -> Copied:
    """Copies a data folder to `target`, which is created. Raises StartError, CommError, OSError."""
    failpoints.arm_from(os.environ)
    source = _source(location, target)
    database = Database(location.database, readers=2)
    if migrations.is_behind(database):
        database.close()
        raise StartError(
            "the schema of the database is older than this release: run `modelyard server migrate`"
        )
    try:
        with _held(database, f"backup to {target}") as renew:
            _prepare(source, target)
            _copy_database(source / DATABASE, target / _NEW)
            failpoints.hit("backup.database_copied")
            renew()
            done = Copied()
            needed = _copy_packs(source / "store", target, done, renew)
            failpoints.hit("backup.packs_copied")
            (target / _NEW).replace(target / DATABASE)
            _fsync(target)
            _remove_others(target / "store", needed, done)
            return done
    except sqlite3.Error as error:
        raise StartError(f"the database cannot be copied: {error}") from error
    finally:
        database.close()


def _source(location: Location, target: Path) -> Path:
    """The data folder. Raises StartError where there is none to copy."""
    folder = location.folder
    if folder is None or location.store.startswith("s3://") or len(location.folders) > 1:
        raise StartError(
            "`backup` copies data folders; for PostgreSQL or another --store see docs/operations.md, Backups"
        )
    if not (folder / DATABASE).is_file():
        raise StartError(f"there is no database in {folder}: give the folder with --data")
    inside, outside = target.resolve(), folder.resolve()
    if inside == outside or outside in inside.parents or inside in outside.parents:
        raise StartError(f"{target} and the data folder are inside one another: give another folder")
    return folder


@contextmanager
def _held(database: Database, holder: str) -> Iterator[Callable[[], None]]:
    """A hold, with a function that renews it and raises NotFound if it has ended."""
    hold = database.write(lambda session: holds.place(session, holder, HOLD))

    def renew() -> None:
        database.write(lambda session: holds.renew(session, hold.id, HOLD))

    try:
        yield renew
        renew()  # it held until now
    finally:
        database.write(lambda session: holds.release(session, hold.id))


def _prepare(source: Path, target: Path) -> None:
    """Makes the folders of a backup, with the id of the store. Raises StartError for one of another store."""
    (target / "store" / "packs").mkdir(parents=True, exist_ok=True, mode=0o700)
    (target / "store" / "tmp").mkdir(exist_ok=True)
    own = (source / "store" / "store-id").read_bytes()
    kept = target / "store" / "store-id"
    if not kept.exists():
        if any(path.name != "store" for path in target.iterdir()):
            raise StartError(f"{target} holds other files: give an empty folder, or one of an earlier backup")
        kept.write_bytes(own)
        _fsync(kept)
    elif kept.read_bytes() != own:
        raise StartError(f"{target} is a backup of another data folder: give another one")


def _copy_database(source: Path, target: Path) -> None:
    """Copies the database as it is at one moment, without holds."""
    target.unlink(missing_ok=True)
    with closing(sqlite3.connect(source, timeout=60, isolation_level=None)) as connection:
        connection.execute("VACUUM INTO ?", (str(target),))
    with closing(sqlite3.connect(target, isolation_level=None)) as connection:
        connection.execute("DELETE FROM deletion_hold")
    os.chmod(target, 0o600)
    _fsync(target)


def _copy_packs(source: Path, target: Path, done: Copied, renew: Callable[[], None]) -> set[str]:
    """Copies the packs that the new database needs and the backup lacks; returns the keys of all."""
    needed: set[str] = set()
    unrenewed = 0
    with closing(sqlite3.connect(target / _NEW)) as connection:
        for entity_id, pack_id, size in connection.execute(_LIVE):
            key = pack_key(entity_id, str(uuid.UUID(pack_id)))
            needed.add(key)
            done.packs += 1
            kept = target / "store" / key
            if kept.exists() and kept.stat().st_size >= size:
                continue
            if not _copy_pack(source / key, kept, size, target / "store" / "tmp"):
                done.missing.append(key)
                continue
            done.new += 1
            done.new_bytes += size
            unrenewed += size
            if unrenewed >= RENEW_EACH:
                renew()
                unrenewed = 0
    for folder in (target / "store" / "packs").iterdir():
        _fsync(folder)
    _fsync(target / "store" / "packs")
    return needed


def _copy_pack(source: Path, target: Path, size: int, temporary: Path) -> bool:
    """Copies a pack, durably and completely or not at all; False if it is not there or too short."""
    target.parent.mkdir(exist_ok=True)
    new = temporary / target.name
    try:
        shutil.copyfile(source, new)
    except FileNotFoundError:
        return False
    if new.stat().st_size < size:
        new.unlink()
        return False
    _fsync(new)
    new.replace(target)
    return True


def _remove_others(store: Path, needed: set[str], done: Copied) -> None:
    """Removes packs that the database does not need, as those of an older backup."""
    for path in store.glob("packs/*/*"):
        if str(path.relative_to(store)) not in needed:
            path.unlink()
            done.removed += 1


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
