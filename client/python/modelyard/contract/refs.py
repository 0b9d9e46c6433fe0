"""The grammar of references and names.

`[[entity/]project/]name[:alias|:vN]`. Every function here raises ValueError
with a message that says what is wrong; callers add the field.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from modelyard.contract.limits import NAME_LENGTH, PATH_BYTES, PATH_PARTS

DEFAULT_PROJECT = "uncategorized"
DEFAULT_ENTITY = "local"
REGISTRY_PROJECT = "model-registry"
REGISTRY_PREFIX = "wandb-registry-"
LATEST = "latest"
ARTIFACT_SCHEME = "wandb-artifact://"


_ARTIFACT_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,128}")
_MODEL_NAME = re.compile(r"[A-Za-z0-9_.\-](?:[A-Za-z0-9_.\- ]{0,126}[A-Za-z0-9_.\-])?")
_RUN_ID = re.compile(r"[A-Za-z0-9_\-]{1,128}")
_VERSION = re.compile(r"v(0|[1-9][0-9]{0,17})")
_LOOKS_LIKE_VERSION = re.compile(r"v[0-9]+")
_TAG = re.compile(r"[-\w]+( +[-\w]+)*")
_BIDI = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}


@dataclass(frozen=True)
class Ref:
    """A parsed reference. Empty entity or project: the default; empty alias: `latest`."""

    entity: str
    project: str
    name: str
    alias: str = ""

    @property
    def number(self) -> int | None:
        """The version number when the alias is `vN`."""
        return version_number(self.alias)

    def within(self, entity: str, project: str) -> Ref:
        """The reference with this entity and project where it names none."""
        return Ref(self.entity or entity, self.project or project, self.name, self.alias)

    def without_alias(self) -> Ref:
        """The reference of the artifact or registered model itself."""
        return Ref(self.entity, self.project, self.name)

    def __str__(self) -> str:
        path = "/".join(part for part in (self.entity, self.project, self.name) if part)
        return f"{path}:{self.alias}" if self.alias else path


def parse(text: str) -> Ref:
    """Parses the ref of an artifact, a registered model, or a version of one. Raises ValueError."""
    parts = text.split("/")
    if len(parts) > 3:
        raise ValueError(f"{text!r} has more than three parts: expected [[entity/]project/]name[:alias]")
    name, colon, alias = parts[-1].partition(":")
    if colon and not alias:
        raise ValueError(f"{text!r} ends in ':' without an alias or version")
    check_model_name(name)
    if alias and version_number(alias) is None:
        check_alias(alias)
    entity, project = ["", "", *parts[:-1]][-2:]
    if len(parts) == 3:
        check_owner(entity, "entity")
    if len(parts) >= 2:
        check_owner(project, "project")
    return Ref(entity, project, name, alias)


def parse_artifact_uri(text: str) -> tuple[str, str]:
    """The version of `wandb-artifact://[server/]…`, by id (`_id/<id>`) or by reference: one is empty.

    The server's address is not looked at. ValueError for another text.
    """
    if not text.startswith(ARTIFACT_SCHEME):
        raise ValueError(f"{text[:200]!r} does not start with {ARTIFACT_SCHEME}")
    parts = text.removeprefix(ARTIFACT_SCHEME).split("/")
    if len(parts) >= 2 and parts[-2] == "_id":
        return parts[-1], ""
    return "", str(parse("/".join(parts[-3:])))


def parse_run(text: str) -> Ref:
    """The reference of a run, `[[entity/]project/]run_id`; its name is the short id."""
    parts = text.split("/")
    if len(parts) > 3:
        raise ValueError(f"{text[:200]!r} has more than three parts: expected [[entity/]project/]run_id")
    entity, project, run_id = ["", "", *parts][-3:]
    if len(parts) == 3:
        check_owner(entity, "entity")
    if len(parts) >= 2:
        check_owner(project, "project")
    return Ref(entity, project, check_run_id(run_id))


def link_target(text: str, entity: str, project: str = REGISTRY_PROJECT) -> str:
    """`entity/project/name` of a registered model, with this entity and project where it names none.

    ValueError for a reference with an alias or version.
    """
    ref = parse(text)
    if ref.alias:
        raise ValueError(f"{text!r}: a target has no alias or version; pass aliases=[…]")
    return str(ref.within(entity, project))


def alias_list(aliases: Iterable[str] | str | None) -> list[str]:
    """None, one alias or several, as a list of distinct ones. ValueError for a text that is no alias.

    `latest` is left out: the server sets it on every new version and link.
    """
    given = [aliases] if isinstance(aliases, str) else list(aliases or ())
    return [check_alias(alias) for alias in dict.fromkeys(given) if alias != LATEST]


def version_number(alias: str) -> int | None:
    """N of `vN`; None for any other alias."""
    match = _VERSION.fullmatch(alias)
    return int(match[1]) if match else None


def is_registry(project: str) -> bool:
    """Whether a project is a registry: it holds registered models only."""
    return project == REGISTRY_PROJECT or (
        project.startswith(REGISTRY_PREFIX) and len(project) > len(REGISTRY_PREFIX)
    )


def check_artifact_name(name: str) -> str:
    """1 to 128 of [A-Za-z0-9_.-], not `.` or `..`."""
    if not _ARTIFACT_NAME.fullmatch(name) or name in {".", ".."}:
        raise ValueError(
            "Artifact name may only contain alphanumeric characters, dashes, underscores, and dots. "
            f"Invalid name: {name[:200]!r}"
        )
    return name


def artifact_name(text: str) -> str:
    """Makes a text the name of an artifact: each character that is not allowed becomes `-`."""
    name = re.sub(r"[^A-Za-z0-9_.\-]", "-", text)[:NAME_LENGTH]
    return check_artifact_name(name if name.strip(".") else f"{name}-")


def check_model_name(name: str) -> str:
    """1 to 128 letters, digits, inner spaces, `_`, `.` and `-`, not `.` or `..`."""
    if not _MODEL_NAME.fullmatch(name) or name in {".", ".."}:
        raise ValueError(
            "a name has 1 to 128 letters, digits, spaces (not at the ends), dashes, underscores and dots. "
            f"Invalid name: {name[:200]!r}"
        )
    return name


def check_owner(name: str, what: str) -> str:
    """An entity or a project: 1 to 128 of [A-Za-z0-9_.-], not `.` or `..`."""
    if not _ARTIFACT_NAME.fullmatch(name) or name in {".", ".."}:
        raise ValueError(
            f"{what} may only contain alphanumeric characters, dashes, underscores, and dots "
            f"(1 to 128). Invalid: {name[:200]!r}"
        )
    return name


def check_run_id(run_id: str) -> str:
    """1 to 128 of [A-Za-z0-9_-]."""
    if not _RUN_ID.fullmatch(run_id):
        raise ValueError(
            f"run id may only contain letters, digits, _ and - (1 to 128). Invalid: {run_id[:200]!r}"
        )
    return run_id


def check_alias(alias: str) -> str:
    """1 to 128 characters without `/`, `:`, control characters or outer spaces; not `v` and digits."""
    if not alias or len(alias) > NAME_LENGTH:
        raise ValueError("an alias has 1 to 128 characters")
    if "/" in alias or ":" in alias:
        raise ValueError(f"an alias must not contain '/' or ':'. Invalid alias: {alias!r}")
    if _LOOKS_LIKE_VERSION.fullmatch(alias):
        raise ValueError(f"{alias!r} looks like a version number and cannot be an alias")
    if alias != alias.strip() or alias in {".", ".."} or "%" in alias:
        raise ValueError(
            f"an alias must not start or end with a space, hold '%', or be '.' or '..'. Invalid: {alias!r}"
        )
    check_text(alias, limit=NAME_LENGTH)
    return alias


def check_tag(tag: str) -> str:
    """Words of letters, digits, `_` and `-`, at most 128 characters."""
    if len(tag) > NAME_LENGTH or not _TAG.fullmatch(tag):
        raise ValueError(
            f"Invalid tag {tag[:200]!r}: a tag has words of letters, digits, _ and - (1 to 128 characters)"
        )
    return tag


def check_text(text: str, *, limit: int, lines: bool = False) -> str:
    """Text without control or bidirectional-override characters, at most `limit` characters.

    With `lines`, tabs and line breaks are allowed.
    """
    if len(text) > limit:
        raise ValueError(f"longer than {limit} characters")
    if text.isascii() and text.isprintable():
        return text  # the fast path: manifests have thousands of paths
    for char in text:
        if lines and char in "\n\r\t":
            continue
        if ord(char) in _BIDI or unicodedata.category(char) in {"Cc", "Cs"}:
            raise ValueError(f"holds the character U+{ord(char):04X}, which is not allowed here")
    return text


def check_manifest_path(path: str) -> str:
    """Relative, `/` between parts, none empty, `.` or `..`; no control character; 1,024 bytes, 32 parts."""
    if not path or len(path.encode("utf-8", "surrogatepass")) > PATH_BYTES:
        raise ValueError(f"a path has 1 to {PATH_BYTES} bytes")
    parts = path.split("/")
    if len(parts) > PATH_PARTS:
        raise ValueError(f"{path[:200]!r} is deeper than {PATH_PARTS} levels")
    if any(part in {"", ".", ".."} for part in parts):
        raise ValueError(f"{path[:200]!r} must be relative, without empty parts, '.' or '..'")
    try:
        return check_text(path, limit=PATH_BYTES)
    except ValueError as error:
        raise ValueError(f"{path[:200]!r} {error}") from error
