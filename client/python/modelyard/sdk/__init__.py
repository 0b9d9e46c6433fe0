"""The names that scripts and libraries import from `wandb.sdk`; each is modelyard's own."""

from __future__ import annotations

from modelyard.artifacts.artifact import Artifact
from modelyard.configuration.settings import Settings
from modelyard.runs.config import Config
from modelyard.runs.run import AlertLevel
from modelyard.runs.summary import Summary
from modelyard.sdk import artifacts, data_types, lib, wandb_config, wandb_run, wandb_settings, wandb_summary
from modelyard.session import finish, init

__all__ = [
    "AlertLevel",
    "Artifact",
    "Config",
    "Settings",
    "Summary",
    "artifacts",
    "data_types",
    "finish",
    "init",
    "lib",
    "wandb_config",
    "wandb_run",
    "wandb_settings",
    "wandb_summary",
]
