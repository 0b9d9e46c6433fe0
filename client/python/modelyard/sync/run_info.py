"""What the folder of a run says about it, so that another process can send what it holds."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from modelyard.configuration.settings import Settings, current, key_for
from modelyard.rpc.connection import Connection, connect
from modelyard.rpc.messages import value_map
from modelyard.rpc.records import RunRecord
from modelyard.v1 import run_pb2 as pb

FORMAT = 1


def of_online(settings: Settings, run: RunRecord, start_time: float, *, ends_run: bool) -> dict[str, Any]:
    """The content of `run.json` for a run that the server has. It holds no key.

    `ends_run`: False where another process ends the run.
    """
    return {
        **_place(settings),
        "id": run.id,
        "entity": run.entity,
        "project": run.project,
        "name": run.run_id,
        "attempt": run.attempt,
        "started": start_time,
        "ends_run": ends_run,
    }


def of_offline(
    settings: Settings, run_id: str, policy: str, config: Mapping[str, Any], metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of `run.json` for a run that no server has yet; `policy` is the name of a ResumePolicy."""
    return {
        **_place(settings),
        "id": "",
        "entity": settings.entity or "",
        "project": settings.project or "",
        "name": run_id,
        "request_id": uuid.uuid4().hex,
        "resume": policy,
        "run": {
            "display_name": settings.run_name or "",
            "notes": settings.run_notes or "",
            "tags": list(settings.run_tags or ()),
            "group": settings.run_group or "",
            "job_type": settings.job_type or "",
            "config": dict(config),
            "metadata": dict(metadata),
        },
    }


def create(connection: Connection, info: Mapping[str, Any]) -> dict[str, Any]:
    """Makes the run of an offline folder; the content of `run.json` then. Errors: CommError.

    Called again, it returns the same run.
    """
    run = dict(info["run"])
    config, metadata = value_map(run.pop("config")), value_map(run.pop("metadata"))
    request = pb.CreateRunRequest(
        run=pb.Run(
            **run, name=info["name"], entity=info["entity"], project=info["project"],
            config=config, metadata=metadata,
        ),
        resume=pb.ResumePolicy.Value(info["resume"]),
        request_id=info["request_id"],
    )  # fmt: skip
    made = connection.runs.CreateRun(request).run
    return {
        **info,
        "id": made.id,
        "entity": made.entity,
        "project": made.project,
        "attempt": made.attempt,
        "ends_run": True,
    }


def _place(settings: Settings) -> dict[str, Any]:
    url = settings.url or ""
    return {"format": FORMAT, "url": url, "data_dir": "" if url else str(settings.data_root)}


def is_on_server_of(settings: Settings, info: Mapping[str, Any]) -> bool:
    """Whether the run of a `run.json` is on the server that settings name."""
    if info.get("format") != FORMAT:
        return False
    return bool(info["url"] == settings.url if settings.url else info["data_dir"] == str(settings.data_root))


def connection(info: Mapping[str, Any]) -> Connection:
    """The server that a `run.json` names, with the key that this process has for it.

    A run that no server has yet goes to the one that this process uses, if it names one.
    """
    own = current()
    if not info["id"] and (own.url or own.data_dir):
        return connect(own)
    if not info["url"]:
        return connect(Settings(data_dir=info["data_dir"]))
    return connect(
        Settings(
            url=info["url"],
            api_key=key_for(info["url"]),
            ca_certs=own.ca_certs,
            client_cert=own.client_cert,
            client_key=own.client_key,
        )
    )
