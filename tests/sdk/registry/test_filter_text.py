"""Filters and orderings as scripts write them, as text that the server takes."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from modelyard.query.conditions import OF_LINKS, as_filter, as_order, both, quoted


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, ""),
        ("", ""),
        ('type = "model"', 'type = "model"'),
        ({"name": "bert"}, 'name = "bert"'),
        ({"state": "finished", "group": "a"}, 'state = "finished" AND group = "a"'),
        ({"metadata.acc": {"$gt": 0.9, "$lte": 1}}, "metadata.acc > 0.9 AND metadata.acc <= 1"),
        ({"tags": "good"}, 'tags : "good"'),
        ({"tag": {"$ne": "old"}}, 'NOT tags : "old"'),
        ({"alias": {"$in": ["a", "b"]}}, '(aliases : "a" OR aliases : "b")'),
        ({"name": {"$nin": ["a"]}}, 'NOT (name = "a")'),
        ({"$or": [{"a": 1}, {"b": True, "c": 2}]}, "(a = 1 OR (b = true AND c = 2))"),
        ({"$and": [{"a": 1}, {"$not": {"b": 2}}]}, "a = 1 AND NOT (b = 2)"),
        ({"$nor": [{"a": 1}]}, "NOT (a = 1)"),
        ({"tags": {"$all": ["a", "b"]}}, 'tags : "a" AND tags : "b"'),
        ({"metadata.acc": {"$exists": True}}, "metadata.acc : *"),
        ({"metadata.acc": {"$exists": False}}, "NOT metadata.acc : *"),
        ({"name": {"$not": {"$eq": "a"}}}, 'NOT name = "a"'),
        ({"name": {"$regex": ".*bert.*"}}, 'name : "bert"'),
        ({"name": {"$regex": "^bert$"}}, 'name = "bert"'),
        ({"description": {"$contains": "x"}}, 'description : "x"'),
        ({"summary_metrics.val acc": 1}, 'summary."val acc" = 1'),
        ({"config.lr.value": 0.1}, "config.lr = 0.1"),
        ({"description": 'a "b" \\c'}, 'description = "a \\"b\\" \\\\c"'),
        (
            {"created_at": {"$gt": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)}},
            'create_time > "2026-01-02T00:00:00Z"',
        ),
    ],
)
def test_a_filter_is_translated_to_text(given: Any, text: str) -> None:
    assert as_filter(given) == text


@pytest.mark.parametrize(
    "given",
    [
        {"$where": "1"},
        {"a": {"$near": 1}},
        {"a": [1]},
        {"a": float("nan")},
        {"a": {"$regex": "a+b"}},
        {"a": {"$in": []}},
        {"a": {"$in": "text"}},
        {"$or": [{}]},
        {"$in": ["a"]},
        {"$or": {"a": 1}},
    ],
)
def test_an_unsupported_filter_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=r"filter|patterns|needs"):
        as_filter(given)


def test_a_link_has_tags_and_metadata_of_its_version() -> None:
    given = {"tag": "good", "metadata.acc": {"$gt": 0.9}, "alias": "production"}
    assert as_filter(given, OF_LINKS) == (
        'source.tags : "good" AND source.metadata.acc > 0.9 AND aliases : "production"'
    )


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, ""),
        ("-created_at", "create_time desc"),
        ("+created_at", "create_time"),
        ("created_at", "create_time"),
        ("metadata.acc desc", "metadata.acc desc"),
        ("-summary_metrics.acc", "summary.acc desc"),
        ("-summary_metrics.val acc", 'summary."val acc" desc'),
        ("+config.lr.value", "config.lr"),
        ("create_time asc", "create_time"),
        ("name, create_time desc", "name, create_time desc"),
    ],
)
def test_an_order_is_translated_to_text(given: str | None, text: str) -> None:
    assert as_order(given) == text


def test_conditions_are_joined_and_texts_quoted() -> None:
    assert both("", " ") == ""
    assert both("a = 1", "") == "a = 1"
    assert both("a = 1 OR b = 2", "c = 3") == "(a = 1 OR b = 2) AND (c = 3)"
    assert quoted('say "x"') == '"say \\"x\\""'
