"""Ultralytics trains a tiny detector on pictures that are made here; no weights are fetched."""

from pathlib import Path

import numpy
from PIL import Image
from ultralytics import YOLO, settings

settings.update({"wandb": True})
for split in ("train", "val"):
    for folder in ("images", "labels"):
        Path("data", folder, split).mkdir(parents=True, exist_ok=True)
    for number in range(4):
        picture = numpy.zeros((32, 32, 3), "uint8")
        picture[8:24, 8:24] = 255
        Image.fromarray(picture).save(f"data/images/{split}/{number}.png")
        Path(f"data/labels/{split}/{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
Path("data.yaml").write_text(
    f"path: {Path('data').absolute()}\ntrain: images/train\nval: images/val\nnames: [square]\n"
)
model = YOLO("yolo11n.yaml")
model.train(
    data="data.yaml", epochs=2, imgsz=32, batch=4, device="cpu", workers=2, project="detect", name="squares",
    pretrained=False, amp=False, plots=True,
)  # fmt: skip
