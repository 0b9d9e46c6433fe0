"""docker/compose.yaml without containers: the same programs, arguments and environment on free ports."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.parts.processes import require

DOCKER = Path(__file__).parents[2] / "docker"
_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::\?[^}]*)?\})")


class Composition:
    """The services, with `${…}` replaced from `variables`, and each `host:port` by its place in `places`."""

    def __init__(self, variables: Mapping[str, str], places: Mapping[str, str]) -> None:
        self._variables = dict(variables)
        self._places = dict(places)
        document = yaml.safe_load((DOCKER / "compose.yaml").read_text())
        self.services: dict[str, dict[str, Any]] = document["services"]
        self.volumes: dict[str, None] = document["volumes"]

    def environment(self, service: str) -> dict[str, str]:
        """A service's environment."""
        found = self.services[service].get("environment", {})
        return {name: self._filled(value) for name, value in found.items()}

    def command(self, service: str) -> list[str]:
        """A service's whole command line: its own entry point or the image's, then the command."""
        own = self.services[service]
        entrypoint = own.get("entrypoint") or image_of(own)["ENTRYPOINT"]
        command = own.get("command", [])
        words = command.split() if isinstance(command, str) else command
        return [self._filled(word) for word in (*entrypoint, *words)]

    def _filled(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            return "$" if match[1] else self._variables[match[2]]

        filled = _VARIABLE.sub(value, text)
        for old, new in self._places.items():
            filled = filled.replace(old, new)
        return filled


def image_of(service: Mapping[str, Any]) -> dict[str, Any]:
    """The instructions of the last stage of the service's Dockerfile; HEALTHCHECK is its command."""
    context = (DOCKER / service["build"]["context"]).resolve()
    return last_stage(context / service["build"]["dockerfile"])


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Instructions and what follows them, continuation lines joined."""
    text = "\n".join(line for line in dockerfile.read_text().splitlines() if not line.startswith("#"))
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines if line.strip()]


def last_stage(dockerfile: Path) -> dict[str, Any]:
    """What the image runs: each instruction once, lists as lists."""
    found: dict[str, Any] = {}
    for name, rest in instructions(dockerfile):
        if name == "FROM":
            found = {}
        value = rest.rpartition("CMD ")[2] if name == "HEALTHCHECK" else rest
        found[name] = yaml.safe_load(value) if value.startswith("[") else value
    return found


def haproxy() -> Path:
    """HAProxy's program; skips the test where there is none."""
    return require(shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin"), "HAProxy")


def accepts(port: int) -> bool:
    """Whether somebody listens on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
