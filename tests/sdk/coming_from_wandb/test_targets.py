"""Where a link goes whose target is a bare name, or names a project or registry."""

from __future__ import annotations

from pathlib import Path

import pytest

import modelyard as wandb
from modelyard.runs.run import Run


@pytest.fixture
def run(embedded: Path, request: pytest.FixtureRequest) -> Run:
    """A run in a project of its own for each test; ended by `embedded`."""
    return wandb.init(entity="team", project=request.node.name.partition("[")[0][:100])


def _logged(run: Run) -> wandb.Artifact:
    artifact = wandb.Artifact("m", "model")
    with artifact.new_file("a") as file:
        file.write("1")
    return run.log_artifact(artifact)


def test_the_target_of_a_run_is_in_its_project(run: Run) -> None:
    artifact = _logged(run)
    for target, expected in {
        "Bare": f"team/{run.project}/Bare:v0",
        "other/Named": "team/other/Named:v0",
        "guests/other/Named": "guests/other/Named:v0",
        f"model-registry/R {run.id}": f"team/model-registry/R {run.id}:v0",
        f"wandb-registry-{run.id}/R": f"team/wandb-registry-{run.id}/R:v0",
    }.items():
        link = run.link_artifact(artifact, target)
        assert link.is_link
        assert link.qualified_name == expected
        assert wandb.Api().artifact(expected).source_qualified_name == artifact.qualified_name


def test_the_target_of_an_artifact_is_in_the_project_of_the_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = _logged(run)
    name = f"Bare {run.id}"
    assert artifact.link(name).qualified_name == f"team/uncategorized/{name}:v0"
    monkeypatch.setenv("WANDB_PROJECT", "of-wandb")
    assert artifact.link(name).qualified_name == f"team/of-wandb/{name}:v0"
    monkeypatch.setenv("MODELYARD_PROJECT", "of-modelyard")
    assert artifact.link(name).qualified_name == f"team/of-modelyard/{name}:v0"
    assert artifact.link(f"model-registry/{name}").qualified_name == f"team/model-registry/{name}:v0"


def test_link_model_goes_to_the_model_registry(run: Run) -> None:
    Path("w.bin").write_bytes(b"w")
    linked = run.link_model("w.bin", f"Model {run.id}")
    assert linked is not None
    assert linked.qualified_name == f"team/model-registry/Model {run.id}:v0"


def test_a_name_that_an_artifact_has_suggests_the_registry(run: Run) -> None:
    artifact = _logged(run)
    with pytest.raises(wandb.errors.TypeMismatch, match="did you mean model-registry/m"):
        run.link_artifact(artifact, "m")
    with pytest.raises(wandb.errors.TypeMismatch) as caught:
        run.link_artifact(artifact, f"{run.project}/m")
    assert "did you mean" not in str(caught.value)


def test_login_with_a_key_but_no_server_is_a_notice(
    embedded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert wandb.login(key="my_" + "0" * 40) is True
    assert "the key is not used" in capsys.readouterr().err
    assert wandb.Api().settings.api_key is None
