"""Values and handles can be copied and pickled; a handle is pickled without its API key."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard import Api, Artifact, Run, errors
from tests.parts.embedded import isolate
from tests.parts.server import LiveServer, create_key, new_project

WAYS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),  # noqa: S301  # our own bytes
}


@pytest.fixture
def run(work: Path) -> Run:
    """A run with config, summary and a logged, linked version; the working folder holds `a.txt`."""
    (work / "a.txt").write_text("a")
    run = modelyard.init(config={"lr": 0.1, "layers": [1, 2], "deep": {"x": 1}})
    run.log({"loss": 0.5})
    run.log_artifact("a.txt", name="m", type="model", aliases=["best"], tags=["t"])
    run.link_model("a.txt", f"M of {run.project}", name="m")
    return run


def in_another_process(question: Callable[..., Any], *things: Any) -> Any:
    """The reply of a worker process that has only its environment and what was pickled for it."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(question, things)


@pytest.mark.parametrize("way", sorted(WAYS))
def test_config_and_summary_are_copied_as_values(run: Run, way: str) -> None:
    run.summary["best"] = {"acc": 0.9}
    config, summary = WAYS[way](run.config), WAYS[way](run.summary)
    assert (dict(config), config.lr) == ({"lr": 0.1, "layers": [1, 2], "deep": {"x": 1}}, 0.1)
    assert dict(summary) == dict(run.summary)
    config["new"], summary["new"] = 1, 2
    assert "new" not in run.config
    assert "new" not in run.summary
    with pytest.raises(errors.ConfigError):
        config["lr"] = 0.2


def _values(config: Any, summary: Any) -> tuple[Any, ...]:
    return config.lr, dict(config), summary["loss"]


def test_config_and_summary_go_to_workers(run: Run) -> None:
    assert in_another_process(_values, run.config, run.summary) == (0.1, dict(run.config), 0.5)


@pytest.mark.parametrize("way", sorted(WAYS))
def test_a_copy_of_a_draft_is_a_draft_of_its_own(work: Path, way: str) -> None:
    (work / "a.txt").write_text("a")
    (work / "b.txt").write_text("b")
    draft = Artifact("m", "model", metadata={"acc": 1})
    draft.add_file("a.txt")
    draft.aliases.append("best")
    copied = WAYS[way](draft)
    copied.add_file("b.txt")
    copied.metadata["acc"] = 2
    copied.aliases.append("other")
    assert (list(draft.manifest.entries), draft.metadata, draft.aliases) == (["a.txt"], {"acc": 1}, ["best"])
    assert list(copied.manifest.entries) == ["a.txt", "b.txt"]


@pytest.mark.parametrize("way", ["copy", "deepcopy"])
def test_a_copy_of_a_draft_outlives_it(work: Path, way: str) -> None:
    (work / "a.txt").write_text("a")
    draft = Artifact("m", "model")
    draft.add_file("a.txt")
    copied = WAYS[way](draft)
    del draft
    gc.collect()
    (work / "a.txt").write_text("changed")
    with modelyard.init() as run:
        assert Path(run.log_artifact(copied).file()).read_text() == "a"


@pytest.mark.parametrize("way", sorted(WAYS))
def test_a_copy_of_a_version_asks_downloads_and_saves(run: Run, way: str) -> None:
    logged = run.use_artifact("m")
    copied = WAYS[way](logged)
    assert copied == logged
    assert Path(copied.file("there")).read_text() == "a"
    copied.aliases.append("other")
    copied.tags.remove("t")
    copied.save()
    fresh = run.use_artifact("m")
    assert sorted(fresh.aliases) == ["best", "latest", "other"]
    assert list(fresh.tags) == []


def _answers(*things: Any) -> list[Any]:
    api, version, link, entry, found, runs, collection, versions, history = things
    return [
        [each.id for each in api.runs()],
        version.file("worker"),
        link.source_name,
        entry.download("worker"),
        next(iter(found.scan_history(["loss"])))["loss"],
        [each.id for each in runs],
        [each.version for each in collection.versions()],
        [each.version for each in versions],
        [each.alias for each in history],
        len(runs),
    ]


