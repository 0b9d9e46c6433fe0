"""Names of the environment variables, and what they say, as `wandb.env` has them.

`os.environ[modelyard.env.PROJECT] = "digits"` sets MODELYARD_PROJECT.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import Any

from modelyard.configuration.settings import FIELDS, from_environment

API_KEY = "MODELYARD_API_KEY"
ARTIFACT_DIR = "MODELYARD_ARTIFACT_DIR"
BASE_URL = "MODELYARD_URL"
CACHE_DIR = "MODELYARD_CACHE_DIR"
DATA_DIR = "MODELYARD_DATA_DIR"
DIR = "MODELYARD_DIR"
DISABLE_CODE = "MODELYARD_DISABLE_CODE"
DISABLE_GIT = "MODELYARD_DISABLE_GIT"
ENTITY = "MODELYARD_ENTITY"
JOB_TYPE = "MODELYARD_JOB_TYPE"
MODE = "MODELYARD_MODE"
NAME = "MODELYARD_NAME"
NOTES = "MODELYARD_NOTES"
PROJECT = "MODELYARD_PROJECT"
RESUME = "MODELYARD_RESUME"
RUN_GROUP = "MODELYARD_RUN_GROUP"
RUN_ID = "MODELYARD_RUN_ID"
SILENT = "MODELYARD_SILENT"
TAGS = "MODELYARD_TAGS"

_Environment = Mapping[str, str] | None


def _value(field: str, default: Any, env: _Environment) -> Any:
    assert field in FIELDS
    found = getattr(from_environment(env), field)
    return default if found is None else found


def get_project(default: str | None = None, env: _Environment = None) -> str | None:
    """The project that the environment names, else `default`."""
    found: str | None = _value("project", default, env)
    return found


def get_entity(default: str | None = None, env: _Environment = None) -> str | None:
    """The entity that the environment names, else `default`."""
    found: str | None = _value("entity", default, env)
    return found


def get_base_url(default: str | None = None, env: _Environment = None) -> str | None:
    """The address of the server that the environment names, else `default`."""
    found: str | None = _value("url", default, env)
    return found


def get_dir(default: str | None = None, env: _Environment = None) -> str | None:
    """Where the environment has the folders of runs made, else `default`."""
    found: str | None = _value("dir", default, env)
    return found


def get_artifact_dir(env: _Environment = None) -> str:
    """Where downloads go."""
    return str(from_environment(env).artifact_root)


def get_cache_dir(env: _Environment = None) -> str:
    """The folder of the cache."""
    return str(from_environment(env).cache_root)


def get_data_dir(env: _Environment = None) -> str:
    """The data folder of the embedded server."""
    return str(from_environment(env).data_root)


def set_project(value: str, env: MutableMapping[str, str] | None = None) -> None:
    """Sets the project in the environment."""
    (os.environ if env is None else env)[PROJECT] = value


def set_entity(value: str, env: MutableMapping[str, str] | None = None) -> None:
    """Sets the entity in the environment."""
    (os.environ if env is None else env)[ENTITY] = value


def is_offline(env: _Environment = None) -> bool:
    """Whether the environment asks for offline runs."""
    return _value("mode", "", env) in {"offline", "dryrun"}


def is_silent(env: _Environment = None) -> bool:
    """Whether the environment silences all lines."""
    return bool(_value("silent", False, env))
