"""`modelyard artifact …`: artifacts and their versions."""

from __future__ import annotations

from pathlib import Path

import click

from modelyard.cli import ls_show
from modelyard.cli.lookup import open_artifact
from modelyard.cli.output import as_json, confirm, limited, print_json, without_asking
from modelyard.cli.tables import print_records
from modelyard.configuration.settings import current
from modelyard.contract import errors, refs
from modelyard.contract.streams import echo
from modelyard.host.terminal import plural
from modelyard.query import conditions
from modelyard.rpc import collection_calls, list_calls
from modelyard.workspace import Workspace


@click.group()
def artifact() -> None:
    """List, show, download, verify and delete artifacts and their versions."""


@artifact.command("ls")
@click.argument("what", required=False, metavar="[PROJECT|ARTIFACT]")
@click.option("--type", "type_name", help="Only artifacts of this type.")
@click.option("--filter", "condition", default="", help="Only what matches a filter.")
@click.option("--order", default="", help="Field, with ` desc` after it for the largest first.")
@limited
@as_json
def list_artifacts(
    what: str | None, type_name: str | None, condition: str, order: str, limit: int, json: bool
) -> None:
    """List the artifacts of a PROJECT ([entity/]project; default: all), or the versions of an ARTIFACT.

    An ARTIFACT is project/name or entity/project/name.
    """
    workspace = Workspace(current())
    text = (what or "").rstrip("/")
    if "/" in text:
        found = collection_calls.find_artifact(workspace.connection, _path(workspace, text))
        if found is not None:
            versions = list_calls.versions(workspace.connection, found.id, condition, order)
            print_records("versions", versions, limit, json)
            return
    entity, project = ["", *text.split("/")][-2:]
    wanted = conditions.both(f"type = {conditions.quoted(type_name)}" if type_name else "", condition)
    owner = entity or workspace.settings.entity or ""
    listed = list_calls.artifacts(workspace.connection, owner, project, wanted, order)
    print_records("artifacts", listed, limit, json)


artifact.add_command(ls_show.show)


@artifact.command()
@click.argument("ref")
@click.option("--root", type=click.Path(file_okay=False), help="Folder. Default: ./artifacts/<name:vN>.")
@click.option("--path-prefix", default="", help="Only files whose path starts so.")
@click.option("--skip-cache", is_flag=True, help="Do not use the local cache.")
@as_json
def download(ref: str, root: str | None, path_prefix: str, skip_cache: bool, json: bool) -> None:
    """Download the files of the version REF and print the folder."""
    found = open_artifact(Workspace(current()), ref)
    folder = found.download(root, skip_cache=skip_cache, path_prefix=path_prefix or None)
    if json:
        print_json({"path": folder, "version": found.source_qualified_name})
    else:
        echo(folder)


@artifact.command()
@click.argument("ref")
@click.option("--root", type=click.Path(file_okay=False), help="Folder. Default: ./artifacts/<name:vN>.")
@as_json
def verify(ref: str, root: str | None, json: bool) -> None:
    """Check that a downloaded folder has the files of the version REF, unchanged, and no others.

    Exit code 1 when a file is missing, differs or is not part of the version.
    """
    workspace = Workspace(current())
    found = open_artifact(workspace, ref)
    found.verify(root)
    folder = Path(root).absolute() if root else workspace.settings.artifact_root / found.source_name
    if json:
        print_json({"path": str(folder), "version": found.source_qualified_name, "files": found.file_count})
    else:
        echo(f"{folder} is {found.source_qualified_name}: {plural(found.file_count, 'file')}, all unchanged")


@artifact.command("sha256")
@click.argument("ref")
@as_json
def sha256(ref: str, json: bool) -> None:
    """Print the SHA-256 of each file of the version REF, for `sha256sum --check` in a downloaded folder.

    The server reads large files once for it.
    """
    found = open_artifact(Workspace(current()), ref)
    sums = found.sha256sums()
    if json:
        print_json({"version": found.source_qualified_name, "files": sums})
        return
    for path, digest in sums.items():
        # sha256sum writes a line with a backslash in the path like this.
        mark = "\\" if "\\" in path else ""
        echo(mark + digest + "  " + path.replace("\\", "\\\\"))


@artifact.command("rm")
@click.argument("ref")
@click.option("--force", is_flag=True, help="Also when it has aliases or links; they are deleted too.")
@without_asking
@as_json
def remove(ref: str, force: bool, yes: bool, json: bool) -> None:
    """Delete a version (name:vN or name:alias), or an artifact with all of its versions (name).

    Through a registered model only the link is removed. Version numbers are not used again.
    """
    workspace = Workspace(current())
    if refs.parse(ref).alias:
        version = open_artifact(workspace, ref)
        confirm(f"Delete {'the link ' if version.is_link else ''}{version.qualified_name}?", yes)
        version.delete(force)
        _say_deleted(version.qualified_name, json)
        return
    found = collection_calls.find_artifact(workspace.connection, workspace.resolver().full(ref))
    if found is None:
        raise errors.NotFound(f"{ref}: no such artifact; `modelyard model rm` deletes registered models")
    confirm(f"Delete {found.ref} with {plural(found.version_count, 'version')}?", yes)
    collection_calls.delete_artifact(workspace.connection, found.id, delete_aliases=force)
    _say_deleted(found.ref, json)


def _path(workspace: Workspace, text: str) -> str:
    """`entity/project/name` of an artifact."""
    return workspace.resolver().full(str(refs.parse(text).without_alias()))


def _say_deleted(ref: str, json: bool) -> None:
    if json:
        print_json({"deleted": ref})
    else:
        echo(f"Deleted {ref}")
