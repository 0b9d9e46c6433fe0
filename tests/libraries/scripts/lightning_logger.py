"""Lightning with `WandbLogger(log_model="all")`, checkpoints, and workers that load data.

Arguments: the strategy, and the number of workers.
"""

import sys

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger


class Linear(lightning.LightningModule):
    def __init__(self, width: int = 4, lr: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(width, 1)

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        loss = torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[torch.Tensor]) -> None:
        self.log("val_loss", torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


def train(strategy: str, workers: int) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(32, 4)
    data = torch.utils.data.TensorDataset(inputs, inputs.sum(1, keepdim=True))
    loader = torch.utils.data.DataLoader(data, batch_size=8, num_workers=workers)
    logger = WandbLogger(project=f"lightning-{strategy}", name="linear", log_model="all", save_dir=".")
    model = Linear()
    trainer = lightning.Trainer(
        max_epochs=2,
        logger=logger,
        log_every_n_steps=1,
        accelerator="cpu",
        strategy=strategy,
        devices=1 if strategy == "auto" else 2,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(monitor="val_loss", save_top_k=2)],
    )
    trainer.fit(model, loader, loader)
    logger.watch(model)
    logger.experiment.finish()


if __name__ == "__main__":
    train(sys.argv[1], int(sys.argv[2]))
