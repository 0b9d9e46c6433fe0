"""timm's summary of an epoch, as its training script calls it."""

from collections import OrderedDict

import timm
import torch
import wandb
from timm.utils import update_summary

wandb.init(project="timm", config={"model": "test_resnet"}, name="tiny")
model = timm.create_model("test_resnet", num_classes=2).eval()
for epoch in range(2):
    loss = model(torch.zeros(1, 3, 32, 32)).sum().item()
    update_summary(
        epoch, OrderedDict(loss=loss), OrderedDict(loss=loss, top1=50.0), "summary.csv", lr=0.1,
        write_header=epoch == 0, log_wandb=True,
    )  # fmt: skip
wandb.finish()
