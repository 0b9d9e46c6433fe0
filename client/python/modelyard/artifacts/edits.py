"""Changes of a logged version: what `Artifact.save` and `Artifact.link` send."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modelyard.artifacts.metadata import checked_metadata
from modelyard.contract import errors, refs
from modelyard.contract.values import identical
from modelyard.rpc import records, version_calls

if TYPE_CHECKING:
    from modelyard.artifacts.artifact import Artifact
    from modelyard.rpc.connection import Connection


def save(artifact: Artifact) -> None:
    """Sends what differs from the server's version, then takes over what the server has.

    Of tags and aliases only what this artifact's lists added and removed: what
    others changed since they were read stays.
    """
    connection, settings = artifact._remote("save")
    # Of a link whose source is not visible, the aliases alone can be changed.
    if artifact._version is not None or artifact.description or artifact.metadata or artifact.tags:
        version, _, _ = artifact._server("description, metadata and tags")
        changed = _changed(connection, artifact, version)
        if changed:
            version_calls.update_version(connection, version.id, changed)
    _move_aliases(connection, artifact)
    if artifact._link is not None:
        link = version_calls.get_link(connection, artifact._link.ref)
        artifact._become(connection, settings, link.source, link)
    else:
        artifact._become(connection, settings, version_calls.get_version(connection, artifact.id))


def _changed(connection: Connection, artifact: Artifact, version: records.Version) -> dict[str, Any]:
    """The fields of the version that differ from the server's."""
    changed: dict[str, Any] = {}
    if (artifact.description or "") != version.description:
        changed["description"] = artifact.description or ""
    if not identical(artifact.metadata, version.metadata):
        changed["metadata"] = checked_metadata(artifact.metadata)
    expires = None if artifact.ttl is None else version.create_time + artifact.ttl
    if not _same_moment(expires, version.expire_time):
        changed["expire_time"] = expires
    tags = artifact.tags
    if tags.added or tags.removed:
        stored = version_calls.get_version(connection, version.id).tags
        changed["tags"] = list(dict.fromkeys([*(t for t in stored if t not in tags.removed), *tags.added]))
    return changed


def _move_aliases(connection: Connection, artifact: Artifact) -> None:
    """Sets what was added and removes what was removed, in one step.

    An alias is removed only where it still stands here: one that somebody moved
    meanwhile stays where they put it.
    """
    holder = artifact._holder
    here = f"v{holder.number}"
    moves = dict.fromkeys(artifact.aliases.added, here)
    removed = artifact.aliases.removed
    while moves or removed:
        gone = dict.fromkeys(removed, "")
        try:
            version_calls.move_aliases(
                connection, collection_ref(holder), moves | gone, expected=dict.fromkeys(gone, here)
            )
        except errors.AliasChanged:
            there = _aliases_now(connection, artifact)
            removed = [alias for alias in removed if alias in there]
        else:
            return


def _aliases_now(connection: Connection, artifact: Artifact) -> tuple[str, ...]:
    if artifact._link is not None:
        return version_calls.get_link(connection, artifact._link.ref).aliases
    return version_calls.get_version(connection, artifact.id).aliases


def collection_ref(holder: records.Version | records.Link) -> str:
    """`entity/project/name` of what a version or a link belongs to."""
    return f"{holder.entity}/{holder.project}/{holder.name}"


def link(artifact: Artifact, target_path: str, aliases: Sequence[str] | str | None = None) -> Artifact:
    """Links the version; the link as an artifact."""
    from modelyard.artifacts.artifact import Artifact

    version, connection, settings = artifact._server("link")
    target = target_ref(target_path, settings.entity or version.entity)
    made = version_calls.link(connection, version.id, target, alias_list(aliases))
    return Artifact._of(connection, settings, made.source, made)


def target_ref(target_path: str, entity: str) -> str:
    """`entity/project/name` of a registered model: `entity` and `model-registry` where they are left out."""
    ref = refs.parse(target_path)
    if ref.alias:
        raise ValueError(f"{target_path!r}: a target has no alias or version; pass aliases=[…]")
    owner = ref.entity or entity
    return f"{owner}/{ref.project or refs.REGISTRY_PROJECT}/{ref.name}".lstrip("/")


def alias_list(aliases: Sequence[str] | str | None) -> list[str]:
    """Aliases as users give them: none, one, or several. ValueError when one is no alias.

    `latest` is left out: every version and link gets it anyway.
    """
    given = [aliases] if isinstance(aliases, str) else list(aliases or ())
    return [refs.check_alias(alias) for alias in dict.fromkeys(given) if alias != refs.LATEST]


def _same_moment(one: datetime.datetime | None, other: datetime.datetime | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) < datetime.timedelta(seconds=1)
