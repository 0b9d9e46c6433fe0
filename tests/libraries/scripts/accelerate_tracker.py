"""Accelerate's tracker: config, values, images and a table."""

import numpy
from accelerate import Accelerator

accelerator = Accelerator(log_with="wandb", cpu=True)
accelerator.init_trackers("accelerate", config={"lr": 0.1}, init_kwargs={"wandb": {"name": "first"}})
for step in range(3):
    accelerator.log({"loss": 1 / (step + 1)}, step=step)
tracker = accelerator.get_tracker("wandb")
tracker.log_images({"noise": [numpy.zeros((4, 6, 3), "uint8")]}, step=3)
tracker.log_table("answers", columns=["question", "answer"], data=[["1+1", 2], ["2+2", 4]], step=4)
accelerator.end_training()
