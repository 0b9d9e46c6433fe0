"""`modelyard model …`: registered models."""

from __future__ import annotations

import datetime
import shlex
from itertools import islice
from typing import Any

import click

from modelyard.api import Api
from modelyard.cli import details
from modelyard.cli.output import (
    as_json,
    confirm,
    limited,
    local_time,
    print_fields,
    print_json,
    print_rest,
    print_table,
    without_asking,
)
from modelyard.cli.tables import print_records
from modelyard.configuration.settings import current
from modelyard.contract import errors, refs
from modelyard.contract.streams import echo
from modelyard.host.terminal import is_address, plural
from modelyard.registry.collection import RegisteredModel
from modelyard.rpc import list_calls, records
from modelyard.workspace import Workspace

_VERSIONS_SHOWN = 20


@click.group()
def model() -> None:
    """List, show, create and delete registered models, and see who moved their aliases.

    A MODEL is name, registry/name or entity/registry/name; a bare name is in model-registry.
    """


@model.command("ls")
@click.argument("registry", required=False, metavar="[[ENTITY/]REGISTRY]")
@click.option("--filter", "condition", default="", help="Only what matches a filter.")
@click.option("--order", default="", help="Field, with ` desc` after it for the largest first.")
@limited
@as_json
def list_models(registry: str | None, condition: str, order: str, limit: int, json: bool) -> None:
    """List the registered models of a REGISTRY, by default of all."""
    workspace = Workspace(current())
    entity, project = ["", *(registry or "").strip("/").split("/")][-2:]
    owner = entity or workspace.settings.entity or ""
    listed = list_calls.registered_models(workspace.connection, owner, project, condition, order)
    print_records("registered_models", listed, limit, json)


@model.command()
@click.argument("name", metavar="MODEL[:ALIAS]")
@as_json
def show(name: str, json: bool) -> None:
    """Show a registered model with its card and versions, or one of its versions."""
    found, alias = _open(name)
    if alias:
        link = found._link_at(alias)
        if json:
            print_json(details.to_json(found._workspace.connection, link))
        else:
            details.print_link(found._workspace.connection, link)
    elif json:
        print_json(details.to_json(found._workspace.connection, found._record))
    else:
        _print_model(found)


@model.command()
@click.argument("name", metavar="MODEL")
@click.option("--description", help="Its card, in Markdown.")
@click.option("--card", type=click.File(encoding="utf-8"), help="File with its card; - reads it from stdin.")
@click.option("--tag", "tags", multiple=True, help="Label; may be repeated.")
@click.option(
    "--type", "type_name", default="model", show_default=True, help="Type of the versions it links."
)
@as_json
def create(
    name: str, description: str | None, card: Any, tags: tuple[str, ...], type_name: str, json: bool
) -> None:
    """Create a registered model without versions. Linking to a new name creates it too."""
    if card is not None and description is not None:
        raise click.UsageError("give --description or --card, not both")
    text = card.read() if card is not None else description
    made = Api().create_registered_model(name, text, tags, type_name)
    if json:
        print_json(records.as_json(made._record))
        return
    echo(f"Created {made.qualified_name}")
    echo(f"Link a version: modelyard link REF {made.qualified_name!r}", err=True)


@model.command()
@click.argument("name", metavar="MODEL")
@click.option("--alias", help="Only this alias.")
@click.option("--at", "time", help="The versions of the aliases at a time (ISO 8601; local without a zone).")
@limited
@as_json
def history(name: str, alias: str | None, time: str | None, limit: int, json: bool) -> None:
    """Show who moved which alias when, from which version to which; newest first."""
    found, _ = _open(name)
    if time is not None:
        positions = found.aliases_at(time)
        chosen = {key: value for key, value in positions.items() if alias in {None, key}}
        if json:
            print_json(chosen)
        else:
            print_table(["ALIAS", "VERSION"], [[key, value] for key, value in sorted(chosen.items())])
        return
    changes = list(islice(found.history(alias), limit + 1))
    more, changes = len(changes) > limit, changes[:limit]
    if json:
        print_json([{**vars(change), "create_time": change.create_time.isoformat()} for change in changes])
        return
    rows = [
        [
            _second(change.create_time),
            change.principal,
            change.alias,
            change.previous_version or "-",
            change.version or "-",
        ]
        for change in changes
    ]
    print_table(["TIME", "WHO", "ALIAS", "FROM", "TO"], rows)
    print_rest(limit, more)


@model.command("rm")
@click.argument("name", metavar="MODEL[:ALIAS]")
@without_asking
@as_json
def remove(name: str, yes: bool, json: bool) -> None:
    """Delete a registered model with its links, or with :ALIAS one link; the linked versions stay."""
    found, alias = _open(name)
    if alias:
        link = found.version(alias)
        deleted = str(link.qualified_name)
        confirm(f"Remove the link {deleted} to {link.source_qualified_name}?", yes)
        link.unlink()
    else:
        deleted = str(found.qualified_name)
        confirm(f"Delete {deleted} with {plural(found.version_count, 'link')}?", yes)
        found.delete()
    if json:
        print_json({"deleted": deleted})
    else:
        echo(f"Deleted {deleted}")


def _open(name: str) -> tuple[RegisteredModel, str]:
    """A registered model, and the alias after its name."""
    ref = refs.parse(name)
    try:
        return Api().registered_model(str(refs.Ref(ref.entity, ref.project, ref.name))), ref.alias
    except errors.NotFound as error:
        stop = "" if str(error).endswith("?") else ";"
        raise errors.NotFound(f"{error}{stop} `modelyard model ls` lists them") from None


def _print_model(found: RegisteredModel) -> None:
    print_fields(
        [
            ("Registered model", found.qualified_name),
            ("Type", found.type),
            ("Tags", ", ".join(found.tags)),
            ("Versions", str(found.version_count)),
            ("Created", local_time(found._record.create_time)),
            ("Page", found.url if is_address(found.url) else ""),
        ]
    )
    if found.description:
        echo(f"\n{found.description.rstrip()}\n")
    links = found.versions()[: _VERSIONS_SHOWN + 1]
    rows = [
        [
            str(link.version),
            ", ".join(link.aliases),
            details.source_of(link),
            link.type,
        ]
        for link in links[:_VERSIONS_SHOWN]
    ]
    if rows:
        print_table(["VERSION", "ALIASES", "SOURCE VERSION", "TYPE"], rows)
    command = f"modelyard ls {shlex.quote(found.qualified_name)}"
    print_rest(_VERSIONS_SHOWN, len(links) > _VERSIONS_SHOWN, command)


def _second(time: datetime.datetime) -> str:
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S")
