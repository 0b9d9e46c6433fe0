"""Compares a server's state with the operation logs of its clients, and lists broken promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grpc

from modelyard.v1 import event_pb2, metric_pb2, registered_model_pb2, run_console_pb2, run_file_pb2
from modelyard.v1 import model_artifact_pb2 as pb
from tests.clients import fast_upload
from tests.faults.soak.operation_log import Operation, OperationLog, content
from tests.faults.soak.soak_client import REGISTERED
from tests.parts.server import Stubs

PAGE = 1000
KEPT_LINES = 10_000
"""Of the console of a run."""


def violations(stubs: Stubs, project: str, ledgers: Sequence[OperationLog]) -> list[str]:
    """A sentence for each broken promise; empty when all were kept."""
    operations = [one for ledger in ledgers for one in ledger.operations]
    versions = list(_versions(stubs, project))
    return [
        *(sentence for ledger in ledgers for sentence in ledger.violations),
        *_acknowledged_versions(operations, {version.id: version for version in versions}),
        *_numbers(versions),
        *_bytes(stubs, operations, versions),
        *_links(stubs, project, operations),
        *_rows(stubs, operations),
        *_lines(stubs, operations),
        *_run_files(stubs, operations),
        *_events(stubs, project),
    ]


def _versions(stubs: Stubs, project: str) -> Iterator[pb.ModelArtifactVersion]:
    for artifact in stubs.artifacts.ListModelArtifacts(
        pb.ListModelArtifactsRequest(project=project)
    ).model_artifacts:
        token = ""
        while True:
            request = pb.ListModelArtifactVersionsRequest(id=artifact.id, page_size=PAGE, page_token=token)
            page = stubs.artifacts.ListModelArtifactVersions(request)
            yield from page.versions
            token = page.next_page_token
            if not token:
                break


def _acknowledged_versions(
    operations: Sequence[Operation], live: Mapping[str, pb.ModelArtifactVersion]
) -> Iterator[str]:
    """What was logged is there under its number, and what was deleted is not."""
    asked = {one.wanted["id"] for one in operations if one.kind == "delete"}
    for one in operations:
        if one.outcome is None:
            continue
        if one.kind == "delete" and one.wanted["id"] in live:
            yield f"version {one.wanted['id']} was deleted and is there"
        if one.kind != "log" or one.outcome["id"] in asked:
            continue
        found = live.get(one.outcome["id"])
        if found is None or (found.name, found.number) != (one.wanted["name"], one.outcome["number"]):
            yield f"{one.wanted['name']}:v{one.outcome['number']} was acknowledged; found {found}"


def _numbers(versions: Sequence[pb.ModelArtifactVersion]) -> Iterator[str]:
    counts = Counter((version.name, version.number) for version in versions)
    for (name, number), count in counts.items():
        if count > 1:
            yield f"{count} versions are {name}:v{number}"


def _bytes(
    stubs: Stubs, operations: Sequence[Operation], versions: Sequence[pb.ModelArtifactVersion]
) -> Iterator[str]:
    """Every version that can be seen is whole, and is what somebody logged."""
    logged: dict[str, list[dict[str, tuple[int, int]]]] = {}
    for one in operations:
        if one.kind == "log":
            files = {path: (seed, size) for path, (seed, size) in one.wanted["files"].items()}
            logged.setdefault(one.wanted["name"], []).append(files)
    for version in versions:
        request = pb.ListModelArtifactFilesRequest(id=version.id, page_size=PAGE)
        sizes = {
            entry.path: entry.size_bytes for entry in stubs.artifacts.ListModelArtifactFiles(request).entries
        }
        wanted = [
            files
            for files in logged.get(version.name, [])
            if {path: size for path, (_, size) in files.items()} == sizes
        ]
        try:
            stored = {path: fast_upload.read(stubs, version.id, path) for path in sizes}
        except grpc.RpcError as failure:
            yield f"{version.name}:v{version.number} cannot be read: {failure.details()}"
            continue
        if not any(all(content(*files[path]) == data for path, data in stored.items()) for files in wanted):
            yield f"{version.name}:v{version.number} is nothing that was logged"


def _links(stubs: Stubs, project: str, operations: Sequence[Operation]) -> Iterator[str]:
    """Links stand under their numbers, and each alias where its client put it last, or tried to."""
    linked = [one for one in operations if one.kind == "link"]
    if not any(one.outcome for one in linked):
        return
    request = registered_model_pb2.ListRegisteredModelVersionsRequest(
        ref=f"{project}/{REGISTERED}", page_size=PAGE
    )
    links = stubs.registry.ListRegisteredModelVersions(request).versions
    if sorted(link.number for link in links) != list(range(len(links))):
        yield f"links are numbered {sorted(link.number for link in links)}"
    by_number = {link.number: link for link in links}
    holders = {alias: link.source.id for link in links for alias in link.aliases}
    for one in linked:
        if one.outcome is None:
            continue
        found = by_number.get(one.outcome["number"])
        if found is None or found.source.id != one.wanted["id"]:
            yield f"link v{one.outcome['number']} was acknowledged and is not there"
    for alias in {one.wanted["alias"] for one in linked}:
        mine = [one for one in linked if one.wanted["alias"] == alias]
        last = [one.wanted["id"] for one in mine if one.outcome is not None][-1:]
        possible = {*last, *(one.wanted["id"] for one in mine if one.outcome is None)}
        if last and holders.get(alias) not in possible:
            yield f"{alias} stands on {holders.get(alias)}, not where it was put"


def _rows(stubs: Stubs, operations: Sequence[Operation]) -> Iterator[str]:
    """Each batch that was acknowledged is stored once, each other one at most once."""
    runs: dict[str, dict[int, Any]] = {}
    for one in operations:
        if one.kind == "rows":
            runs.setdefault(one.wanted["run"], {})[one.wanted["sequence"]] = one.outcome
    for run, sent in runs.items():
        replies = stubs.metrics.ScanMetricHistory(metric_pb2.ScanMetricHistoryRequest(run_id=run))
        stored = Counter(step for reply in replies for step in reply.batch.steps)
        for sequence, outcome in sent.items():
            if stored[sequence] > 1 or (outcome is not None and stored[sequence] != 1):
                yield f"batch {sequence} of run {run} is stored {stored[sequence]} times"


def _lines(stubs: Stubs, operations: Sequence[Operation]) -> Iterator[str]:
    """Each line that was acknowledged is stored once, with its text; each other one at most once."""
    runs: dict[str, list[Operation]] = {}
    for one in operations:
        if one.kind == "lines":
            runs.setdefault(one.wanted["run"], []).append(one)
    for run, sent in runs.items():
        asked = {
            one.wanted["first"] + index: (text, one.outcome is not None)
            for one in sent
            for index, text in enumerate(one.wanted["texts"])
        }
        stored = list(_console(stubs, run))
        counts = Counter(line.number for line in stored)
        for line in stored:
            if line.number not in asked or asked[line.number][0] != line.text:
                yield f"line {line.number} of run {run} reads {line.text!r}, which nobody wrote"
        # The server keeps the newest lines of a run.
        oldest = min(counts, default=0) if len(stored) >= KEPT_LINES else 0
        for number, (_, acknowledged) in asked.items():
            if counts[number] > 1 or (acknowledged and number >= oldest and counts[number] != 1):
                yield f"line {number} of run {run} is stored {counts[number]} times"


def _console(stubs: Stubs, run: str) -> Iterator[run_console_pb2.ConsoleLine]:
    token = ""
    while True:
        request = run_console_pb2.ListConsoleLinesRequest(run_id=run, page_size=PAGE, page_token=token)
        page = stubs.console.ListConsoleLines(request)
        yield from page.lines
        token = page.next_page_token
        if not token:
            break


def _run_files(stubs: Stubs, operations: Sequence[Operation]) -> Iterator[str]:
    """Each file has the content that was acknowledged last, or a later one that was sent; byte for byte."""
    possible: dict[tuple[str, str], list[tuple[int, int] | None]] = {}
    for one in operations:
        if one.kind != "files":
            continue
        for path, (seed, size) in one.wanted["files"].items():
            contents = possible.setdefault((one.wanted["run"], path), [None])
            if one.outcome is not None:
                contents.clear()
            contents.append((seed, size))
    for run in {run for run, _ in possible}:
        request = run_file_pb2.ListRunFilesRequest(run_id=run, page_size=PAGE)
        listed = {file.path for file in stubs.run_files.ListRunFiles(request).files}
        for path in listed - {path for of, path in possible if of == run}:
            yield f"{path} of run {run} is there, and nobody sent it"
        for (of, path), contents in possible.items():
            if of != run:
                continue
            data = _content(stubs, run, path) if path in listed else None
            if data not in [None if each is None else content(*each) for each in contents]:
                size = "no" if data is None else f"{len(data)}"
                yield f"{path} of run {run} has {size} bytes that were not sent last"


def _content(stubs: Stubs, run: str, path: str) -> bytes:
    request = run_file_pb2.DownloadRunFileRequest(run_id=run, path=path)
    try:
        return b"".join(part.data for part in stubs.run_files.DownloadRunFile(request))
    except grpc.RpcError as failure:
        return f"unreadable: {failure.details()}".encode()


def _events(stubs: Stubs, project: str) -> Iterator[str]:
    """The project's events have no gap."""
    sequences: list[int] = []
    while True:
        request = event_pb2.ListEventsRequest(
            project=project, page_size=PAGE, after_sequence=sequences[-1] if sequences else 0
        )
        page = stubs.events.ListEvents(request).events
        sequences += [event.sequence for event in page]
        if len(page) < PAGE:
            break
    if sequences != list(range(1, len(sequences) + 1)):
        yield f"events are numbered {sequences}"
