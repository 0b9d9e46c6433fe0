"""Events, rights, updates, pages and lineage of the registry, and many callers at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from modelyard import errors
from modelyard_server.db.ids import new_id
from modelyard_server.db.tables import Chunk, File, FileChunk, Lineage, Pack, VersionFile
from modelyard_server.domain import lineage
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.content import files
from modelyard_server.domain.registry import (
    collection_lists,
    deletes,
    resolve,
    version_lists,
    versions,
)
from modelyard_server.domain.registry.aliases import Change
from modelyard_server.domain.runs import runs
from modelyard_server.domain.runs.runs import RunSpec
from tests.inprocess.registry import ENTITY, Registry, somebody

MODEL = "model-registry/Churn"


def run_row(session: Session, principal: Principal, run_id: str) -> str:
    spec = RunSpec(entity=ENTITY, project="p", run_id=run_id, display_name=run_id)
    return runs.create(session, principal, spec, "never")[0].run.id


def huge_file(session: Session, principal: Principal, version_id: str, count: int) -> None:
    """Adds a file of one chunk, over and over."""
    entity = owners.find_entity(session, principal, ENTITY)
    pack = Pack(id=new_id(), entity_id=entity.id, size=1, state="live", changed_at=0)
    session.add(pack)
    session.flush()
    chunk = Chunk(entity_id=entity.id, digest=bytes(32), pack_id=pack.id, offset=0, size=1)
    file = File(entity_id=entity.id, digest=bytes(32), size=count)
    session.add_all([chunk, file])
    session.flush()
    rows = [{"file_id": file.id, "idx": n, "chunk_id": chunk.id, "start": n} for n in range(count)]
    session.execute(insert(FileChunk), rows)
    session.add(VersionFile(version_id=version_id, path=b"huge", file_id=file.id, size=count))


class TestAroundTheRegistry:
    def test_events_tell_every_change_once_and_in_order(self, registry: Registry) -> None:
        registry.log("bert", "a")
        registry.log("bert", "a")
        registry.link("bert", "Churn", ["staging"])
        registry.move(MODEL, Change("staging", "", None), Change("production", "v0", None))
        assert [(e.seq, e.type) for e in registry.events("p")] == [
            (1, "collection_created"),
            (2, "version_created"),
            (3, "alias_added"),
            (4, "linked"),
        ]
        assert [(e.type, e.details.get("alias")) for e in registry.events("model-registry")] == [
            ("collection_created", None),
            ("linked", None),
            ("alias_added", "latest"),
            ("alias_added", "staging"),
            ("alias_added", "production"),
            ("alias_removed", "staging"),
        ]
        linked = registry.events("model-registry", "linked")[0].details
        assert (linked["collection"], linked["version"]) == ("Churn", "v0")
        assert linked["linked"] == f"{ENTITY}/p/bert:v0"

    def test_principals_of_other_entities_find_nothing(self, registry: Registry) -> None:
        version = registry.log("bert", "a")
        link = registry.link("bert", "Churn")
        stranger = Registry(registry.database, somebody("eve", "evil"))
        for rule, named in (
            (resolve.version, {"ref": f"{ENTITY}/p/bert"}),
            (resolve.version, {"ref": f"{ENTITY}/{MODEL}"}),
            (resolve.version, {"id_": version.id}),
            (resolve.link, {"id_": link.id}),
            (resolve.link, {"ref": f"{ENTITY}/{MODEL}"}),
        ):
            with pytest.raises(errors.NotFound):
                stranger.read(rule, **named)
        with pytest.raises(errors.NotFound):
            stranger.read(lineage.walk, version_id=version.id)
        with pytest.raises(errors.NotAllowed):
            stranger.log("bert", "a", entity=ENTITY)

    def test_a_link_across_entities_shows_only_what_its_reader_may_enter(self, registry: Registry) -> None:
        version = registry.log("bert", "a")
        registry.link("bert", "other/model-registry/Churn")
        reader = Registry(registry.database, somebody("ann", "other"))
        view = reader.read(resolve.link, ref="other/model-registry/Churn")
        assert view.source is None
        with pytest.raises(errors.NotFound):
            reader.read(resolve.version, ref="other/model-registry/Churn")
        owner = somebody("bob", ENTITY)
        seen = registry.read(lambda s, _: versions.describe(s, owner, [s.merge(version)])[0])
        assert seen.linked_to == ()

    def test_updates_change_what_is_given_and_say_so(self, registry: Registry) -> None:
        version = registry.log("bert", "a")

        def change(session: Session, principal: Principal, **given: object) -> None:
            row = resolve.version(session, principal, id_=version.id).version
            versions.update(session, principal, row, **given)  # type: ignore[arg-type] # by name

        registry.write(change, metadata={"acc": float("nan"), "n": 1 << 60}, tags=["a", "b", "a"])
        registry.write(change, tags=["b", "c"])
        registry.write(change, tags=["b", "c"])
        row = registry.read(resolve.version, id_=version.id).version
        assert (row.metadata_, row.tags, row.description) == ({"acc": None, "n": 1 << 60}, ["b", "c"], "")
        assert [(e.type, e.details.get("tag")) for e in registry.events("p")][3:] == [
            ("version_updated", None),
            ("tag_added", "a"),
            ("tag_added", "b"),
            ("tag_removed", "a"),
            ("tag_added", "c"),
        ]

    @pytest.mark.parametrize(
        ("given", "field"),
        [
            ({"description": "x" * 70_000}, "version.description"),
            ({"description": "a\0b"}, "version.description"),
            ({"metadata": {"a": float("inf")}}, "version.metadata.a"),
            ({"metadata": {"a": [1, {"b": -float("inf")}]}}, "version.metadata.a[1].b"),
            ({"metadata": {str(n): n for n in range(101)}}, "version.metadata"),
            ({"metadata": {"a": "x" * 600_000, "b": "x" * 600_000}}, "version.metadata"),
            ({"metadata": {"a": "x\0"}}, "version.metadata.a"),
            ({"tags": ["ok", "not/ok"]}, "version.tags[1]"),
            ({"tags": [f"t{n}" for n in range(101)]}, "version.tags"),
            ({"expires_at": 1, "set_expiry": True}, "version.expire_time"),
        ],
    )
    def test_a_bad_update_names_its_field(
        self, registry: Registry, given: dict[str, object], field: str
    ) -> None:
        version = registry.log("bert", "a")
        with pytest.raises(errors.InvalidField) as caught:
            registry.write(lambda s, p: versions.update(s, p, version, **given))  # type: ignore[arg-type] # by name
        assert caught.value.violations[0][0] == field

    def test_the_project_is_listed_in_pages_without_the_deleted(self, registry: Registry) -> None:
        for name in ("a", "b", "c", "d"):
            registry.log(name, "x", tags=["nlp"] if name != "b" else [])
        registry.link("a", "p/m")
        row = registry.collection("c")
        registry.write(lambda s, p: deletes.delete_artifact(s, p, s.merge(row), force=True))
        asked = {"entity": ENTITY, "project": "p", "filter_": "", "order_by": "name desc", "page_size": 2}
        first, token = registry.read(collection_lists.page, "artifact", page_token="", **asked)
        rest, end = registry.read(collection_lists.page, "artifact", page_token=token, **asked)
        assert [v.collection.name for v in [*first, *rest]] == ["d", "b", "a"]
        assert end == ""
        assert [v.version_count for v in first] == [1, 1]
        with pytest.raises(errors.InvalidPageToken):
            registry.read(
                collection_lists.page, "artifact", page_token=token, **{**asked, "order_by": "name"}
            )

    def test_versions_are_found_by_alias_metadata_and_time(self, registry: Registry) -> None:
        for number in range(4):
            registry.log(
                "bert", str(number), metadata={"acc": number / 4}, names=["best"] if number == 2 else []
            )
        row = registry.collection("bert")

        def found(filter_: str) -> list[int]:
            asked = {"filter_": filter_, "order_by": "", "page_size": 0, "page_token": ""}
            return [v.number for v in registry.read(version_lists.page, row, **asked)[0]]

        assert found("") == [3, 2, 1, 0]
        assert found('aliases : "best" OR metadata.acc < 0.25') == [2, 0]
        assert found('create_time > "2020-01-01T00:00:00Z" AND NOT aliases : "latest"') == [2, 1, 0]
        assert found("number >= 1 AND number != 2") == [3, 1]

    def test_files_come_in_the_order_of_their_bytes(self, registry: Registry) -> None:
        version = registry.log("bert", "a")

        def page(session: Session, _: Principal, prefix: str) -> list[str]:
            asked = {"include_chunks": True, "page_size": 1, "page_token": ""}
            return [e.path for e in files.page(session, version.id, path_prefix=prefix, **asked)[0]]  # type: ignore[arg-type] # by name

        assert registry.read(page, "") == ["model"]
        assert registry.read(page, "mod") == ["model"]
        assert registry.read(page, "x") == []

    def test_a_file_of_many_chunks_goes_on_on_the_next_page(self, registry: Registry) -> None:
        version = registry.log("bert", "a")
        registry.write(huge_file, version.id, 45_000)
        seen: list[tuple[str, int, bool]] = []
        token = ""
        while True:
            asked = {"path_prefix": "", "include_chunks": True, "page_size": 0, "page_token": token}
            page, token = registry.read(lambda s, _: files.page(s, version.id, **asked))  # type: ignore[arg-type] # by name # noqa: B023 - called at once
            seen += [(entry.path, len(entry.chunks), entry.continued) for entry in page]
            if not token:
                break
        assert seen == [
            ("huge", 20_000, False),
            ("huge", 20_000, True),
            ("huge", 5_000, True),
            ("model", 0, False),
        ]

    def test_lineage_is_walked_both_ways_past_tombstones(self, registry: Registry) -> None:
        trained, tuned = registry.write(run_row, "train"), registry.write(run_row, "tune")
        base = registry.log("base", "a", run_id=trained)
        registry.write(lambda s, p: lineage.use(s, p, tuned, base, "start"))
        registry.write(lambda s, p: lineage.use(s, p, tuned, base, "again"))
        final = registry.log("final", "a", run_id=tuned)
        registry.delete("base:v0", force=True)
        up = registry.read(lineage.walk, version_id=final.id, direction="upstream", depth=3)
        assert {run.path for run in up.runs.values()} == {f"{ENTITY}/p/train", f"{ENTITY}/p/tune"}
        assert {(v.ref, v.deleted) for v in up.versions.values()} == {
            (f"{ENTITY}/p/final:v0", False),
            (f"{ENTITY}/p/base:v0", True),
        }
        assert {(e.relation, e.use_as) for e in up.edges.values()} == {("output", ""), ("input", "start")}
        down = registry.read(lineage.walk, run_id=trained, direction="downstream", depth=2)
        assert set(down.versions) == {base.id}
        assert set(down.runs) == {trained, tuned}
        assert not registry.read(lineage.walk, version_id=final.id, direction="downstream").edges

    def test_fifty_at_once_move_an_alias_one_after_the_other(self, registry: Registry) -> None:
        for text in "ab":
            registry.log("bert", text)

        def move(number: int) -> None:
            registry.move("bert", Change("production", f"v{number % 2}", None))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(move, range(50)))
        moved = [e.details for e in registry.events("p", "alias_added") if e.details["alias"] == "production"]
        assert moved[0].get("previous_version") is None
        for before, after in pairwise(moved):
            assert after["previous_version"] == before["version"] != after["version"]

    def test_links_at_once_get_numbers_without_a_gap(self, registry: Registry) -> None:
        for number in range(8):
            registry.log(f"m{number}", str(number))
        with ThreadPoolExecutor(8) as pool:
            links = list(pool.map(lambda n: registry.link(f"m{n}", "Churn"), range(8)))
        assert sorted(link.number for link in links) == list(range(8))

    def test_a_version_is_never_deleted_under_a_link_that_is_made(self, registry: Registry) -> None:
        for number in range(6):
            version = registry.log("bert", str(number))
            ref = f"bert:v{number}"
            with ThreadPoolExecutor(2) as pool:
                linking = pool.submit(registry.link, ref, "Churn")
                deleting = pool.submit(registry.delete, ref, force=True)
                refused = linking.exception()
                assert refused is None or isinstance(refused, errors.NotFound)
                assert deleting.exception() is None
            with pytest.raises(errors.NotFound):
                registry.read(resolve.version, id_=version.id)
            with pytest.raises(errors.NotFound):
                registry.number(MODEL)

    def test_using_a_version_by_an_unknown_run_is_refused(self, registry: Registry) -> None:
        version = registry.log("bert", "a")
        with pytest.raises(errors.NotFound):
            registry.write(lambda s, p: lineage.use(s, p, new_id(), version, ""))
        with pytest.raises(errors.InvalidField):
            registry.write(lambda s, p: lineage.use(s, p, "no id", version, ""))
        assert registry.read(lambda s, _: s.scalar(select(func.count()).select_from(Lineage))) == 0
