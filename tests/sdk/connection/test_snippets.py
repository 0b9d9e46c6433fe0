"""The scripts users have: only their import line was changed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import modelyard as wandb


class StandInModel:
    """Has the calls of a Keras model that the script makes."""

    def compile(self, loss: str, optimizer: str, metrics: list[str]) -> None:
        self.compiled = (loss, optimizer, metrics)

    def save(self, filepath: str) -> None:
        Path(filepath).write_text(f"model {self.compiled}")


def test_a_link_a_file_made_by_the_script(embedded: Path) -> None:
    for number in range(2):
        run = wandb.init(project="models_quickstart")
        run.log({"acc": random.random()})
        with open("my_model.h5", "w") as f:
            f.write("Model: " + str(random.random()))
        run.link_model(path="./my_model.h5", registered_model_name="MNIST")
        run.finish()
        linked = wandb.Api().artifact("model-registry/MNIST:latest")
        assert linked.version == f"v{number}"
        assert linked.is_link
        assert linked.source_project == "models_quickstart"


def test_b_log_a_model_under_an_entity_nobody_created(embedded: Path) -> None:
    config = {"optimizer": "adam", "loss": "categorical_crossentropy"}
    run = wandb.init(entity="charlie", project="mnist-experiments", config=config)
    model = StandInModel()
    model.compile(loss=run.config["loss"], optimizer=run.config["optimizer"], metrics=["accuracy"])
    full_path = os.path.join(os.getcwd(), "model.keras")
    model.save(filepath=full_path)
    run.log_model(path=full_path, name="MNIST")
    run.finish()
    assert wandb.Api().artifact("charlie/mnist-experiments/MNIST:v0").type == "model"


def test_c_use_a_model_in_another_process_and_folder(embedded: Path, tmp_path: Path) -> None:
    run = wandb.init(project="NLP_Experiments", entity="luka")
    Path("weights.bin").write_bytes(b"tuned" * 1000)
    run.log_model(path="weights.bin", name="fine-tuned-model")
    run.finish()

    script = (
        "import modelyard as wandb\n"
        'run = wandb.init(project="NLP_Experiments", entity="luka")\n'
        'path = run.use_model(name="fine-tuned-model:latest")\n'
        "print(path)\n"
        "run.finish()\n"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=elsewhere, capture_output=True, text=True, timeout=120, check=True
    )
    path = Path(done.stdout.strip())
    assert path == elsewhere / "artifacts" / "fine-tuned-model:v0" / "weights.bin"
    assert path.read_bytes() == b"tuned" * 1000


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_d_log_a_file_or_a_folder(embedded: Path, kind: str) -> None:
    run = wandb.init(project="p", entity="e")
    (embedded / "folder" / "deep").mkdir(parents=True)
    (embedded / "folder" / "deep" / "a.txt").write_text(kind)
    (embedded / "folder" / "b.txt").write_text("b")
    path = "folder/deep/a.txt" if kind == "file" else "folder"
    run.log_model(path=path, name=f"model-{kind}")
    used = Path(run.use_model(f"model-{kind}"))
    run.finish()
    if kind == "file":
        assert used.read_text() == "file"
    else:
        files = sorted(found.relative_to(used).as_posix() for found in used.rglob("*.txt"))
        assert files == ["b.txt", "deep/a.txt"]


def test_e_link_into_a_model_that_has_versions(embedded: Path) -> None:
    name = "Fine-Tuned-Review-Autocompletion"
    for number in range(4):
        run = wandb.init(project="p", entity="review")
        Path("model.pt").write_text(f"weights {number}")
        run.link_model(path=str(embedded / "model.pt"), registered_model_name=name)
        run.finish()
    assert wandb.Api().artifact(f"review/model-registry/{name}:latest").version == "v3"
