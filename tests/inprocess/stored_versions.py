"""Versions with bytes in a store, made by the rules themselves, and the collector over both."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from modelyard.contract.chunking import Chunk as CutChunk
from modelyard_server.collecting.collector import Collector
from modelyard_server.collecting.forecast import forecast
from modelyard_server.collecting.rules import Rules
from modelyard_server.collecting.totals import Totals
from modelyard_server.db import tables
from modelyard_server.db.tables import ArtifactVersion, Chunk, File, FileChunk, Pack, Upload, VersionFile
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.content import commits, confirmation, uploads
from modelyard_server.domain.content.commits import VersionSpec
from modelyard_server.domain.content.manifests import Manifest
from modelyard_server.packs import PackStore, pack_key
from modelyard_server.packs.builder import PackBuilder
from modelyard_server.packs.confirmed import ConfirmedPacks
from tests.inprocess.registry import ENTITY, Registry

AT_ONCE = Rules(retention=0, unfinished=0)
KIB = 1 << 10


def content(*sizes: int) -> list[bytes]:
    """Chunks that no store has."""
    return [os.urandom(size) for size in sizes]


def cut(chunks: Sequence[bytes]) -> list[CutChunk]:
    """The chunks as the rules name them."""
    return [CutChunk(hashlib.sha256(chunk).digest(), len(chunk)) for chunk in chunks]


@dataclass
class StoredVersions:
    """A registry whose versions have bytes."""

    registry: Registry
    store: PackStore
    confirmed: ConfirmedPacks = field(init=False)

    def __post_init__(self) -> None:
        self.confirmed = ConfirmedPacks(self.store, self.store.claim("the-store"))
        confirmation.set_confirmed_packs(self.registry.database, self.confirmed)

    def upload(self) -> str:
        """A new upload."""
        made: str = self.registry.write(
            lambda session, principal: uploads.create(session, principal, ENTITY, "p").id
        )
        return made

    def missing(self, upload_id: str, chunks: Sequence[bytes]) -> list[int]:
        """Pins the chunks that are there; the indexes of the others."""
        self.confirm()
        return self.registry.write(uploads.missing, upload_id, cut(chunks))

    def begin(self, upload_id: str) -> str:
        """The first transaction of a pack."""
        begun: str = self.registry.database.write(lambda session: uploads.begin_pack(session, upload_id))
        return begun

    def put(self, pack_id: str, chunks: Sequence[bytes]) -> PackBuilder:
        """Makes a pack of the chunks durable."""
        builder = PackBuilder(self.store)
        builder.add(cut(chunks), b"".join(chunks), hashed_here=True)
        builder.put(pack_key(self.entity_id(), pack_id))
        builder.discard()
        return builder

    def publish(self, upload_id: str, pack_id: str, builder: PackBuilder) -> None:
        """The second transaction of a pack."""
        packed = list(builder.chunks.values())
        size = sum(chunk.size for chunk in packed)
        self.registry.database.write(
            lambda session: uploads.publish_pack(session, upload_id, pack_id, size, packed)
        )

    def send(self, upload_id: str, chunks: Sequence[bytes]) -> str:
        """Stores chunks in one pack; its id."""
        pack_id = self.begin(upload_id)
        self.publish(upload_id, pack_id, self.put(pack_id, chunks))
        return pack_id

    def commit(self, upload_id: str, name: str, files: Mapping[str, Sequence[bytes]]) -> ArtifactVersion:
        """A version of chunks that the upload holds."""
        manifest = Manifest()
        for path, chunks in files.items():
            manifest.add_file(path, cut(chunks), size=None, digest="", sha256="")
        digest = manifest.finish(None)
        spec = commits.checked(VersionSpec(ENTITY, "p", name))

        def run(session: Session, principal: Principal) -> ArtifactVersion:
            return commits.commit(session, principal, upload_id, spec, manifest, digest)[0].version

        return self.registry.write(run)

    def log(self, name: str, files: Mapping[str, Sequence[bytes]]) -> ArtifactVersion:
        """A version, with what is missing of it in one new pack."""
        chunks = [chunk for parts in files.values() for chunk in parts]
        upload_id = self.upload()
        missing = self.missing(upload_id, chunks)
        if missing:
            self.send(upload_id, [chunks[index] for index in missing])
        return self.commit(upload_id, name, files)

    def collect(self, rules: Rules = AT_ONCE, *, as_foreseen: bool = True) -> Totals:
        """Collects once, and checks that a dry run had said the same."""
        foreseen = forecast(self.registry.database, self.store, rules)
        done = self.collector(rules).collect()
        if as_foreseen:
            assert list(done) == list(foreseen)
            assert done.waiting == foreseen.waiting
        return done

    def collector(self, rules: Rules = AT_ONCE) -> Collector:
        """A collector."""
        return Collector(self.registry.database, self.confirmed, rules)

    def read(self, version: ArtifactVersion, path: str) -> bytes:
        """The bytes of a file, read where its chunks are and compared with their digests."""
        rows = self.registry.database.read(
            lambda session: session.execute(
                select(Chunk.digest, Chunk.pack_id, Chunk.offset, Chunk.size, Chunk.entity_id)
                .join(FileChunk, FileChunk.chunk_id == Chunk.id)
                .join(VersionFile, VersionFile.file_id == FileChunk.file_id)
                .where(VersionFile.version_id == version.id, VersionFile.path == path.encode())
                .order_by(FileChunk.idx)
            ).all()
        )
        parts = []
        for digest, pack_id, offset, size, entity_id in rows:
            data = self.store.read(pack_key(entity_id, pack_id), offset, size)
            assert hashlib.sha256(data).digest() == digest
            parts.append(data)
        return b"".join(parts)

    def stored(self) -> int:
        """Bytes in the store."""
        return sum(info.size for info in self.store.list())

    def states(self) -> dict[str, str]:
        """The states of all packs, by id."""
        return dict(
            self.registry.database.read(lambda session: session.execute(select(Pack.id, Pack.state)).all())
        )

    def counts(self) -> tuple[int, int, int]:
        """How many files, chunks and uploads there are rows of."""
        return tuple(  # type: ignore[return-value]  # three numbers
            self.registry.database.read(
                lambda session, table=table: session.scalar(select(func.count()).select_from(table))
            )
            for table in (File, tables.Chunk, Upload)
        )

    def end_uploads(self) -> None:
        """Lets every upload expire."""
        self.registry.database.write(lambda session: session.execute(update(Upload).values(expires_at=1)))

    def drop_uploads(self) -> None:
        """Lets every upload expire, and deletes it."""
        self.end_uploads()
        while self.registry.database.write(uploads.delete_ended) == uploads.SWEEP_BATCH:
            pass

    def confirm(self) -> None:
        """Has every pack count as found in the store."""
        self.confirmed.add(list(self.states()))

    def entity_id(self) -> int:
        """The id of the entity of all versions."""
        return self.registry.database.read(
            lambda session: session.scalars(
                select(tables.Entity.id).where(tables.Entity.name == ENTITY)
            ).one()
        )
