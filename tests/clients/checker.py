"""`modelyard server fsck`, as a process, and what it reports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from modelyard_server.fsck import report, run
from modelyard_server.settings import Location
from tests.parts.server import run_server_command


class Checked(NamedTuple):
    """How a run of the checker ended."""

    code: int
    report: Any

    @property
    def kinds(self) -> set[str]:
        """The kinds of what was found."""
        return {finding["kind"] for finding in self.report["findings"]}

    @property
    def damage(self) -> list[str]:
        """What is damaged, in words."""
        return [each["message"] for each in self.report["findings"] if each["severity"] == "damage"]

    def versions(self, kind: str) -> set[str]:
        """The versions that findings of a kind touch, without the project."""
        return {
            version["ref"].rpartition("/")[2]
            for finding in self.report["findings"]
            if finding["kind"] == kind
            for version in finding["versions"]
        }


def fsck_here(location: Location, *, read_percent: float = 100.0) -> Checked:
    """The same in this process, which takes a tenth of the time."""
    lines: list[str] = []
    shown = report.Document(lines.append)
    results = run.check(location, run.Wanted(read_percent), shown.show)
    shown.end(results)
    return Checked(report.exit_code(results), json.loads("".join(lines)))


def fsck(place: Sequence[str], env: Mapping[str, str], *options: str) -> Checked:
    """Checks the database and the store that the options of `place` name."""
    done = run_server_command("fsck", *place, "--json", *options, env=env)
    assert done.returncode in (0, 1, 2), done.stderr
    assert done.stdout, done.stderr
    return Checked(done.returncode, json.loads(done.stdout))
