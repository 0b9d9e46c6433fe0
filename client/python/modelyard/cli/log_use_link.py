"""`modelyard log`, `use` and `link`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from modelyard.artifacts import cached_use, draft
from modelyard.cli.lookup import open_version
from modelyard.cli.output import as_json, print_json
from modelyard.configuration.settings import Settings, current
from modelyard.contract import refs
from modelyard.contract.streams import echo
from modelyard.host.terminal import human_bytes, plural
from modelyard.query import page_addresses
from modelyard.rpc import messages, records, version_calls
from modelyard.runs.report import view_line
from modelyard.transfer import transfer
from modelyard.transfer.progress import SILENT, Progress
from modelyard.workspace import Workspace


class _PathOrUri(click.Path):
    """An existing path, or a URI as it is."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        return str(value) if "://" in str(value) else super().convert(value, param, ctx)


@click.command()
@click.argument("path", type=_PathOrUri(exists=True))
@click.option("--project", help="Project, or entity/project. Default: MODELYARD_PROJECT, else uncategorized.")
@click.option("--name", help="Name of the artifact. Default: the basename of PATH.")
@click.option("--alias", "aliases", multiple=True, help="Alias to set besides latest; may be repeated.")
@click.option("--type", "type_name", help="Type of the artifact. Default: the type the name has, else model.")
@click.option("--description", default="", help="Free text.")
@as_json
def log(
    path: str,
    project: str | None,
    name: str | None,
    aliases: tuple[str, ...],
    type_name: str | None,
    description: str,
    json: bool,
) -> None:
    """Log the file or folder at PATH as a version. No run is made.

    PATH may be a URI, such as s3://bucket/prefix: then only the locations of the objects are recorded.
    Content that a version of the name has already makes no new one.
    """
    workspace = Workspace(current())
    entity, where = _entity_and_project(project, workspace.settings)
    files, references = draft.content_at(path)
    name = refs.check_artifact_name(name or Path(path).absolute().name)
    version = transfer.NewVersion(
        entity=entity,
        project=where,
        name=name,
        type=type_name or "",
        description=description,
        aliases=refs.alias_list(aliases),
    )
    message, created = transfer.upload(
        workspace.connection,
        version,
        files,
        references=references,
        progress=_bar(json),
        cache=workspace.cache,
    )
    found = messages.version(message)
    if json:
        print_json({**records.as_json(found), "created": created})
        return
    size = f"{plural(found.file_count, 'file')}, {human_bytes(found.size_bytes)}"
    named = f"; aliases: {', '.join(found.aliases)}" if found.aliases else ""
    echo(f"{'Logged' if created else 'Unchanged:'} {found.ref} ({size}){named}")
    echo(f"Use it: modelyard use {found.ref}", err=True)
    echo(view_line(page_addresses.of_version(workspace.connection, found), "it"), err=True)


@click.command()
@click.argument("ref")
@click.option("--root", type=click.Path(file_okay=False), help="Folder. Default: ./artifacts/<name:vN>.")
@as_json
def use(ref: str, root: str | None, json: bool) -> None:
    """Download the version that REF means, and print where it is."""
    workspace = Workspace(current())
    version, link = open_version(workspace, ref)
    default = workspace.settings.artifact_root / f"{version.name}:v{version.number}"
    folder = Path(root).absolute() if root else default
    transfer.download(workspace.connection, version, folder, cache=workspace.cache, progress=_bar(json))
    cached_use.keep(workspace.settings, version, link)
    if json:
        through = {"link": link.ref} if link else {}
        print_json({"path": str(folder), **through, "version": records.as_json(version)})
    else:
        echo(str(folder))


@click.command()
@click.argument("ref")
@click.argument("model")
@click.option("--alias", "aliases", multiple=True, help="Alias to set on the link; may be repeated.")
@as_json
def link(ref: str, model: str, aliases: tuple[str, ...], json: bool) -> None:
    """Link the version REF into the registered MODEL, which is created if needed.

    MODEL is name, project/name or entity/project/name; a bare name means model-registry.
    """
    workspace = Workspace(current())
    version, _ = open_version(workspace, ref)
    target = refs.link_target(model, workspace.settings.entity or version.entity)
    made = version_calls.link(workspace.connection, version.id, target, refs.alias_list(aliases))
    if json:
        print_json(records.as_json(made))
    else:
        echo(f"Linked {version.ref} as {made.ref} ({', '.join(made.aliases)})")
        echo(view_line(page_addresses.of_version(workspace.connection, made), "it"), err=True)


def _entity_and_project(text: str | None, settings: Settings) -> tuple[str, str]:
    """Entity and project; empty for the server's default."""
    entity, _, project = (text or settings.project or "").rpartition("/")
    if entity:
        refs.check_owner(entity, "entity")
    if project:
        refs.check_owner(project, "project")
    return entity or settings.entity or "", project


def _bar(json: bool) -> Progress | None:
    """No progress bar with JSON; None: a bar on a terminal."""
    return SILENT if json else None
