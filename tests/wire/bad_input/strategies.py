"""Strategies for hypothesis: messages of a method, bytes that nearly are one, filters, JSON, addresses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import quote

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import Error as JsonError
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.wire.bad_input import values
from tests.wire.bad_input.scene import METHODS, Scene, messages

MOST_LEVELS = 3
"""Of messages within messages, besides those of values."""
WELL_KNOWN_TEXTS = [
    text
    for table in (values.NAMES, values.ALIASES, values.PATHS, values.IDS, values.TOKENS, values.FILTERS)
    for text in table.values()
    if isinstance(text, str)
]
_REFS = [
    "$project/bert",
    "$project/bert:v0",
    "$project/bert:latest",
    "model-registry/$project:v0",
    "latest",
    "v0",
    "w",
]
_SCALARS: Mapping[int, tuple[int, int]] = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-1, 100),
}


def texts(scene: Scene, *, with_ids: bool = True) -> SearchStrategy[str]:
    """Texts of any kind: names of the scene, wrong ones of the tables, and arbitrary characters."""
    named = [text.replace("$project", scene["project"]) for text in _REFS] + ["", "name", "loss", "key"]
    ids = list(scene.values()) if with_ids else []
    arbitrary = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    return st.one_of(st.sampled_from(named + ids), st.sampled_from(WELL_KNOWN_TEXTS), arbitrary)


def requests(method: str, scene: Scene) -> SearchStrategy[list[Message]]:
    """The requests of a call: several where they are a stream."""
    # What deletes takes no id of the scene, which has to stay for the other calls.
    leaves = texts(scene, with_ids="/Delete" not in method)
    descriptor = METHODS[method]
    most = 3 if descriptor.client_streaming else 1
    made = st.lists(_fields(descriptor.input_type, leaves, MOST_LEVELS), min_size=1, max_size=most)
    return made.map(lambda found: messages(method, found, {}))


def _fields(
    descriptor: Descriptor, leaves: SearchStrategy[str], levels: int
) -> SearchStrategy[dict[str, Any]]:
    """The fields of a message, each of which may be left out."""
    if descriptor.full_name == "modelyard.v1.AnyValue":
        return _values(leaves)
    kinds = {
        field.name: _field(field, leaves, levels)
        for field in descriptor.fields
        if field.message_type is None or levels or field.message_type.full_name.startswith("google.")
    }
    return st.fixed_dictionaries({}, optional=kinds)


def _field(field: FieldDescriptor, leaves: SearchStrategy[str], levels: int) -> SearchStrategy[Any]:
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        value = _field(inner.fields_by_name["value"], leaves, levels)
        return st.dictionaries(leaves, value, max_size=3)
    one = _fields(inner, leaves, levels - 1) if inner is not None else _scalar(field, leaves)
    return st.lists(one, max_size=3) if field.is_repeated else one


def _scalar(field: FieldDescriptor, leaves: SearchStrategy[str]) -> SearchStrategy[Any]:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.one_of(st.binary(max_size=40), st.just(b"\1" * 32))
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return leaves
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        return st.one_of(st.floats(), st.sampled_from([0.0, 1.0, 1e308]))
    least, most = _SCALARS[field.cpp_type]
    return st.one_of(
        st.integers(-1 if least else 0, 4), st.integers(least, most), st.sampled_from([least, most])
    )


@cache
def _values_of(leaves: SearchStrategy[str]) -> SearchStrategy[dict[str, Any]]:
    plain: SearchStrategy[dict[str, Any]] = st.one_of(
        st.just({}),
        st.booleans().map(lambda value: {"bool_value": value}),
        st.booleans().map(lambda value: {"null_value": value}),
        st.integers(-(2**63), 2**63 - 1).map(lambda value: {"int_value": value}),
        st.floats().map(lambda value: {"double_value": value}),
        leaves.map(lambda value: {"string_value": value}),
    )
    return st.recursive(
        plain,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(lambda items: {"list_value": {"values": items}}),
            st.dictionaries(leaves, inner, max_size=3).map(lambda items: {"map_value": {"entries": items}}),
            st.tuples(inner, st.integers(17, 24)).map(_deepened),
        ),
        max_leaves=6,
    )


def _values(leaves: SearchStrategy[str]) -> SearchStrategy[dict[str, Any]]:
    return _values_of(leaves)


def _deepened(value_and_levels: tuple[dict[str, Any], int]) -> dict[str, Any]:
    value, levels = value_and_levels
    for _ in range(levels):
        value = {"list_value": {"values": [value]}}
    return value


@st.composite
def nearly_encoded(draw: st.DrawFn, method: str, scene: Scene) -> bytes:
    """Bytes of any kind, or an encoded request of which a part is changed, left out or put in twice."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.binary(max_size=60))
    (first, *_) = draw(requests(method, scene))
    data = first.SerializeToString()
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, len(data)))
    middle = draw(st.one_of(st.binary(max_size=8), st.just(data[start:end] * 2), st.just(b"")))
    return data[:start] + middle + data[end:]


def json_bodies(method: str, scene: Scene) -> SearchStrategy[bytes]:
    """Bodies for Connect: requests as JSON, the same with parts replaced, any JSON, and what is none."""
    scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts(scene))
    any_json = st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(texts(scene), inner, max_size=3)
        ),
        max_leaves=8,
    )
    names = [field.json_name for field in METHODS[method].input_type.fields] or ["x"]
    wrong_kinds = st.dictionaries(st.sampled_from(names), any_json, max_size=3)
    shaped = requests(method, scene).map(_as_json)
    encoded = st.one_of(any_json, wrong_kinds, shaped).map(lambda found: json.dumps(found).encode())
    cut = st.tuples(encoded, st.integers(0, 200)).map(lambda both: both[0][: both[1]])
    surrogates = st.sampled_from(
        [b'{"ref":"\\ud800"}', b'{"\\udfff":1}', b'["\\ud800"]', b'{"filter":"\\ud83d"}']
    )
    return st.one_of(encoded, cut, st.binary(max_size=40), surrogates)


