"""The report of the checks: lines for people, or one JSON document for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from modelyard_server.fsck.findings import Finding
from modelyard_server.fsck.scan import Result
from modelyard_server.release import VERSION

CLEAN, DAMAGED, UNCHECKED = 0, 1, 2
"""Exit codes: nothing is damaged; something is; something could not be checked, whatever else was found."""
_NAMED = 5
"""Versions and files in a line for people; JSON has up to a hundred."""

Print = Callable[[str], None]


def exit_code(results: Sequence[Result]) -> int:
    """The exit code of a run. Checks that the time did not suffice for do not change it."""
    if any(result.error for result in results):
        return UNCHECKED
    return DAMAGED if _counts(results)[0] else CLEAN


class Lines:
    """Lines for people, printed as checks end."""

    def __init__(self, print_line: Print) -> None:
        self._print = print_line

    def show(self, result: Result) -> None:
        """Prints the findings of a check, and a line about it."""
        for finding in result.findings:
            self._show_finding(finding)
        how = f"{result.examined:,} examined in {result.seconds:.1f} s"
        if result.error:
            self._print(f"{'failed':8}{result.name}: {result.error} ({how})")
        elif not result.complete:
            self._print(f"{'part':8}{result.name}: the time was over ({how})")
        else:
            self._print(f"{'checked':8}{result.name}: {how}")

    def end(self, results: Sequence[Result]) -> None:
        """Prints the sum of all checks."""
        damage, notes = _counts(results)
        self._print(f"{damage or 'no'} damage{f', {notes} notes' if notes else ''} found")
        if all(result.name != "bytes" for result in results):
            self._print("The bytes of the packs were not read: --read-data 100 compares them all.")

    def _show_finding(self, finding: Finding) -> None:
        self._print(f"{'damage' if finding.is_damage else 'note':8}{finding.kind}: {finding.message}")
        versions = [version.ref for version in finding.touched.versions]
        files = [f"{file.run}: {file.path}" for file in finding.touched.run_files]
        for what, names, count in (
            ("versions", versions, finding.touched.version_count),
            ("files of runs", files, finding.touched.run_file_count),
        ):
            if count:
                more = f" and {count - _NAMED} more" if count > _NAMED else ""
                self._print(f"{'':8}{what}: {', '.join(names[:_NAMED])}{more}")
        if finding.quarantined is not None:
            self._print(f"{'':8}{finding.quarantined} chunks are quarantined: log their content again")


class Document:
    """One JSON document, whose findings are printed as checks end."""

    def __init__(self, print_line: Print) -> None:
        self._print = print_line
        self._before = '{"findings": ['  # of the next finding

    def show(self, result: Result) -> None:
        """Prints the findings of a check."""
        for finding in result.findings:
            shown = {"check": result.name, **finding.as_json()}
            self._print(f"{self._before}{json.dumps(shown, ensure_ascii=False)}")
            self._before = ","

    def end(self, results: Sequence[Result]) -> None:
        """Prints the rest of the document."""
        damage, notes = _counts(results)
        rest: dict[str, Any] = {
            "checks": [
                {
                    "name": result.name,
                    "examined": result.examined,
                    "complete": result.complete,
                    "error": result.error,
                    "seconds": round(result.seconds, 3),
                }
                for result in results
            ],
            "damage_count": damage,
            "note_count": notes,
            "complete": all(result.complete for result in results),
            "exit_code": exit_code(results),
            "version": VERSION,
        }
        begin = "" if self._before == "," else self._before
        self._print(f"{begin}], {json.dumps(rest, ensure_ascii=False)[1:]}")


def _counts(results: Sequence[Result]) -> tuple[int, int]:
    """How many findings are damage, and how many are notes."""
    damage = sum(finding.is_damage for result in results for finding in result.findings)
    return damage, sum(len(result.findings) for result in results) - damage
