"""What `modelyard show` prints about one version, collection or run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelyard.artifacts.artifact import Artifact
from modelyard.cli.lookup import Thing
from modelyard.cli.output import HIDDEN, local_time, print_fields, print_table
from modelyard.cli.tables import some
from modelyard.contract import errors
from modelyard.contract.streams import echo
from modelyard.host.terminal import human_bytes, plural
from modelyard.query import page_addresses
from modelyard.rpc import list_calls, records, run_calls
from modelyard.rpc.connection import Connection
from modelyard.rpc.manifest import whole_manifest
from modelyard.runs.report import flattened, short_text

_FILES_SHOWN = 20
VERSIONS_SHOWN = 50


def to_json(connection: Connection, thing: Thing) -> dict[str, Any]:
    """As JSON, with its kind; a version with its files, a collection with its newest versions.

    `url` is the address of its page, empty without one. `more` says whether a collection has more than
    these 50 versions, as in `modelyard ls`.
    """
    content: dict[str, Any] = {"kind": _kind(thing), "url": _page(connection, thing)}
    content |= records.as_json(thing)
    if isinstance(thing, records.Collection):
        versions: Iterator[records.Link | records.Version] = list_calls.versions(connection, thing.id)
        if thing.registered:
            versions = list_calls.links(connection, thing.id)
        shown, content["more"] = some(versions, VERSIONS_SHOWN)
        content["versions"] = [records.as_json(item) for item in shown]
    elif isinstance(thing, records.Version | records.Link):
        version = thing if isinstance(thing, records.Version) else thing.source
        content["files"] = [
            {"path": entry.path, "size_bytes": entry.size, "digest": entry.digest.hex()}
            for entry in (whole_manifest(connection, version) if version else ())
        ]
    return content


def print_link(connection: Connection, link: records.Link) -> None:
    """A link with its source version; where that is not visible, the link alone."""
    if link.source is not None:
        print_version(connection, link.source, link)
        return
    linked = f"{local_time(link.create_time)} by {link.created_by}"
    aliases = ", ".join(link.aliases)
    print_fields(
        [
            ("Link", link.ref),
            ("Aliases", aliases),
            ("Source version", HIDDEN),
            ("Linked", linked),
            ("Page", _page(connection, link)),
        ]
    )


def source_of(link: Artifact) -> str:
    """Reference of a link's source version; `(not visible)` if the key may not read it."""
    return link.source_qualified_name if link._logged("source").version else HIDDEN


def print_version(connection: Connection, version: records.Version, link: records.Link | None = None) -> None:
    """A version, or the link it was reached through, with its first files."""
    through = [("Link", link.ref), ("Aliases", ", ".join(link.aliases))] if link else []
    print_fields(
        [
            *through,
            ("Source version" if link else "Version", version.ref),
            ("Its aliases" if link else "Aliases", ", ".join(version.aliases)),
            ("Type", version.type),
            ("Linked to", "\n".join(version.linked_to)),
            ("Description", version.description),
            ("Tags", ", ".join(version.tags)),
            ("Metadata", _entries(version.metadata)),
            ("Logged", f"{local_time(version.create_time)} by {version.created_by}"),
            ("Run", _producer(connection, version)),
            ("Size", f"{plural(version.file_count, 'file')}, {human_bytes(version.size_bytes)}"),
            ("Digest", version.digest),
            ("Page", _page(connection, link or version)),
        ]
    )
    entries = whole_manifest(connection, version)
    rows = [[entry.path, human_bytes(entry.size or 0)] for entry in entries[:_FILES_SHOWN]]
    if rows:
        echo()
        print_table(["FILE", "SIZE"], rows)
    if len(entries) > _FILES_SHOWN:
        echo(f"… and {len(entries) - _FILES_SHOWN:,} more")


def print_collection(connection: Connection, collection: records.Collection) -> None:
    """An artifact or a registered model, without its versions."""
    print_fields(
        [
            ("Registered model" if collection.registered else "Artifact", collection.ref),
            ("Type", collection.type),
            ("Versions", str(collection.version_count)),
            ("Description", collection.description),
            ("Tags", ", ".join(collection.tags)),
            ("Created", local_time(collection.create_time)),
            ("Page", _page(connection, collection)),
        ]
    )
    echo()


def print_run(connection: Connection, run: records.RunRecord) -> None:
    """A run with its config and summary."""
    summary = {key: value for key, value in run.summary.items() if not key.startswith("_")}
    print_fields(
        [
            ("Run", run.path),
            ("Name", run.display_name),
            ("State", run.state if not run.exit_code else f"{run.state} (exit code {run.exit_code})"),
            ("Started", f"{local_time(run.create_time)} by {run.created_by}"),
            ("Ended", local_time(run.finish_time)),
            ("Group", run.group),
            ("Job type", run.job_type),
            ("Tags", ", ".join(run.tags)),
            ("Notes", run.notes),
            ("Last step", "" if run.last_step is None else str(run.last_step)),
            ("Config", _entries(run.config)),
            ("Summary", _entries(summary)),
            ("Page", _page(connection, run)),
        ]
    )


def _page(connection: Connection, thing: Thing) -> str:
    """The address of its page; empty without one."""
    return page_addresses.at(connection, page_addresses.path_of(thing))


def _producer(connection: Connection, version: records.Version) -> str:
    if not version.producer_run_id:
        return ""
    try:
        return run_calls.run_by_id(connection, version.producer_run_id).path
    except errors.NotFound:
        return "(deleted)"


def _entries(entries: dict[str, Any]) -> str:
    return "\n".join(f"{key} = {short_text(value)}" for key, value in flattened(entries).items())


def _kind(thing: Thing) -> str:
    if isinstance(thing, records.Collection):
        return "registered_model" if thing.registered else "artifact"
    names = {records.Version: "version", records.Link: "link", records.RunRecord: "run"}
    return names[type(thing)]
