"""Requests about a run that exists. Imports gRPC and Protobuf, so import it when needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from modelyard.conversion.plain_values import fit
from modelyard.rpc import messages, records
from modelyard.rpc.connection import Connection
from modelyard.rpc.messages import value_message
from modelyard.rpc.records import REMOVED
from modelyard.v1 import run_pb2 as pb


def run_by_ref(connection: Connection, ref: str) -> records.RunRecord:
    """A run by `[[entity/]project/]run_id`. Errors: NotFound."""
    return messages.run(connection.runs.GetRun(pb.GetRunRequest(ref=ref)).run)


def run_by_id(connection: Connection, run_id: str, attempt: int | None = None) -> records.RunRecord:
    """A run by its global id; with `attempt` as that attempt was. Errors: NotFound."""
    return messages.run(connection.runs.GetRun(pb.GetRunRequest(id=run_id, attempt=attempt)).run)


def create_run(connection: Connection, entity: str, project: str, run_id: str) -> records.RunRecord:
    """Makes a run. Errors: AlreadyExists, InvalidField."""
    run = pb.Run(name=run_id, entity=entity, project=project)
    return messages.run(connection.runs.CreateRun(pb.CreateRunRequest(run=run)).run)


def delete_run(connection: Connection, run_id: str) -> None:
    """Deletes a run by its global id. Errors: NotFound."""
    connection.runs.DeleteRun(pb.DeleteRunRequest(id=run_id))


def update_run(
    connection: Connection, run: records.RunRecord, changes: Mapping[str, Any]
) -> records.RunRecord:
    """Sets `display_name`, `notes`, `tags`, `config.KEY` and `summary.KEY`; `REMOVED` removes a key.

    What changes is the attempt of the record, whether or not there is a later one. Errors: EtagMismatch
    when the run is no longer as in the record, NotFound, InvalidField, ValueError for a
    value that cannot be stored.
    """
    message = pb.Run(id=run.id, etag=run.etag)
    for name, item in changes.items():
        field, _, key = name.partition(".")
        if key and item is not REMOVED:
            getattr(message, field)[key].CopyFrom(value_message(fit(item, name)))
        elif field == "tags":
            message.tags.extend(item)
        elif not key:
            setattr(message, field, item)
    request = update_request(message, changes)
    request.attempt = run.attempt  # a later one that has begun since stays as it is
    return messages.run(connection.runs.UpdateRun(request).run)


def update_request(run: pb.Run, names: Iterable[str]) -> pb.UpdateRunRequest:
    """The request that sets what `names` says, such as `notes` and `config.lr`, to what the run has.

    A key that the run lacks is removed.
    """
    request = pb.UpdateRunRequest(run=run)
    for name in sorted(names):
        field, _, key = name.partition(".")
        if key:
            getattr(request, f"{field}_keys").append(key)
        else:
            request.update_mask.paths.append(name)
    return request
