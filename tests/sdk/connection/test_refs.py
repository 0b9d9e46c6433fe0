"""References, names, paths, aliases and values: valid ones come back as they were, others are refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.contract import refs, values
from modelyard.contract.limits import INT_MAX, INT_MIN, PATH_BYTES
from modelyard.v1 import value_pb2
from modelyard_server.rpc.wire.convert import json_to_values, python_to_values, values_to_python

ARTIFACT_NAMES = st.from_regex(r"[A-Za-z0-9_.\-]{1,128}", fullmatch=True).filter(
    lambda n: n not in {".", ".."}
)
MODEL_NAMES = st.one_of(
    ARTIFACT_NAMES, st.from_regex(r"[A-Za-z0-9_.\-][A-Za-z0-9_.\- ]{0,20}[A-Za-z0-9_.\-]", fullmatch=True)
).filter(lambda n: n not in {".", ".."})
WORDS = st.text(
    st.characters(categories=["L", "N", "P", "S"], exclude_characters="/:%"), min_size=1, max_size=40
)
ALIASES = st.one_of(
    st.integers(0, 10**17).map(lambda n: f"v{n}"),
    WORDS.filter(lambda a: a not in {".", ".."} and not refs._LOOKS_LIKE_VERSION.fullmatch(a)),
)


def refused(check: Any, *args: Any, **kwargs: Any) -> bool:
    try:
        check(*args, **kwargs)
    except ValueError:
        return True
    return False


@given(owners=st.lists(ARTIFACT_NAMES, max_size=2), name=MODEL_NAMES, alias=st.one_of(st.just(""), ALIASES))
def test_a_reference_comes_back_as_it_was_written(owners: list[str], name: str, alias: str) -> None:
    text = "/".join([*owners, name]) + (f":{alias}" if alias else "")
    ref = refs.parse(text)
    assert str(ref) == text
    assert (ref.name, ref.alias) == (name, alias)
    assert [ref.entity, ref.project] == ["", "", *owners][-2:]
    assert ref.number == (int(alias[1:]) if alias and refs._VERSION.fullmatch(alias) else None)


@given(text=st.text(max_size=60))
def test_any_text_is_a_reference_or_a_value_error(text: str) -> None:
    try:
        ref = refs.parse(text)
    except ValueError:
        return
    assert str(ref) == text
    refs.check_model_name(ref.name)


NOT_REFERENCES = [
    *("/", "a/", "/a", "a//b", "a/b/c/d", "a:", "a:b:c", ":a", "a:v01", "a:v-1x/", "..", "../a", "a/..", "é"),
    *("", " a", "a ", "a\n", "a\0", "a: b", "a b/c", "e/p/" + "x" * 129, "a%2Fb", "a:b/c", "a:%20", "a:.."),
    "a:\u202e",
]


@pytest.mark.parametrize("text", NOT_REFERENCES)
def test_invalid_refs_are_refused(text: str) -> None:
    assert refused(refs.parse, text)


@given(alias=st.text(max_size=140))
def test_an_alias_is_never_parsed_as_a_version_or_a_path(alias: str) -> None:
    if not refused(refs.check_alias, alias):
        assert refs.version_number(alias) is None
        assert refs.parse(f"name:{alias}").alias == alias
        assert 1 <= len(alias) <= 128


@given(number=st.integers(0, 10**18 - 1))
def test_only_canonical_version_numbers_are_parsed(number: int) -> None:
    assert refs.version_number(f"v{number}") == number
    assert refs.version_number(f"v0{number}") is None
    assert refused(refs.check_alias, f"v{number}")


PARTS = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/" + "".join(map(chr, refs._BIDI))),
    min_size=1,
    max_size=12,
).filter(lambda part: part not in {".", ".."})


@given(parts=st.lists(PARTS, min_size=1, max_size=32))
def test_a_relative_path_is_kept(parts: list[str]) -> None:
    path = "/".join(parts)
    assert refused(refs.check_manifest_path, path) == (len(path.encode()) > PATH_BYTES)


@given(
    parts=st.lists(PARTS, max_size=4),
    bad=st.sampled_from(["", ".", "..", "a\0", "a\n", "\u202e", "\x7f"]),
    at=st.integers(0, 4),
)
def test_a_path_that_leaves_its_folder_is_refused(parts: list[str], bad: str, at: int) -> None:
    parts.insert(min(at, len(parts)), bad)
    assert refused(refs.check_manifest_path, "/".join(parts))


def test_paths_beyond_the_limits_are_refused() -> None:
    assert refs.check_manifest_path("x" * 1024)
    assert refused(refs.check_manifest_path, "x" * 1025)
    assert refused(refs.check_manifest_path, "é" * 513)
    assert refs.check_manifest_path("/".join("x" * 32))
    assert refused(refs.check_manifest_path, "/".join("x" * 33))
    assert refused(refs.check_manifest_path, "\ud800")


@given(tag=st.text(max_size=130))
def test_a_tag_is_words(tag: str) -> None:
    words = [word for word in tag.split(" ") if word]
    plain = all(all(c.isalnum() or c in "_-" for c in word) for word in words)
    fits = 1 <= len(tag) <= 128 and not (tag.startswith(" ") or tag.endswith(" "))
    if not refused(refs.check_tag, tag):
        assert words
        assert fits
    elif fits and plain and tag.isascii():
        raise AssertionError(f"{tag!r} was refused")


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(INT_MIN, INT_MAX), st.floats(), TEXTS)
KEYS = st.one_of(TEXTS, st.just("$"))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    """Equal, of the same kinds, NaN included: 1, 1.0 and True are three things."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return math.copysign(1, left) == math.copysign(1, right) and (left == right or left != left != right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


@given(value=VALUES)
def test_a_value_comes_back_from_json(value: Any) -> None:
    text = json.dumps(values.to_json(value), allow_nan=False)
    back = values.from_json(json.loads(text))
    assert same(json.loads(json.dumps(back)), json.loads(json.dumps(value)))
    assert values.check(value, "v") is None


@settings(deadline=None)
@given(entries=st.dictionaries(KEYS, VALUES, max_size=4))
def test_values_come_back_from_the_wire(entries: dict[str, Any]) -> None:
    message = value_pb2.ValueMap(entries=python_to_values(entries))
    back = values_to_python(value_pb2.ValueMap.FromString(message.SerializeToString()).entries, "config")
    normal = json.loads(json.dumps(entries))
    assert same(json.loads(json.dumps(back)), normal)
    stored = {key: values.to_json(item) for key, item in back.items()}
    again = values_to_python(value_pb2.ValueMap(entries=json_to_values(stored)).entries, "config")
    assert same(json.loads(json.dumps(again)), normal)


def test_unsupported_values_are_refused() -> None:
    deep: Any = 1
    for _ in range(22):
        deep = [deep]
    assert "nested deeper" in (values.check(deep, "v") or "")
    assert (values.check({"a": [1 << 63]}, "v") or "").startswith("v.a[0]: ")
    assert values.check({1: 2}, "v") is not None
    assert values.check({"a": object()}, "v") is not None
    assert values.check({"a": math.inf}, "v", finite=True) == "v.a: infinities are not allowed here"
    assert values.check({"a": math.inf}, "v") is None
