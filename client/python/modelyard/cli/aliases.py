"""`modelyard alias …` and `modelyard tag`."""

from __future__ import annotations

import click

from modelyard.artifacts.server_version import collection_ref
from modelyard.cli import details
from modelyard.cli.lookup import open_artifact, open_collection, open_version
from modelyard.cli.output import as_json, print_json, print_table
from modelyard.configuration.settings import current
from modelyard.contract import errors, refs
from modelyard.contract.streams import echo
from modelyard.rpc import version_calls
from modelyard.workspace import Workspace

NOWHERE = "none"


@click.group()
def alias() -> None:
    """List, set, move and remove aliases of versions and links."""


@alias.command("ls")
@click.argument("name", metavar="NAME")
@as_json
def list_aliases(name: str, json: bool) -> None:
    """List the aliases of an artifact or registered model, with the version of each."""
    if refs.parse(name).alias:
        raise click.UsageError(f"{name!r} names a version; `modelyard show` lists its aliases")
    found = open_collection(Workspace(current()), name)
    positions = {each: version for version in found.versions(per_page=1_000) for each in version.aliases}
    if json:
        numbers = {each: str(version.version) for each, version in sorted(positions.items())}
        print_json({"ref": found.qualified_name, "aliases": numbers})
        return
    if not positions:
        echo(f"{found.qualified_name} has no aliases", err=True)
        return
    source = found._record.registered
    rows = [
        [each, str(version.version), *([details.source_of(version)] if source else [])]
        for each, version in sorted(positions.items())
    ]
    print_table(["ALIAS", "VERSION", *(["SOURCE VERSION"] if source else [])], rows)


@alias.command("set")
@click.argument("ref", metavar="NAME:VERSION")
@click.argument("aliases", nargs=-1, required=True, metavar="ALIAS...")
@click.option("--from", "before", metavar="vN|none", help="Only if it points there now, else exit code 1.")
@as_json
def set_aliases(ref: str, aliases: tuple[str, ...], before: str | None, json: bool) -> None:
    """Set each ALIAS on a version or link, moving it from any other, all in one step."""
    for each in aliases:
        if refs.version_number(each) is not None:
            raise ValueError(
                f"{each!r} looks like a version number: write it after the name, NAME:{each} ALIAS"
            )
    workspace = Workspace(current())
    version, link = open_version(workspace, ref)
    holder = link or version
    moves = {refs.check_alias(each): f"v{holder.number}" for each in aliases}
    expected = None if before is None else dict.fromkeys(moves, "" if before == NOWHERE else before)
    moved = version_calls.move_aliases(workspace.connection, collection_ref(holder), moves, expected=expected)
    _say(f"{', '.join(moves)} → {holder.ref}", moved, json)


@alias.command("rm")
@click.argument("ref", metavar="NAME[:VERSION]")
@click.argument("aliases", nargs=-1, required=True, metavar="ALIAS...")
@as_json
def remove_aliases(ref: str, aliases: tuple[str, ...], json: bool) -> None:
    """Remove each ALIAS of an artifact or registered model; with :VERSION only if it points there."""
    workspace = Workspace(current())
    moves = dict.fromkeys(aliases, "")
    expected = None
    if refs.parse(ref).alias:
        version, link = open_version(workspace, ref)
        holder = link or version
        collection = collection_ref(holder)
        expected = dict.fromkeys(moves, f"v{holder.number}")
    else:
        found = open_collection(workspace, ref)
        collection = found.qualified_name
        known = found.aliases  # read once: each time it lists all versions
        if unknown := [name for name in aliases if name not in known]:
            names = ", ".join(unknown)
            raise errors.NotFound(f"{collection} has no alias {names}; `modelyard alias ls` lists them")
    moved = version_calls.move_aliases(workspace.connection, collection, moves, expected=expected)
    _say(f"Removed {', '.join(moves)} from {collection}", moved, json)


@click.command()
@click.argument("ref")
@click.argument("tags", nargs=-1, metavar="[TAG]...")
@click.option("--rm", "removed", multiple=True, metavar="TAG", help="Tag to remove; may be repeated.")
@as_json
def tag(ref: str, tags: tuple[str, ...], removed: tuple[str, ...], json: bool) -> None:
    """Add tags to a version (name:vN, name:alias), an artifact or a registered model (name); print all.

    The tags of a link are those of its source.
    """
    workspace = Workspace(current())
    is_version = bool(refs.parse(ref).alias)
    thing = open_artifact(workspace, ref) if is_version else open_collection(workspace, ref)
    for each in removed:
        if each not in thing.tags:
            raise errors.Error(f"{thing.qualified_name} has no tag {each!r}")
        thing.tags.remove(each)
    thing.tags.extend(tags)
    if tags or removed:
        thing.save()
    if json:
        print_json({"ref": thing.qualified_name, "tags": list(thing.tags)})
    else:
        echo("\n".join(thing.tags) if thing.tags else f"{thing.qualified_name} has no tags")


def _say(text: str, positions: dict[str, str], json: bool) -> None:
    if json:
        print_json({"aliases": positions})
    else:
        echo(text)
