"""The lists of aliases and tags, which notice their changes."""

from __future__ import annotations

import copy

import pytest

from modelyard.artifacts.name_lists import NameList
from modelyard.contract import refs


def _labels(*names: str) -> NameList:
    return NameList(names, check=refs.check_alias)


def test_it_is_a_list_that_knows_what_changed() -> None:
    labels = _labels("latest", "old")
    assert labels == ["latest", "old"]
    labels.append("new")
    labels.remove("old")
    assert isinstance(labels, list)
    assert (labels.added, labels.removed) == (["new"], ["old"])
    labels.append("old")
    assert (labels.added, labels.removed) == (["new"], [])


def test_every_added_name_is_checked_and_kept_once() -> None:
    labels = _labels("a")
    labels.extend(["b", "a"])
    labels += ["c", "c"]
    labels.insert(0, "d")
    labels[0] = "e"
    labels[1:2] = ["a", "f"]
    assert labels == ["e", "a", "f", "b", "c"]
    for change in (
        lambda: labels.append("v1"),
        lambda: labels.extend(["ok", "a/b"]),
        lambda: labels.insert(0, ""),
        lambda: labels.__setitem__(0, "a:b"),
        lambda: labels.replaced(["x", "v2"]),
    ):
        with pytest.raises(ValueError, match="alias"):
            change()
    assert labels == ["e", "a", "f", "b", "c"]
    with pytest.raises(TypeError):
        labels.append(3)  # type: ignore[arg-type]  # that is the point


def test_a_copy_is_a_plain_list() -> None:
    labels = _labels("a", "b")
    for made in (copy.copy(labels), copy.deepcopy(labels)):
        assert made == ["a", "b"]
        assert type(made) is list


def test_a_string_is_one_name() -> None:
    labels = _labels("a")
    labels.extend("best")
    assert labels == ["a", "best"]
    assert labels.replaced("only") == ["only"]
    assert labels.replaced("only").removed == ["a"]
