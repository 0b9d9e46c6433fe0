"""HF Trainer on a tiny random model, with two workers that load data.

Arguments: WANDB_PROJECT's value and WANDB_LOG_MODEL's.
"""

import os
import sys

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

os.environ["WANDB_PROJECT"], os.environ["WANDB_LOG_MODEL"] = sys.argv[1:]
os.environ["WANDB_WATCH"] = "all"


class Sentences(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        words = torch.randint(0, 50, (8,), generator=torch.Generator().manual_seed(index))
        return {"input_ids": words, "attention_mask": torch.ones(8).long(), "labels": words[0] % 2}


model = BertForSequenceClassification(
    BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
)
trainer = Trainer(
    model=model,
    args=TrainingArguments(
        output_dir="out",
        run_name="tiny-bert",
        report_to="wandb",
        num_train_epochs=2,
        per_device_train_batch_size=4,
        dataloader_num_workers=2,
        logging_steps=2,
        eval_strategy="epoch",
        save_strategy="epoch",
        disable_tqdm=True,
        use_cpu=True,
    ),
    train_dataset=Sentences(),
    eval_dataset=Sentences(),
)
trainer.train()
trainer.predict(Sentences())
