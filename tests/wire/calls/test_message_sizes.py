"""Replies fit a message of 4 MiB whatever callers send, and large requests get errors that name them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from sqlalchemy.orm import Session

from modelyard import errors
from modelyard.v1 import alias_pb2, run_pb2, value_pb2
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard_server.db.tables import Alias, Lineage, Run
from modelyard_server.db.upserts import insert_missing
from modelyard_server.domain import lineage
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.registry import aliases, registered_models, resolve, versions
from modelyard_server.domain.registry.aliases import Change
from modelyard_server.rpc.services.artifacts import lineage_message
from tests.clients import fast_upload
from tests.clients.refusals import refused
from tests.inprocess.bulk_rows import RUN_MAPS, run_row
from tests.inprocess.registry import ENTITY, Registry, full
from tests.parts.server import MODULES, LiveServer, new_project

MESSAGE = 4 << 20
METHODS = [
    method
    for module in MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if not method.client_streaming and not method.server_streaming
]
TEXTS = {
    "long": "x" * 1_000_000,
    "fields": ",".join(["name"] * 2_000),
    "open": "(" * 4_000,
    "not": "NOT " * 1_000,
    "digits": "number = " + "9" * 4_000,
    "zero": "\0",
}
Change_ = Callable[[Any], None]


def changes(message: Descriptor, depth: int = 0) -> Iterator[tuple[str, Change_]]:
    """Ways to make a message of this kind large or odd, by name."""
    for field in message.fields:
        name = field.name
        if field.is_repeated:
            yield f"{name}, many", lambda made, field=field: fill(getattr(made, field.name), field)
        elif field.message_type is not None and field.message_type.name == "FieldMask":
            yield name, lambda made, name=name: getattr(made, name).paths.extend(["x.y"] * 100_000)
        elif field.message_type is not None and depth < 2:
            for inner, change in changes(field.message_type, depth + 1):
                yield f"{name}.{inner}", lambda made, n=name, c=change: c(getattr(made, n))
        elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING and field.type == FieldDescriptor.TYPE_STRING:
            for kind, text in TEXTS.items():
                yield f"{name}, {kind}", lambda made, n=name, t=text: setattr(made, n, t)
        elif field.cpp_type in {FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_INT32}:
            bits = 63 if field.cpp_type == FieldDescriptor.CPPTYPE_INT64 else 31
            for number in (-(1 << bits), (1 << bits) - 1):
                yield f"{name} = {number}", lambda made, n=name, v=number: setattr(made, n, v)


def fill(repeated: Any, field: FieldDescriptor) -> None:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        for number in range(10_000):
            inner = kind.fields_by_name["value"].message_type
            if inner is not None and "null_value" in inner.fields_by_name:
                repeated[str(number)].null_value = True
            elif inner is not None:
                repeated[str(number)].SetInParent()
            else:
                repeated[str(number)] = "x"
    elif kind is not None:
        for _ in range(100_000):
            repeated.add()
    elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        item: Any = b"x" if field.type == FieldDescriptor.TYPE_BYTES else "x"
        repeated.extend([item] * 100_000)
    else:
        repeated.extend([1] * 100_000)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name.removeprefix("modelyard.v1."))
def test_no_large_or_malformed_request_is_an_internal_error(
    method: MethodDescriptor, live_server: LiveServer
) -> None:
    stubs, project = live_server.stubs(), new_project()
    fast_upload.log(stubs, project, "bert", {"f": []})
    call = stubs.channel.unary_unary(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
    )
    metadata = [("authorization", f"Bearer {live_server.token}")]
    bad = []
    for name, change in changes(method.input_type):
        request = GetMessageClass(method.input_type)()
        for field, value in (("ref", f"{project}/bert"), ("project", project)):
            described = method.input_type.fields_by_name.get(field)
            if described is not None and described.type == described.TYPE_STRING:
                setattr(request, field, value)
        change(request)
        try:
            call(request, timeout=60, metadata=metadata)
        except grpc.RpcError as error:
            if error.code() in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}:
                bad.append((name, error.details()))
    assert not bad


ORDERS = {
    "thousands": ",".join(["name"] * 2_000),
    "keys": ",".join(f"metadata.k{number}" for number in range(100_000)),
    "twice": "name, size, name desc",
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_an_order_that_repeats_itself_or_has_no_end_is_refused(
    any_live_server: LiveServer, order: str
) -> None:
    stubs, project = any_live_server.stubs(), new_project()
    fast_upload.log(stubs, project, "bert", {"f": []})
    request = pb.ListModelArtifactVersionsRequest(ref=f"{project}/bert", order_by=order)
    with refused("INVALID_FIELD", "order_by"):
        stubs.artifacts.ListModelArtifactVersions(request)


def test_a_version_with_as_many_aliases_as_allowed_can_still_be_read(any_live_server: LiveServer) -> None:
    stubs, project = any_live_server.stubs(), new_project()
    fast_upload.log(stubs, project, "bert", {"f": []})

    def add(first: int, count: int) -> None:
        updates = [
            alias_pb2.AliasUpdate(alias=f"{'ü' * 120}{number}", version="v0")
            for number in range(first, first + count)
        ]
        request = alias_pb2.UpdateAliasesRequest(ref=f"{project}/bert", updates=updates)
        stubs.aliases.UpdateAliases(request)

    for start in range(0, 900, 100):
        add(start, 100)
    add(900, 99)  # and `latest`
    with refused("QUOTA_EXCEEDED", "aliases"):
        add(999, 1)
    found = stubs.artifacts.GetModelArtifactVersion(pb.GetModelArtifactVersionRequest(ref=f"{project}/bert"))
    assert len(found.version.aliases) == aliases.VERSION_LIMIT


def test_all_ways_to_an_alias_keep_to_the_limits(registry: Registry) -> None:
    version = registry.log("bert", "a")

    def fill_up(session: Session, _: Principal) -> None:
        own = session.get_one(versions.ArtifactVersion, version.id)
        place = {"collection_id": own.collection_id, "entity_id": own.entity_id, "project_id": own.project_id}
        rows = [
            {**place, "alias": f"a{number}", "version_id": own.id, "link_id": None, "updated_at": 0}
            for number in range(aliases.VERSION_LIMIT - 1)
        ]
        insert_missing(session, Alias, rows)

    registry.write(fill_up)
    with pytest.raises(errors.QuotaExceeded):
        registry.log("bert", "a", names=["one-more"])
    with pytest.raises(errors.QuotaExceeded):
        registry.move("bert", Change("one-more", "v0", None))
    registry.log("bert", "b", names=["a0"])  # moves one away
    registry.move("bert", Change("one-more", "v0", None))


def test_a_collection_with_as_many_aliases_as_allowed_replies_with_all_of_them(registry: Registry) -> None:
    registry.log("bert", "a")
    most = aliases.COLLECTION_LIMIT
    for start in range(1, most, 500):
        newest = registry.log("bert", str(start))
        names = [f"{'ü' * 120}{number}" for number in range(start, min(start + 500, most))]

        def add(session: Session, _: Principal, names: list[str] = names, id_: str = newest.id) -> None:
            own = session.get_one(versions.ArtifactVersion, id_)
            owner = {"collection_id": own.collection_id, "entity_id": own.entity_id}
            rest = {"project_id": own.project_id, "version_id": id_, "link_id": None, "updated_at": 0}
            insert_missing(session, Alias, [{**owner, **rest, "alias": name} for name in names])

        registry.write(add)
    with pytest.raises(errors.QuotaExceeded, match="5,000"):
        registry.move("bert", Change("one-more", "v0", None))
    shown = registry.move("bert", Change("one-more", "v0", None), Change("ü" * 120 + "1", "", None))
    assert len(shown) == most
    reply = alias_pb2.UpdateAliasesResponse()
    for alias in shown:
        reply.aliases.add(alias=alias, version="v1000000")
    assert reply.ByteSize() < MESSAGE


def test_a_version_has_no_more_links_than_its_reply_can_show(registry: Registry) -> None:
    registry.log("bert", "a")

    def link_all(session: Session, principal: Principal) -> None:
        version = resolve.version(session, principal, ref=full("bert")).version
        for number in range(registered_models.LINK_LIMIT):
            registered_models.link(session, principal, version, f"{ENTITY}/model-registry/m{number}", [])

    registry.write(link_all)
    with pytest.raises(errors.QuotaExceeded):
        registry.link("bert", f"{ENTITY}/model-registry/more")
    registry.link("bert", f"{ENTITY}/model-registry/m0")  # that is there already
    registry.unlink("model-registry/m0")
    registry.link("bert", f"{ENTITY}/model-registry/more")


def test_a_lineage_too_wide_for_a_message_is_cut_and_says_so(registry: Registry) -> None:
    version = registry.log("bert", "a")

    def use(session: Session, principal: Principal) -> None:
        project = owners.find_project(session, principal, ENTITY, "p")
        owner = project.entity_id, project.id
        rows = [run_row(owner, number, {}, {}) for number in range(6_000)]
        insert_missing(session, Run, [{k: row[k] for k in row if k not in RUN_MAPS} for row in rows])
        edge = {"version_id": version.id, "relation": "input", "use_as": "ü" * 128, "created_at": 0}
        insert_missing(session, Lineage, [{**edge, "run_id": row["id"]} for row in rows])

    registry.write(use)
    graph = registry.read(lineage.walk, version_id=version.id)
    assert graph.truncated
    assert len(graph.edges) > 1_000
    assert lineage_message(graph).ByteSize() < MESSAGE


def test_a_run_of_which_every_part_is_full_can_still_be_read(any_live_server: LiveServer) -> None:
    stubs, project = any_live_server.stubs(), new_project()

    def numbers(count: int) -> dict[str, value_pb2.AnyValue]:
        items = value_pb2.ValueList(values=[value_pb2.AnyValue(double_value=1.0)] * (count // 3))
        return {key: value_pb2.AnyValue(list_value=items) for key in "xyz"}

    run = run_pb2.Run(project=project, config=numbers(90_000), notes="x" * 65_000)
    made = stubs.runs.CreateRun(run_pb2.CreateRunRequest(run=run)).run

    def replace(part: str, count: int) -> None:
        request = run_pb2.UpdateRunRequest(run=run_pb2.Run(id=made.id, **{part: numbers(count)}))
        request.update_mask.paths.append(part)
        stubs.runs.UpdateRun(request)

    replace("summary", 90_000)
    replace("metadata", 100_000)
    assert stubs.runs.GetRun(run_pb2.GetRunRequest(id=made.id)).ByteSize() > (3 << 20) - 100_000
    with refused("INVALID_FIELD", "run.metadata.z") as refusal:
        replace("metadata", 110_000)
    assert (refusal.metadata["part"], refusal.metadata["key"]) == ("metadata", "z")
    replace("config", 30_000)
    replace("metadata", 110_000)
