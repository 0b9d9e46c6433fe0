"""The module `wandb` that programs under `modelyard exec` import: modelyard itself."""
