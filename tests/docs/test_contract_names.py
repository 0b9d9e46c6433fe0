"""One name for one thing in the whole contract, and none that clashes with Protobuf's own."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf import struct_pb2
from google.protobuf.descriptor import Descriptor, FileDescriptor

from modelyard.contract.transport import ERROR_DOMAIN
from modelyard.local.v1 import local_pb2
from modelyard.v1 import error_pb2, value_pb2
from tests.parts.server import PROMISED

FILES: list[FileDescriptor] = [module.DESCRIPTOR for module in (*PROMISED, error_pb2, value_pb2)]
MESSAGES: list[Descriptor] = [message for file in FILES for message in file.message_types_by_name.values()]


def selectors() -> Iterator[tuple[str, list[str]]]:
    """Each request with a selector, and what it can be selected by."""
    for message in MESSAGES:
        if "selector" in message.oneofs_by_name:
            yield message.name, [field.name for field in message.oneofs_by_name["selector"].fields]


def test_an_id_or_a_ref_is_always_one_selector() -> None:
    found = dict(selectors())
    assert len(found) == 16
    assert {tuple(names) for name, names in found.items() if name != "GetLineageRequest"} == {("id", "ref")}
    assert found["GetLineageRequest"] == ["id", "ref", "run_id"]
    outside = [
        f"{message.name}.ref"
        for message in MESSAGES
        if message.name.endswith("Request") and "ref" in message.fields_by_name and message.name not in found
    ]
    assert outside == []


def test_a_request_is_repeated_by_one_request_id_at_its_top() -> None:
    nested = [
        message.name
        for message in MESSAGES
        if "request_id" in message.fields_by_name and not message.name.endswith("Request")
    ]
    assert nested == []


def test_a_field_that_counts_bytes_or_names_a_time_says_so() -> None:
    names = {f"{message.name}.{name}" for message in MESSAGES for name in message.fields_by_name}
    assert [name for name in names if name.rpartition(".")[2] in {"size", "time"}] == []


def test_no_name_clashes_with_google_protobuf() -> None:
    file = struct_pb2.DESCRIPTOR
    taken = {*file.message_types_by_name, *file.enum_types_by_name}
    assert (
        taken & {name for each in FILES for name in (*each.message_types_by_name, *each.enum_types_by_name)}
        == set()
    )


def test_each_language_has_the_package_of_protobuf_and_no_domain() -> None:
    for file in (*FILES, local_pb2.DESCRIPTOR):
        options, parts = file.GetOptions(), file.package.split(".")
        words = [part.title() for part in parts]
        assert options.java_package == file.package
        noun = file.name.rpartition("/")[2].removesuffix(".proto")
        assert options.java_outer_classname == noun.title().replace("_", "") + "Proto"
        assert options.go_package.partition(";")[0] == "/".join(parts)
        assert options.csharp_namespace == ".".join(words)
        assert options.php_namespace == "\\".join(words)
        assert options.ruby_package == "::".join(words)
        assert options.objc_class_prefix.startswith("MDY")
        assert parts[0] == ERROR_DOMAIN
