"""Definitions of metrics: messages ↔ their stored form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.contract import errors
from modelyard.contract.values import METRIC_GOALS, SUMMARY_KINDS
from modelyard.v1 import run_pb2 as pb
from modelyard_server.domain.runs.metric_definitions import FIELD, Definitions


def to_stored(given: Mapping[str, pb.MetricDefinition]) -> Definitions:
    """What is stored of the definitions of a request. Raises InvalidField for values that are not known."""
    return {name: _stored(f"run.{FIELD}[{name[:100]}]", each) for name, each in given.items()}


def to_messages(stored: Definitions) -> dict[str, pb.MetricDefinition]:
    """The messages of stored definitions."""
    return {name: _message(each) for name, each in stored.items()}


def _stored(field: str, given: pb.MetricDefinition) -> dict[str, Any]:
    stored: dict[str, Any] = {}
    if given.step_metric:
        stored["step_metric"] = given.step_metric
    if given.HasField("step_sync"):
        stored["step_sync"] = given.step_sync
    if given.summary:
        stored["summary"] = [_named(f"{field}.summary", SUMMARY_KINDS, kind) for kind in given.summary]
    if given.goal:
        stored["goal"] = _named(f"{field}.goal", METRIC_GOALS, given.goal)
    if given.hidden:
        stored["hidden"] = True
    return stored


def _named(field: str, names: tuple[str, ...], number: int) -> str:
    if not 1 <= number <= len(names):
        raise errors.InvalidField.of(field, f"{number} is not a value this server knows")
    return names[number - 1]


def _message(stored: Mapping[str, Any]) -> pb.MetricDefinition:
    return pb.MetricDefinition(
        step_metric=stored.get("step_metric", ""),
        step_sync=stored.get("step_sync"),
        summary=[pb.SummaryKind.Value(f"SUMMARY_KIND_{kind.upper()}") for kind in stored.get("summary", ())],
        goal=pb.MetricGoal.Value(f"METRIC_GOAL_{stored.get('goal', 'unspecified').upper()}"),
        hidden=stored.get("hidden", False),
    )