def test_handles_work_in_a_spawned_worker(run: Run, work: Path) -> None:
    run.finish()
    api = Api()
    model = api.registered_model(f"M of {run.project}")
    version = api.artifact("m:v0")
    done = in_another_process(
        _answers, api, version, model.latest, version.get_path("a.txt"), api.run(run.path), api.runs(),
        api.artifact_collection("model", "m"), model.versions(), model.history("latest"),
    )  # fmt: skip
    path = str(work / "worker" / "a.txt")
    assert done == [[run.id], path, "m:v0", path, 0.5, [run.id], ["v0"], ["v0"], ["latest"], 1]


@pytest.mark.parametrize("way", sorted(WAYS))
def test_every_result_of_api_can_be_copied(run: Run, way: str) -> None:
    api = Api()
    model = api.registered_model(f"M of {run.project}")
    for thing in (
        api, api.settings, api.runs(), api.run(run.path), api.artifact("m"), api.artifacts("model", "m"),
        api.versions(), api.artifact_types(), api.artifact_collections(str(run.project), "model"), model,
        api.registries(), api.registry(), api.registered_models(), model.versions(), model.history(),
        api.run(run.path).history(pandas=False), api.artifact("m").lineage(), api.artifact("m").manifest,
        list(api.events(str(run.project))), api.artifact("m").files(), api.run(run.path).logged_artifacts(),
    ):  # fmt: skip
        copied = WAYS[way](thing)
        assert type(copied) is type(thing)
        if hasattr(thing, "__len__"):
            assert len(copied) == len(list(thing))
    assert [each.full_name for each in WAYS[way](api.registries()).collections()[:0]] == []


@pytest.mark.parametrize(
    "error",
    [
        errors.NotFound("x", metadata={"missing": "name"}),
        errors.LocalFileError("x"),
        errors.InvalidField("x"),
    ],
)
def test_an_error_of_a_worker_arrives_as_it_was(error: Exception) -> None:
    arrived = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert (type(arrived), str(arrived), vars(arrived)) == (type(error), str(error), vars(error))


# Keys.


@pytest.fixture
def keyed(
    keyed_server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[LiveServer, str]:
    """A server that asks for keys, one of its keys, and a process that has neither address nor key."""
    isolate(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    return keyed_server, create_key(keyed_server, "ada", "--entity", new_project())


def _runs_of(api: Api) -> list[str]:
    return [run.id for run in api.runs("p")]


def test_a_key_is_in_no_pickle_and_the_worker_takes_its_own(
    keyed: tuple[LiveServer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, key = keyed
    monkeypatch.setenv("MODELYARD_API_KEY", key)
    with modelyard.init(project="p", settings={"url": server.url}) as run:
        (Path(run.dir) / "a.txt").write_text("a")
        run.log_artifact(Path(run.dir) / "a.txt", name="m", type="model")
    api = Api({"base_url": server.url})
    for thing in (api, api.settings, api.artifact("p/m"), api.run(run.path), api.runs("p"), run.config):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            assert key.encode() not in pickle.dumps(thing, protocol)
    assert in_another_process(_runs_of, api) == [run.id]
    assert _runs_of(copy.deepcopy(api)) == [run.id]
    monkeypatch.delenv("MODELYARD_API_KEY")
    assert _runs_of(copy.deepcopy(api)) == [run.id]  # in this process, a copy keeps it
    with pytest.raises(errors.KeyMissing):
        in_another_process(_runs_of, api)


def test_a_key_for_one_server_is_sent_to_no_other(
    keyed: tuple[LiveServer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, key = keyed
    pickled = pickle.dumps(Api({"base_url": server.url, "api_key": key}))
    monkeypatch.setenv("MODELYARD_URL", "grpc://models.example.org:443")
    monkeypatch.setenv("MODELYARD_API_KEY", key)
    with pytest.raises(errors.KeyMissing):
        _runs_of(pickle.loads(pickled))  # noqa: S301  # our own bytes
