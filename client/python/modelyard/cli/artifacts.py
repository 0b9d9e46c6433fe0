"""`modelyard artifact …`: artifacts and their versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelyard.cli import ls_show
from modelyard.cli.output import as_json, confirm, limited, print_json, without_asking
from modelyard.configuration.settings import Settings, current
from modelyard.contract import refs
from modelyard.contract.streams import echo

if TYPE_CHECKING:
    from modelyard.artifacts.artifact import Artifact
    from modelyard.rpc.connection import Connection


@click.group()
def artifact() -> None:
    """List, show, download, verify and delete artifacts and their versions."""


@artifact.command("ls")
@click.argument("what", required=False, metavar="[PROJECT|ARTIFACT]")
@click.option("--type", "kind", help="Only artifacts of this type.")
@click.option("--filter", "condition", default="", help="Only what a filter lets through.")
@click.option("--order", default="", help="Field, with ` desc` behind for the largest first.")
@limited
@as_json
def list_artifacts(
    what: str | None, kind: str | None, condition: str, order: str, limit: int, json: bool
) -> None:
    """List the artifacts of a PROJECT ([entity/]project; default: all), or the versions of an ARTIFACT.

    An ARTIFACT is project/name or entity/project/name.
    """
    from modelyard.cli.tables import print_records
    from modelyard.query import conditions
    from modelyard.rpc import list_calls, version_calls
    from modelyard.rpc.connection import connect

    settings = current()
    connection = connect(settings)
    text = (what or "").rstrip("/")
    if "/" in text:
        found = version_calls.find_artifact(connection, _full(text, settings))
        if found is not None:
            versions = list_calls.versions(connection, found.id, condition, order)
            print_records("versions", versions, limit, json)
            return
    entity, project = ["", *text.split("/")][-2:]
    wanted = conditions.both(f"type = {conditions.quoted(kind)}" if kind else "", condition)
    listed = list_calls.artifacts(connection, entity or settings.entity or "", project, wanted, order)
    print_records("artifacts", listed, limit, json)


artifact.add_command(ls_show.show)


@artifact.command()
@click.argument("ref")
@click.option("--root", type=click.Path(file_okay=False), help="Folder. Default: ./artifacts/<name:vN>.")
@click.option("--path-prefix", default="", help="Only files whose path starts so.")
@click.option("--skip-cache", is_flag=True, help="Leave the local cache alone.")
@as_json
def download(ref: str, root: str | None, path_prefix: str, skip_cache: bool, json: bool) -> None:
    """Download the files of the version REF and print the folder."""
    from modelyard.rpc.connection import connect

    settings = current()
    found = _open(connect(settings), settings, ref)
    place = found.download(root, skip_cache=skip_cache, path_prefix=path_prefix or None)
    if json:
        print_json({"path": place, "version": found.source_qualified_name})
    else:
        echo(place)


@artifact.command()
@click.argument("ref")
@click.option("--root", type=click.Path(file_okay=False), help="Folder. Default: ./artifacts/<name:vN>.")
@as_json
def verify(ref: str, root: str | None, json: bool) -> None:
    """Check that a downloaded folder holds the version REF, whole and unchanged.

    Exit code 1 when a file is missing, differs or does not belong.
    """
    from modelyard.host.terminal import plural
    from modelyard.rpc.connection import connect

    settings = current()
    found = _open(connect(settings), settings, ref)
    found.verify(root)
    place = Path(root).absolute() if root else settings.artifact_root / found.source_name
    if json:
        print_json({"path": str(place), "version": found.source_qualified_name, "files": found.file_count})
    else:
        echo(f"{place} is {found.source_qualified_name}: {plural(found.file_count, 'file')}, all whole")


@artifact.command("rm")
@click.argument("ref")
@click.option("--delete-aliases", is_flag=True, help="Also when it has aliases or is linked; those go too.")
@without_asking
@as_json
def remove(ref: str, delete_aliases: bool, yes: bool, json: bool) -> None:
    """Delete a version (name:vN or name:alias), or an artifact with all of its versions (name).

    Through a registered model the link alone is removed. Numbers never come back.
    """
    from modelyard.cli.names import candidates
    from modelyard.contract import errors
    from modelyard.host.terminal import plural
    from modelyard.rpc import version_calls
    from modelyard.rpc.connection import connect

    settings = current()
    connection = connect(settings)
    parsed = refs.parse(ref)
    if parsed.alias:
        version = _open(connection, settings, ref)
        confirm(f"Delete {'the link ' if version.is_link else ''}{version.qualified_name}?", yes)
        version.delete(delete_aliases)
        _say_deleted(version.qualified_name, json)
        return
    for candidate in candidates(parsed, settings):
        found = version_calls.find_artifact(connection, str(candidate))
        if found is not None:
            confirm(f"Delete {found.ref} with {plural(found.version_count, 'version')}?", yes)
            version_calls.delete_artifact(connection, found.id, delete_aliases=delete_aliases)
            _say_deleted(found.ref, json)
            return
    raise errors.NotFound(f"{ref}: no such artifact; `modelyard model rm` deletes registered models")


def _open(connection: Connection, settings: Settings, ref: str) -> Artifact:
    from modelyard.artifacts.artifact import Artifact
    from modelyard.cli.names import open_version

    version, link = open_version(connection, settings, ref)
    return Artifact._of(connection, settings, version, link)


def _full(text: str, settings: Settings) -> str:
    ref = refs.parse(text)
    return str(refs.Ref(ref.entity or settings.entity or "", ref.project, ref.name))


def _say_deleted(ref: str, json: bool) -> None:
    if json:
        print_json({"deleted": ref})
    else:
        echo(f"Deleted {ref}")
