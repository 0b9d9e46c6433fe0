"""Libraries that train networks, each with the code for W&B that it comes with or that its users write.

They take gigabytes: `make test-libraries` installs them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelyard import Api
from tests.libraries.running import aliases, content, run_script, runs_of, values


@pytest.mark.optional("transformers")
@pytest.mark.parametrize(
    ("kept", "versions"),
    [
        (
            "checkpoint",
            [
                {"base_model"},
                {"epoch_1.0", "checkpoint_global_step_4"},
                {"epoch_2.0", "checkpoint_global_step_8"},
                {"final_model", "latest"},
            ],
        ),
        ("end", [{"base_model"}, {"final_model", "latest"}]),
    ],
)
def test_hf_trainer_logs_metrics_and_models(embedded: Path, kept: str, versions: list[set[str]]) -> None:
    project = f"transformers-{kept}"
    run_script(embedded, "transformers_trainer", project, kept)
    (run,) = runs_of(project)
    assert run.name == "tiny-bert"
    assert run.config["model_type"] == "bert"
    assert run.config["model/num_parameters"] > 0
    losses = [row["train/global_step"] for row in run.scan_history(keys=["train/loss", "train/global_step"])]
    assert losses == [2, 4, 6, 8]
    assert len(values(run, "eval/loss")) == 2
    assert run.summary["train_loss"] > 0
    assert run.summary["test/loss"] == pytest.approx(values(run, "test/loss")[-1])
    assert aliases("model", f"{project}/model-tiny-bert") == versions
    final = Api().artifact(f"{project}/model-tiny-bert:latest")
    assert final.metadata["final_model"] is True
    assert "model.safetensors" in final.manifest.entries


@pytest.mark.optional("lightning")
@pytest.mark.parametrize(("strategy", "workers", "batches"), [("auto", 2, 4), ("ddp_spawn", 0, 2)])
def test_lightning_logs_metrics_hyperparameters_and_checkpoints_with_scores(
    embedded: Path, strategy: str, workers: int, batches: int
) -> None:
    run_script(embedded, "lightning_logger", strategy, str(workers))
    (run,) = runs_of(f"lightning-{strategy}")
    assert run.name == "linear"
    assert dict(run.config) == {"width": 4, "lr": 0.1}
    assert len(values(run, "train_loss")) == 2 * batches
    steps = [row["trainer/global_step"] for row in run.scan_history(keys=["val_loss", "trainer/global_step"])]
    assert steps == [batches - 1, 2 * batches - 1]
    versions = list(Api().artifacts("model", f"lightning-{strategy}/model-{run.id}"))
    best = min(versions, key=lambda version: version.metadata["score"])
    assert len(versions) == 2
    assert "best" in best.aliases
    assert best.metadata["ModelCheckpoint"]["monitor"] == "val_loss"
    assert list(best.manifest.entries) == ["model.ckpt"]


@pytest.mark.optional("stable_baselines3")
def test_sb3_logs_what_it_writes_for_tensorboard_and_its_model(embedded: Path) -> None:
    run_script(embedded, "sb3_callback")
    (run,) = runs_of("sb3")
    assert run.config["algo"] == "PPO"
    assert run.config["env"] == "CartPole-v1"
    assert run.config["n_steps"] == 64
    assert values(run, "global_step") == [64, 128, 192]
    assert len(values(run, "rollout/ep_rew_mean")) == 3
    assert len(values(run, "train/loss")) == 2
    model = embedded / "models" / run.id / "model.zip"
    assert content(run, "model.zip", embedded / "sent") == model.read_bytes()


@pytest.mark.optional("accelerate")
def test_accelerate_logs_values_images_and_tables(embedded: Path) -> None:
    run_script(embedded, "accelerate_tracker")
    (run,) = runs_of("accelerate")
    assert run.name == "first"
    assert dict(run.config) == {"lr": 0.1}
    assert values(run, "loss") == [1, 0.5, pytest.approx(1 / 3)]
    (images,) = values(run, "noise")
    assert (images["_type"], images["width"], images["height"]) == ("images/separated", 6, 4)
    (table,) = values(run, "answers")
    rows = json.loads(content(run, table["path"], embedded / "sent"))["data"]
    assert rows == [["1+1", 2], ["2+2", 4]]


@pytest.mark.optional("timm")
def test_timm_logs_its_epochs(embedded: Path) -> None:
    run_script(embedded, "timm_summary")
    (run,) = runs_of("timm")
    assert values(run, "epoch") == [0, 1]
    assert values(run, "eval_top1") == [50.0, 50.0]
    assert len(values(run, "train_loss")) == 2


@pytest.mark.optional("ultralytics")
def test_ultralytics_logs_epochs_plots_curves_and_its_best_model(embedded: Path) -> None:
    run_script(embedded, "ultralytics_train")
    (run,) = runs_of("detect")
    assert run.name == "squares"
    assert run.config["imgsz"] == 32
    assert values(run, "epoch")[-1] == 2
    assert len(values(run, "train/box_loss")) == 2
    (model,) = run.logged_artifacts()
    assert model.name == f"run_{run.id}_model:v0"
    assert set(model.aliases) == {"best", "latest"}
    assert run.summary["results"]["_type"] == "image-file"
    sent = {file.name for file in run.files()}
    assert run.summary["results"]["path"] in sent
    curves = [name for name in run.summary if name.startswith("curves/")]
    assert "curves/Precision-Recall(B)_table" in curves


@pytest.mark.optional("keras")
def test_keras_logs_epochs_batches_checkpoints_and_predictions(embedded: Path) -> None:
    run_script(embedded, "keras_callbacks")
    epochs, batches = runs_of("keras")
    assert values(epochs, "epoch/epoch") == [0, 1]
    assert len(values(epochs, "epoch/val_loss")) == len(values(epochs, "epoch/mae")) == 2
    assert values(epochs, "epoch/learning_rate") == pytest.approx([0.1, 0.1])
    assert aliases("model", f"keras/run_{epochs.id}_model") == [{"epoch_0"}, {"epoch_1", "latest"}]
    predicted = Api().artifact(f"keras/run_{epochs.id}_pred:latest")
    assert predicted.version == "v1"
    table = predicted.get("eval_data")
    assert table.columns == ["epoch", "number", "label", "predicted"]
    assert [row[:2] for row in table.data] == [[1, number] for number in range(4)]
    assert [artifact.name for artifact in epochs.used_artifacts()] == ["val:v0"]
    assert values(batches, "batch/batch_step") == [0, 2, 4, 6]
    rates = values(batches, "batch/learning_rate")
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > rates[-1] > 0
    assert list(batches.logged_artifacts()) == []


@pytest.mark.optional("tensorflow")
def test_tensorflow_summaries_are_followed_in_graphs_too(embedded: Path) -> None:
    run_script(embedded, "tensorflow_summary")
    (run,) = runs_of("tensorflow")
    rows = [
        {"loss": pytest.approx(1 / (step + 1)), "graph": 2 * step, "global_step": step} for step in range(15)
    ]
    assert [
        {name: row[name] for name in ("loss", "graph", "global_step")}
        for row in run.scan_history(keys=["loss", "graph", "global_step"])
    ] == rows
    (trained,) = runs_of("tensorflow-keras")
    assert values(trained, "train/global_step") == [0, 1]
    assert len(values(trained, "validation/epoch_loss")) == 2
