"""Databases and stores of servers that were stopped, to be damaged: copied for each test."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from modelyard_server.settings import Location, parse_location
from tests.parts.postgres import new_database
from tests.parts.s3 import CREDENTIALS, S3Server


class Place(ABC):
    """A database, past every rule, and the objects beside it."""

    options: Sequence[str]
    """Those of `modelyard server` that name it."""
    env: Mapping[str, str]

    token = ""
    """Of the server that runs on it; empty for one that asks for none."""

    @abstractmethod
    def sql(self, *statements: str) -> list[Any]:
        """Runs statements without foreign keys; the rows of the last. `{ff}` stands for the byte 255."""

    @abstractmethod
    def objects(self) -> dict[str, bytes]:
        """All packs by key."""

    @abstractmethod
    def write(self, key: str, data: bytes | None) -> None:
        """Replaces an object; None removes it."""

    @property
    @abstractmethod
    def location(self) -> Location:
        """The place as settings have it."""

    def scalar(self, statement: str) -> Any:
        """The only value of a statement."""
        return self.sql(statement)[0][0]


class FolderPlace(Place):
    """A data folder."""

    env: Mapping[str, str] = {}

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.options = ("--data", str(folder))

    @property
    def location(self) -> Location:
        return parse_location(self.folder, None, None)

    @property
    def token(self) -> str:  # type: ignore[override]  # read, not set
        return str(json.loads((self.folder / "server.json").read_text())["token"])

    @contextlib.contextmanager
    def copied(self, target: Path) -> Iterator[Place]:
        """A copy of it."""
        shutil.copytree(self.folder, target, ignore=shutil.ignore_patterns("*.sock", "lock"))
        yield FolderPlace(target)

    def sql(self, *statements: str) -> list[Any]:
        with contextlib.closing(sqlite3.connect(self.folder / "modelyard.db")) as connection, connection:
            for statement in statements:
                rows = connection.execute(statement.replace("{ff}", "X'ff'")).fetchall()
        return rows

    def objects(self) -> dict[str, bytes]:
        store = self.folder / "store"
        return {str(path.relative_to(store)): path.read_bytes() for path in store.glob("packs/*/*")}

    def write(self, key: str, data: bytes | None) -> None:
        path = self.folder / "store" / key
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data)


class ProductionPlace(Place):
    """A PostgreSQL database and a bucket."""

    env = CREDENTIALS

    def __init__(self, database: str, store: S3Server, bucket: str) -> None:
        self.database = database
        self.store = store
        self.bucket = bucket
        self.options = ("--database", database, "--store", store.url(bucket))

    @property
    def location(self) -> Location:
        return parse_location(None, self.database, self.store.url(self.bucket))

    def copy_database(self) -> ProductionPlace:
        """A copy of the database, with the same bucket; no server may run."""
        import psycopg

        maintenance, _, template = self.database.rpartition("/")
        made = new_database(f"{maintenance}/postgres")
        with psycopg.connect(f"{maintenance}/postgres", autocommit=True) as connection:
            name = made.rpartition("/")[2]
            connection.execute(f'DROP DATABASE "{name}"')
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return ProductionPlace(made, self.store, self.bucket)

    @contextlib.contextmanager
    def copied(self, _target: Path) -> Iterator[Place]:
        """A copy of the database, with the same objects, which are put back at the end."""
        before, marks = self.objects(), self.marks()
        yield self.copy_database()
        for key in self.marks() - marks:  # they would show that the next copy is older than its store
            self.write(key, None)
        after = self.objects()
        for key in before.keys() | after.keys():
            if before.get(key) != after.get(key):
                self.write(key, before.get(key))

    def sql(self, *statements: str) -> list[Any]:
        import psycopg

        with psycopg.connect(self.database) as connection:
            connection.execute("SET session_replication_role = replica")
            for statement in statements:
                text: Any = statement.replace("{ff}", r"'\xff'::bytea")
                done = connection.execute(text)
            return done.fetchall() if done.description else []

    def objects(self) -> dict[str, bytes]:
        client = self.store.client()
        listed = client.list_objects(bucket_name=self.bucket, prefix="packs/", recursive=True)
        keys = [each.object_name for each in listed]
        return {key: client.get_object(bucket_name=self.bucket, object_name=key).data for key in keys}

    def marks(self) -> set[str]:
        """The keys of the marks of numbers."""
        listed = self.store.client().list_objects(bucket_name=self.bucket, prefix="marks/", recursive=True)
        return {each.object_name for each in listed}

    def write(self, key: str, data: bytes | None) -> None:
        client, place = self.store.client(), {"bucket_name": self.bucket, "object_name": key}
        if data is None:
            client.remove_object(**place)
        else:
            client.put_object(**place, data=io.BytesIO(data), length=len(data))
