"""`make web-shots`: pictures of every view, in both colour schemes, on a desk and on a phone.

A server is started over a new folder and filled by scripts that train a little. Those
in `DOCUMENTED` are written into `docs/images`, too.
"""

from __future__ import annotations

import json
import math
import os
import random
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, ViewportSize, sync_playwright

from tests.parts.server import LiveServer
from tests.web.chromium import DESKTOP, PHONE

ROOT = Path(__file__).parents[2]
VIEWS = {
    "registry": "/registry/model",
    "model": "/local/model-registry/models/MNIST-dev",
    "version": "/local/model-registry/models/MNIST-dev/v3",
    "metadata": "/local/model-registry/models/MNIST-dev/v3/metadata",
    "files": "/local/model-registry/models/MNIST-dev/v3/files",
    "changes": "/local/model-registry/models/MNIST-dev/v3/compare?with=local/model-registry/MNIST-dev:v1",
    "lineage": "/local/model-registry/models/MNIST-dev/v3/lineage",
    "usage": "/local/model-registry/models/MNIST-dev/v3/usage",
    "artifacts": "/local/mnist/artifacts/model/mnist_model/v3",
    "runs": "/local/mnist?smooth=0.8",
    "run": "/local/mnist/runs/run-4",
    "overview": "/local/mnist/runs/run-4/overview",
    "media": "/local/mnist/runs/run-4/media",
    "console": "/local/mnist/runs/run-4/console",
    "compare": "/local/mnist/compare?runs=run-4,run-3,run-2",
}
DOCUMENTED = ("registry", "model", "files", "changes", "runs", "compare", "lineage")
SETTLE_MS = 1_500
COLOURS = 128
STEPS = 1_200
CARD = """Reads one digit from a 28 × 28 grey image. Used by **intake** to read form numbers.

### Data
`mnist-splits:v0`: 54,000 train, 6,000 validation, 10,000 test. No personal data.

### Limits
- Slashed zeros are read as 8 in 2 % of cases.
- Not for digits that touch.
"""
OTHERS = {
    "Customer churn": "Who leaves next month? Tabular, retrained weekly",
    "Fine-Tuned-Review-Autocompletion": "Completes product reviews as they are typed",
    "Search reranker": "Cross-encoder over the first 50 hits",
    "Support ticket router": "Routes tickets to 14 queues, in 9 languages",
}


def main(folder: Path) -> None:
    """Writes the pictures into a folder, and those of the documents into theirs."""
    folder = folder.absolute()  # the scripts that fill the server run in a folder of their own
    folder.mkdir(parents=True, exist_ok=True)
    with _served() as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            for size in (DESKTOP, PHONE):
                _take(browser, server.web_url, folder, scheme, size)
        browser.close()
    images = ROOT / "docs" / "images"
    images.mkdir(exist_ok=True)
    for view in DOCUMENTED:
        picture = Image.open(folder / f"{view}-{DESKTOP['width']}-light.png").convert("RGB")
        picture.quantize(COLOURS).save(images / f"{view}.png", optimize=True)


def _take(browser: Browser, base: str, folder: Path, scheme: str, size: ViewportSize) -> None:
    context = browser.new_context(base_url=base, viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    for view, path in VIEWS.items():
        page.goto(path)
        page.wait_for_timeout(SETTLE_MS)
        page.screenshot(path=folder / f"{view}-{size['width']}-{scheme}.png")
    context.close()


@contextmanager
def _served() -> Iterator[LiveServer]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = LiveServer(folder, "--web-port", "0")
        try:
            server.start()
            settings = {"URL": server.url, "SILENT": "true", "CACHE_DIR": str(folder / "cache")}
            os.environ |= {f"MODELYARD_{key}": value for key, value in settings.items()}
            os.chdir(folder)
            _fill(random.Random(7))
            yield server
        finally:
            os.chdir(ROOT)
            server.close()


def _fill(chance: random.Random) -> None:
    """Makes what the pictures show."""
    import modelyard

    with modelyard.init(project="mnist", name="split") as run:
        Path("splits.csv").write_text("split,images\ntrain,54000\nvalidation,6000\ntest,10000\n")
        run.log_artifact("splits.csv", name="mnist-splits", type="dataset").wait()
    for number in range(5):
        _train(number, chance)
    for number, (name, card) in enumerate(OTHERS.items()):
        for version in range(2 + number):
            Path("model.bin").write_bytes(chance.randbytes(50_000))
            with modelyard.init(project=name.split()[0].lower(), name=f"weekly-{version}") as run:
                aliases = [["production"], ["staging"], []][min(version, 2)]
                run.link_model("model.bin", name, name=name.lower().replace(" ", "-"), aliases=aliases)
        model = modelyard.Api().artifact_collection("model", f"model-registry/{name}")
        model.description = card
        model.save()
    model = modelyard.Api().artifact_collection("model", "model-registry/MNIST-dev")
    model.description = CARD
    model.save()


def _train(number: int, chance: random.Random) -> None:
    import numpy as np

    import modelyard

    config = {"lr": [0.01, 0.003, 0.003, 0.006, 0.003][number], "dropout": [0, 0, 0.1, 0.25, 0.25][number]}
    with modelyard.init(
        project="mnist", id=f"run-{number}", name=f"trainer-{number}", config={**config, "optimizer": "adamw"}
    ) as run:
        run.use_artifact("mnist-splits:latest")
        run.define_metric("val/acc", summary="last", goal="maximize")
        for step in range(STEPS):
            noise = chance.gauss(0, 0.03)
            loss = math.exp(-step / (150 + 40 * number)) + 0.05 * (5 - number) / 5 + abs(noise)
            run.log({"train/loss": loss, "val/acc": 0.995 - 0.3 * loss - 0.001 * (5 - number)})
            if step % 200 == 0:
                print(f"step {step:5}  loss {loss:.4f}")
        digits = [np.clip(np.eye(28, k=k - 4) + np.eye(28, k=k - 3), 0, 1) for k in range(8)]
        images = [modelyard.Image(one, caption=f"{k}: right") for k, one in enumerate(digits)]
        run.log({"predictions": images})
        _write_model(chance)
        acc = round(0.97 + number * 0.004, 4)
        artifact = modelyard.Artifact("mnist_model", "model", "AdamW, 24 epochs", {"val/acc": acc, **config})
        artifact.add_dir("out")
        run.log_artifact(artifact).wait()
        aliases = {1: ["production"], 3: ["staging"], 0: ["baseline"]}.get(number, [])
        run.link_artifact(artifact, "model-registry/MNIST-dev", aliases=aliases)


def _write_model(chance: random.Random) -> None:
    tensors = {
        "conv1.weight": [32, 1, 3, 3],
        "conv1.bias": [32],
        "fc1.weight": [128, 3136],
        "fc1.bias": [128],
    }
    header, at = {}, 0
    for name, shape in tensors.items():
        size = 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    encoded = json.dumps(header).encode()
    Path("out/weights").mkdir(parents=True, exist_ok=True)
    content = struct.pack("<Q", len(encoded)) + encoded + chance.randbytes(at)
    Path("out/weights/model.safetensors").write_bytes(content)
    Path("out/config.json").write_text(json.dumps({"layers": 2, "width": 32, "classes": 10}))
    Path("out/README.md").write_text("# MNIST\n\nTwo convolutions, two dense layers.\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