def _as_json(found: list[Message]) -> Any:
    try:
        return MessageToDict(found[0])
    except (ValueError, JsonError):  # a time or a mask that JSON cannot express
        return {}


def filters(scene: Scene) -> SearchStrategy[str]:
    """Texts made of what filters are made of."""
    fields = [
        "name",
        "type",
        "tags",
        "aliases",
        "number",
        "size",
        "metadata.a",
        "config.lr",
        "summary.loss",
        'metadata."a b"',
        "create_time",
        "state",
        "run.config.x",
        "digest",
        "entity",
        "nothing",
        "metadata",
        "heartbeat_time",
        "display_name",
        "group",
        "job_type",
        "created_by",
        "project",
        "run_id",
        "last_step",
        "config.a.b.c",
        'config."\\""',
        "metadata.\u00e9",
        "source.metadata.a",
        "update_time",
        "expire_time",
    ]
    literals = st.one_of(
        texts(scene).map(lambda text: json.dumps(text, ensure_ascii=False)),
        st.integers(-(2**70), 2**70).map(str),
        st.floats(allow_nan=False, allow_infinity=False).map(repr),
        st.sampled_from(
            [
                "true",
                "false",
                "*",
                "1e308",
                "1e-308",
                "1e999",
                "-0.0",
                "0e999",
                "'2026-01-31T12:00:00Z'",
                "'0001-01-01T00:00:00+23:59'",
                "'9999-12-31T23:59:59-23:59'",
                "'2026-02-30T00:00:00Z'",
                "'running'",
                "'2026-01-31T24:00:00Z'",
                "\u0663",
                "'%'",
                "'_'",
                "'\\\\'",
                "'\\''",
            ]
        ),
    )
    comparison = st.tuples(
        st.sampled_from(fields), st.sampled_from(["=", "!=", "<", "<=", ">", ">=", ":"]), literals
    ).map(" ".join)
    joined = st.recursive(
        comparison,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from([" AND ", " OR "]), inner).map("".join),
            inner.map(lambda text: f"({text})"),
            inner.map(lambda text: f"NOT {text}"),
        ),
        max_leaves=6,
    )
    words = st.lists(
        st.one_of(st.sampled_from([*fields, "AND", "OR", "NOT", "(", ")", "=", ":"]), literals), max_size=8
    )
    return st.one_of(joined, words.map(" ".join), texts(scene))


def orders(scene: Scene) -> SearchStrategy[str]:
    """Texts made of what orders are made of."""
    names = [
        "name",
        "create_time",
        "metadata.a",
        "config.lr",
        "summary.loss",
        "size",
        "number",
        "update_time",
        'metadata."a.b"',
        "nothing",
        "state",
        "display_name",
        "run_count",
        "version_count",
        "last_activity_time",
        f"config.{'k' * 300}",
        "metadata.\u00e9",
        'summary."\\""',
    ]
    parts = st.tuples(st.sampled_from(names), st.sampled_from(["", " desc", " asc", " up"])).map("".join)
    return st.one_of(st.lists(parts, max_size=3).map(",".join), texts(scene))


def tokens(real: str) -> SearchStrategy[str]:
    """Page tokens: real ones with a part changed, and any text."""
    changed = st.tuples(st.integers(0, len(real)), st.text("AZaz09-_=!", max_size=3), st.integers(0, 3)).map(
        lambda found: real[: found[0]] + found[1] + real[found[0] + found[2] :]
    )
    return st.one_of(changed, st.sampled_from(list(values.TOKENS.values())), st.text(max_size=10))


def file_addresses(scene: Scene) -> SearchStrategy[str]:
    """Addresses of files, with parts replaced; encoded so that they can be sent."""
    parts = st.one_of(
        texts(scene).map(lambda text: quote(text, safe="")),
        st.sampled_from(
            ["..", "%2e%2e", "%2f", "%00", "%ff%fe", "%", "%zz", "version", "run", "1", "0", "-1", "w", "f"]
        ),
        st.sampled_from([scene["version"], scene["run"], "9" * 9, "9" * 30]),
    )
    wild = st.lists(parts, max_size=6).map(lambda found: "/files/" + "/".join(found))
    of_version = parts.map(lambda path: f"/files/version/{scene['version']}/{path}")
    of_run = st.tuples(parts, parts).map(lambda both: f"/files/run/{scene['run']}/{both[0]}/{both[1]}")
    queries = st.sampled_from(["", "?download=1", "?download=%ff", "?" + "a" * 100, "?&&=", "#x"])
    return st.tuples(st.one_of(wild, of_version, of_run), queries).map("".join)


RANGES = st.one_of(
    st.sampled_from(
        [
            "bytes=0-",
            "bytes=0-0",
            "bytes=-1",
            "bytes=-0",
            "bytes=5-2",
            "bytes=10-",
            "bytes=0-99999999999999999999",
        ]
    ),
    st.sampled_from(
        ["bytes=", "bytes=-", "bytes=a-b", "items=0-1", "bytes=0-1,3-4", "bytes=9" + "9" * 50 + "-"]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20),
)
"""Values of the header `range`."""
