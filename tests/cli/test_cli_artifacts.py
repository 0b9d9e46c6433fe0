"""`modelyard artifact`, `tag`, `lineage`, `diff`, `search` and `watch`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

import modelyard
from modelyard.runs.run import Run
from tests.clients.commands import COMMAND, json_of, on_terminal, refused, run_command
from tests.parts.fork_server import start_python
from tests.sdk.artifacts.test_artifact_versions import draft


@pytest.fixture
def run(embedded: Path, request: pytest.FixtureRequest) -> Run:
    """A run in a project of its own that logged `net` (a model, two versions) and `data`."""
    run = modelyard.init(project=request.node.name.partition("[")[0][:100])
    for number, accuracy in enumerate((0.5, 0.97)):
        artifact = draft("net", {"w.bin": str(number), "sub/notes.txt": "n"}, kind="model")
        artifact.metadata["acc"] = accuracy
        run.log_artifact(artifact, aliases=["best"])
    run.log_artifact(draft("data", {"x": "1"}))
    return run


def test_artifacts_are_listed_by_project_and_versions_by_artifact(run: Run) -> None:
    place = str(run.project)
    listed = json_of("artifact", "ls", place)
    assert [item["name"] for item in listed["artifacts"]] == ["data", "net"]
    assert [item["name"] for item in json_of("artifact", "ls", place, "--type", "model")["artifacts"]] == [
        "net"
    ]
    versions = json_of("artifact", "ls", f"{place}/net", "--limit", "1")
    assert ([item["number"] for item in versions["versions"]], versions["more"]) == ([1], True)
    table = run_command("artifact", "ls", f"local/{place}/net").stdout
    assert table.splitlines()[0].split() == ["VERSION", "ALIASES", "METADATA", "SIZE", "LOGGED"]
    assert "net:v1" in table
    assert "--limit 10 shows more" in run_command("artifact", "ls", f"{place}/net", "--limit", "1").stderr
    assert json_of("artifact", "show", f"{place}/net:v0")["metadata"] == {"acc": 0.5}


def test_ls_says_that_there_is_more_than_it_lists(run: Run) -> None:
    place = str(run.project)
    listed = json_of("ls", place, "--limit", "1")
    assert ([item["name"] for item in listed["artifacts"]], listed["more"]) == (["data"], True)
    assert json_of("ls", place)["more"] is False
    assert "The first 1; --limit 10 shows more." in run_command("ls", f"{place}/net", "--limit", "1").stderr
    assert "shows more" not in run_command("ls", f"{place}/net").stderr


def test_a_download_is_verified(run: Run, embedded: Path) -> None:
    ref = f"{run.project}/net:best"
    assert "download" in refused(1, "artifact", "verify", ref)
    place = Path(run_command("artifact", "download", ref).stdout.strip())
    assert place == embedded / "artifacts" / "net:v1"
    assert "2 files, all unchanged" in run_command("artifact", "verify", ref).stdout
    (place / "w.bin").write_text("?")
    assert "differs from the content" in refused(1, "artifact", "verify", ref)
    part = json_of("artifact", "download", ref, "--root", "part", "--path-prefix", "sub/")
    assert [path.name for path in Path(part["path"]).rglob("*.*")] == ["notes.txt"]


def test_sha256sum_checks_a_download(run: Run, embedded: Path) -> None:
    (embedded / "large.bin").write_bytes(os.urandom(5_000_000))
    artifact = draft("sums", {"a b.txt": "1", "sub/empty": ""})
    artifact.add_file("large.bin")
    logged = run.log_artifact(artifact)
    assert logged.get_entry("sub/empty").sha256 is not None
    assert logged.get_entry("large.bin").sha256 is None
    place = run_command("artifact", "download", f"{run.project}/sums:v0").stdout.strip()
    sums = run_command("artifact", "sha256", f"{run.project}/sums:v0").stdout
    assert [line[66:] for line in sums.splitlines()] == ["a b.txt", "large.bin", "sub/empty"]
    subprocess.run(["sha256sum", "--check", "--strict"], cwd=place, input=sums, text=True, check=True)
    assert json_of("artifact", "sha256", f"{run.project}/sums:v0")["files"] == logged.sha256sums()
    (Path(place) / "large.bin").write_text("?")
    checked = subprocess.run(
        ["sha256sum", "--check"], cwd=place, input=sums, text=True, check=False, capture_output=True
    )
    assert "large.bin: FAILED" in checked.stdout


def test_versions_and_artifacts_are_deleted(run: Run) -> None:
    place = str(run.project)
    assert "--force" in refused(1, "artifact", "rm", f"{place}/net:best")
    assert json_of("artifact", "rm", f"{place}/net:v0") == {"deleted": f"local/{place}/net:v0"}
    assert run_command("artifact", "rm", f"{place}/net", "--force", "--yes").returncode == 0
    assert [item["name"] for item in json_of("artifact", "ls", place)["artifacts"]] == ["data"]
    assert "no such artifact" in refused(3, "artifact", "rm", f"{place}/net")


def test_a_terminal_is_asked_before_a_delete(run: Run) -> None:
    ref = f"{run.project}/net:v0"
    code, shown = on_terminal("artifact", "rm", ref, answer="n\n")
    assert code == 1
    assert f"Delete local/{ref}?" in shown
    assert json_of("artifact", "show", ref)["number"] == 0
    code, shown = on_terminal("artifact", "rm", ref, answer="y\n")
    assert (code, f"Deleted local/{ref}" in shown) == (0, True)
    code, shown = on_terminal("artifact", "rm", f"{run.project}/net", "--force", "--yes")
    assert (code, "?" in shown) == (0, False)


def test_colours_and_widths_are_used_on_terminals_only(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    code, shown = on_terminal("artifact", "ls", str(run.project), columns=60)
    assert code == 0
    assert "\x1b[1m" in shown
    plain = shown.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert all(len(line.rstrip()) <= 60 for line in plain.splitlines())
    assert "\x1b" not in run_command("artifact", "ls", str(run.project)).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1m" not in on_terminal("artifact", "ls", str(run.project))[1]


def test_aliases_are_set_moved_and_removed(run: Run) -> None:
    name = f"{run.project}/net"
    assert json_of("alias", "set", f"{name}:v0", "staging", "candidate")["aliases"] == {
        "best": "v1", "candidate": "v0", "latest": "v1", "staging": "v0",
    }  # fmt: skip
    assert "who moved it" in refused(1, "alias", "set", f"{name}:v1", "staging", "--from", "none")
    assert json_of("alias", "set", f"{name}:v1", "staging", "--from", "v0")["aliases"]["staging"] == "v1"
    assert "who moved it" in refused(1, "alias", "rm", f"{name}:v0", "staging")
    assert run_command("alias", "rm", f"{name}:v1", "staging").returncode == 0
    assert "candidate" not in json_of("alias", "rm", name, "candidate")["aliases"]
    assert "no such" in refused(3, "alias", "rm", f"{name}-not", "x")
    assert "version number" in refused(1, "alias", "set", f"{name}:v1", "v7")


def test_tags_go_on_versions_and_on_names(run: Run) -> None:
    name = f"{run.project}/net"
    assert json_of("tag", f"{name}:v1", "nlp", "good one")["tags"] == ["nlp", "good one"]
    assert json_of("tag", f"{name}:v1", "--rm", "nlp")["tags"] == ["good one"]
    assert run_command("tag", f"{name}:v1").stdout == "good one\n"
    assert "has no tag" in refused(1, "tag", f"{name}:v1", "--rm", "nlp")
    assert json_of("tag", name, "kept")["tags"] == ["kept"]
    assert json_of("tag", f"{name}:v1")["tags"] == ["good one"]


def test_lineage_is_drawn_in_four_ways(run: Run) -> None:
    run.use_artifact("data:v0")
    ref = f"{run.project}/net:v1"
    tree = run_command("lineage", ref).stdout
    assert tree.splitlines()[0] == f"local/{ref} (model)"
    assert f"made by {run.path}" in tree
    assert f"used local/{run.project}/data:v0 (dataset)" in tree
    assert run_command("lineage", ref, "--dot").stdout.startswith("digraph lineage {")
    assert run_command("lineage", ref, "--mermaid").stdout.startswith("flowchart LR")
    plain = json_of("lineage", ref, "--direction", "upstream", "--depth", "1")
    assert [item["path"] for item in plain["runs"]] == [run.path]
    assert len(plain["versions"]) == 1
    assert run_command("lineage", str(run.path)).stdout.startswith(str(run.path))
    assert "there is no artifact" in refused(3, "lineage", f"{run.project}/nothing:v3")


def test_diff_shows_what_changed_between_two_versions(run: Run) -> None:
    base, ref = f"{run.project}/net:v0", f"{run.project}/net:v1"
    shown = run_command("diff", base, ref).stdout.splitlines()
    assert shown == [
        f"local/{base} → local/{ref}",
        "files: 1 changed, 1 unchanged",
        "  ~ w.bin  1 B → 1 B  1 B new",
        "shared with the base: 1 B of 2 B",
        "metadata: 1 difference",
        "  ~ acc  0.5 → 0.97",
    ]
    found = json_of("diff", base, ref, "--path-prefix", "sub/")
    assert (found["files"], found["unchanged_count"]) == ([], 1)
    assert found["metadata"] == [{"key": "acc", "kind": "changed", "value": 0.97, "base_value": 0.5}]
    assert "there is no artifact" in refused(3, "diff", base, f"{run.project}/nothing:v3")


def test_search_finds_every_kind(run: Run) -> None:
    where = ["--project", str(run.project)]
    found = json_of("search", "metadata.acc > 0.9", *where)["versions"]
    assert [item["ref"] for item in found] == [f"local/{run.project}/net:v1"]
    ordered = json_of("search", "metadata.acc : *", *where, "--order", "metadata.acc")["versions"]
    assert [item["number"] for item in ordered] == [0, 1]
    assert [
        item["name"]
        for item in json_of("search", 'type = "model"', *where, "--kind", "artifacts")["artifacts"]
    ]
    runs = json_of("search", 'state = "running"', *where, "--kind", "runs")["runs"]
    assert [item["run_id"] for item in runs] == [run.id]
    json_of("link", f"{run.project}/net:v1", f"wandb-registry-{run.id}/Net", "--alias", "production")
    registry = ["--project", f"wandb-registry-{run.id}"]
    links = json_of("search", 'aliases : "production"', *registry, "--kind", "links")["links"]
    assert [item["ref"] for item in links] == [f"local/wandb-registry-{run.id}/Net:v0"]
    models = json_of("search", 'name = "Net"', *registry, "--kind", "models")["registered_models"]
    assert len(models) == 1
    assert "character 14" in refused(1, "search", "metadata.acc ? 3")
    assert "Nothing found" in run_command("search", 'name = "nothing"', *where).stderr


def test_watch_prints_events_and_continues_after_the_last_one(run: Run) -> None:
    run.finish()
    project = str(run.project)
    lines = run_command("watch", project, "--no-follow").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [str(number) for number in range(1, len(lines) + 1)]
    assert any("best → net:v1 from v0" in line for line in lines)
    rest = run_command("watch", project, "--no-follow", "--after", "3", "--json").stdout.splitlines()
    assert [json.loads(line)["sequence"] for line in rest] == list(range(4, len(lines) + 1))
    assert "project" in refused(3, "watch", f"{project}-not", "--no-follow")


def test_watch_prints_new_events_until_it_is_stopped(run: Run) -> None:
    process = start_python(
        *COMMAND,
        "watch",
        str(run.project),
        "--after",
        "0",
        "--json",
        "--filter",
        'type = "tag_added"',
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    assert process.stdout is not None
    try:
        json_of("tag", f"{run.project}/net:v1", "seen")
        event = json.loads(process.stdout.readline())
        assert (event["type"], event["tag"], event["version"]) == ("tag_added", "seen", "v1")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert f"modelyard watch {run.project} --after {event['sequence']}" in said
    assert said.startswith(f"Watching {run.project} on the embedded server, data in ")
    assert "from event 1 on; Ctrl-C ends it\n" in said


def test_a_watch_reports_when_it_has_begun(run: Run) -> None:
    process = start_python(
        *COMMAND,
        "watch",
        str(run.project),
        "--json",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        said = process.stderr.readline()
        json_of("tag", f"{run.project}/net:v1", "seen")
        event = json.loads(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert f"from event {event['sequence']} on" in said
