"""Changes of a logged version: what `Artifact.save` and `Artifact.link` send."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modelyard import catalog, refs
from modelyard.metadata import checked_metadata

if TYPE_CHECKING:
    from modelyard.artifact import Artifact


def save(artifact: Artifact) -> None:
    """Sends what differs from the server's version, then takes over what the server has."""
    version, connection, settings = artifact._server("save")
    changed: dict[str, Any] = {}
    if (artifact.description or "") != version.description:
        changed["description"] = artifact.description or ""
    if artifact.metadata != version.metadata:
        changed["metadata"] = checked_metadata(artifact.metadata)
    if sorted(artifact.tags) != sorted(version.tags):
        changed["tags"] = [refs.check_tag(tag) for tag in artifact.tags]
    expires = None if artifact.ttl is None else version.create_time + artifact.ttl
    if not _same_moment(expires, version.expire_time):
        changed["expire_time"] = expires
    if changed:
        catalog.update_version(connection, version.id, changed)
    holder = artifact._link or version
    moves = {alias: "" for alias in holder.aliases if alias not in artifact.aliases}
    for alias in artifact.aliases:
        if alias not in holder.aliases:
            moves[refs.check_alias(alias)] = f"v{holder.number}"
    catalog.move_aliases(connection, f"{holder.entity}/{holder.project}/{holder.name}", moves)
    link = artifact._link and catalog.get_link(connection, artifact._link.ref)
    fresh = link.source if link else catalog.get_version(connection, version.id)
    artifact._become(connection, settings, fresh, link)


def link(artifact: Artifact, target_path: str, aliases: Sequence[str] | str | None = None) -> Artifact:
    """Links the version; the link as an artifact."""
    from modelyard.artifact import Artifact

    version, connection, settings = artifact._server("link")
    target = target_ref(target_path, settings.entity or version.entity)
    made = catalog.link(connection, version.id, target, alias_list(aliases))
    return Artifact._of(connection, settings, made.source, made)


def target_ref(target_path: str, entity: str) -> str:
    """`entity/project/name` of a registered model: `entity` and `model-registry` where they are left out."""
    ref = refs.parse(target_path)
    if ref.alias:
        raise ValueError(f"{target_path!r}: a target has no alias or version; pass aliases=[…]")
    return f"{ref.entity or entity}/{ref.project or refs.REGISTRY_PROJECT}/{ref.name}"


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
