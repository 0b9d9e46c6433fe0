"""Settings of the SDK: from arguments, then the environment, then `login`."""

from __future__ import annotations

import numbers
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modelyard import wandb_names
from modelyard.configuration import credentials

FIELDS: Mapping[str, str] = {
    "url": "URL",
    "api_key": "API_KEY",
    "entity": "ENTITY",
    "project": "PROJECT",
    "run_id": "RUN_ID",
    "run_group": "RUN_GROUP",
    "job_type": "JOB_TYPE",
    "run_name": "NAME",
    "run_notes": "NOTES",
    "run_tags": "TAGS",
    "mode": "MODE",
    "resume": "RESUME",
    "reinit": "REINIT",
    "dir": "DIR",
    "cache_dir": "CACHE_DIR",
    "artifact_dir": "ARTIFACT_DIR",
    "data_dir": "DATA_DIR",
    "silent": "SILENT",
    "finish_timeout": "FINISH_TIMEOUT",
    "background_uploads": "BACKGROUND_UPLOADS",
    "ca_certs": "CA_CERTS",
    "client_cert": "CLIENT_CERT",
    "client_key": "CLIENT_KEY",
    "disable_git": "DISABLE_GIT",
    "disable_code": "DISABLE_CODE",
    "save_code": "SAVE_CODE",
    "x_disable_meta": "X_DISABLE_META",
    "x_disable_machine_info": "X_DISABLE_MACHINE_INFO",
    "x_save_requirements": "X_SAVE_REQUIREMENTS",
    "sync_tensorboard": "SYNC_TENSORBOARD",
    "console": "CONSOLE",
    "x_disable_stats": "X_DISABLE_STATS",
    "x_stats_sampling_interval": "X_STATS_SAMPLING_INTERVAL",
    "x_label": "X_LABEL",
    "config_paths": "CONFIG_PATHS",
}
"""Every setting and the end of its variable's name: `project` is set by MODELYARD_PROJECT."""

_SAME = {
    "base_url": "url", "root_dir": "dir", "wandb_dir": "dir",
    "run_job_type": "job_type", "_disable_meta": "x_disable_meta", "_disable_stats": "x_disable_stats",
}  # fmt: skip
_REFUSED = {"fork_from", "resume_from"}
"""Not ignored: `init` raises UsageError where one of them is given."""
_CONSOLE = {"auto", "wrap", "wrap_raw", "wrap_emu", "redirect", "off"}
_TRUTHS = {
    "silent", "background_uploads", "disable_git", "disable_code", "save_code", "x_disable_meta",
    "x_disable_machine_info",
    "x_save_requirements", "sync_tensorboard", "x_disable_stats",
}  # fmt: skip
_TRUTH = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}
FINISH_SECONDS = 60.0
_NEVER_BORROWED = {"url", "api_key", "ca_certs", "client_cert", "client_key"}


class Settings:
    """Settings of a run or a connection.

    Each of `FIELDS` is an attribute, None where it is not set. Names that
    modelyard does not know are accepted and listed in `ignored`, so that
    scripts written for other trackers still start.
    """

    url: str | None
    api_key: str | None
    entity: str | None
    project: str | None
    run_id: str | None
    run_group: str | None
    job_type: str | None
    run_name: str | None
    run_notes: str | None
    run_tags: tuple[str, ...] | None
    mode: str | None
    resume: str | None
    reinit: str | None
    dir: str | None
    cache_dir: str | None
    artifact_dir: str | None
    data_dir: str | None
    silent: bool | None
    finish_timeout: float | None
    background_uploads: bool | None
    ca_certs: str | None
    client_cert: str | None
    client_key: str | None
    disable_git: bool | None
    disable_code: bool | None
    save_code: bool | None
    x_disable_meta: bool | None
    x_disable_machine_info: bool | None
    x_save_requirements: bool | None
    sync_tensorboard: bool | None
    console: str | None
    x_disable_stats: bool | None
    x_stats_sampling_interval: float | None
    x_label: str | None
    config_paths: tuple[str, ...] | None

    def __init__(self, **values: Any) -> None:
        self.ignored: tuple[str, ...] = ()
        self.borrowed: tuple[str, ...] = ()
        self.travelled = False
        """Whether they were unpickled, and so have no key."""
        self.sync_dir: str | None = None
        """The folder of the run that was started with them; None before."""
        self._unknown: dict[str, Any] = {}
        for field in FIELDS:
            setattr(self, field, None)
        for name, value in values.items():
            field = _SAME.get(name, name)
            if field in FIELDS:
                setattr(self, field, _parsed(field, value))
            else:
                self._unknown[name] = value
                if name not in _REFUSED:
                    self.ignored = (*self.ignored, name)

    def __getattr__(self, name: str) -> Any:
        if name in _SAME:
            return getattr(self, _SAME[name])
        # A name that modelyard does not know has no effect, but the script may read it back.
        unknown = self.__dict__.get("_unknown", {})
        if name in unknown:
            return unknown[name]
        if name.startswith("__") or not wandb_names.is_known("Settings", name):
            raise AttributeError(f"Settings has no {name!r}")
        return None  # a setting of W&B that is not set

    def __getitem__(self, name: str) -> Any:
        if name not in FIELDS and not hasattr(self, name):
            raise KeyError(name)
        return getattr(self, name)

    def get(self, name: str, default: Any = None) -> Any:
        """A setting; `default` where it is not set or not known."""
        found = getattr(self, name, None)
        return default if found is None else found

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return ((field, getattr(self, field)) for field in FIELDS)

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{field}={'…' if field == 'api_key' else repr(value)}"
            for field, value in self
            if value is not None
        )
        return f"Settings({shown})"

    def __copy__(self) -> Settings:
        return self.over(Settings())

    def __deepcopy__(self, memo: dict[int, Any]) -> Settings:
        return self.over(Settings())

    def __getstate__(self) -> dict[str, Any]:
        # A pickle holds no key: `key_for` finds the key of the process that reads it.
        return {**self.__dict__, "api_key": None, "travelled": True}

    def over(self, other: Settings) -> Settings:
        """These settings; where one is not set, that of `other`."""
        merged = Settings(
            **{field: mine if mine is not None else getattr(other, field) for field, mine in self}
        )
        merged.ignored = (*self.ignored, *other.ignored)
        merged.borrowed = self.borrowed or other.borrowed
        merged.travelled = self.travelled
        merged.sync_dir = self.sync_dir or other.sync_dir
        merged._unknown = {**other._unknown, **self._unknown}
        return merged

    @property
    def program_relpath(self) -> str | None:
        """Path of the script that runs, from the working folder; None in a console or notebook."""
        script = getattr(sys.modules.get("__main__"), "__file__", None)
        return os.path.relpath(script) if script else None

    @property
    def finish_seconds(self) -> float:
        """How long `finish` tries to reach a server: `finish_timeout`, else a minute."""
        return FINISH_SECONDS if self.finish_timeout is None else self.finish_timeout

    @property
    def local_root(self) -> Path:
        """Where the local folders of runs are made: `dir`, else the working folder. Absolute."""
        return Path(self.dir or ".").expanduser().absolute()

    @property
    def artifact_root(self) -> Path:
        """Where downloads go: `artifact_dir`, else `./artifacts`. Absolute."""
        return Path(self.artifact_dir or "artifacts").expanduser().absolute()

    @property
    def cache_root(self) -> Path:
        """The folder of the cache and of copies for drafts: `cache_dir`, else one for each user. Absolute."""
        if self.cache_dir:
            return Path(self.cache_dir).expanduser().absolute()
        import platformdirs  # imported when first needed: `import modelyard` stays fast

        return Path(platformdirs.user_cache_dir("modelyard", appauthor=False)).absolute() / "files"

    @property
    def data_root(self) -> Path:
        """The embedded server's data folder: `data_dir`, else one for each user. Absolute."""
        if self.data_dir:
            return Path(self.data_dir).expanduser().absolute()
        import platformdirs  # imported when first needed: `import modelyard` stays fast

        return Path(platformdirs.user_data_dir("modelyard")).absolute()


def from_environment(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings of MODELYARD_*; where one is not set, of WANDB_* (except key, address and certificates)."""
    environ = os.environ if environ is None else environ
    found: dict[str, Any] = {}
    borrowed: list[str] = []
    for field, suffix in FIELDS.items():
        own, other = f"MODELYARD_{suffix}", f"WANDB_{suffix}"
        if environ.get(own, "").strip():
            found[field] = environ[own]
        elif field not in _NEVER_BORROWED and environ.get(other, "").strip():
            found[field] = environ[other]
            borrowed.append(other)
    settings = Settings(**found)
    settings.borrowed = tuple(borrowed)
    return settings


_process_defaults = Settings()


def set_process_defaults(settings: Settings) -> None:
    """Sets what the runs and connections of this process take where an argument says nothing."""
    global _process_defaults
    _process_defaults = settings


def with_defaults(given: Settings) -> Settings:
    """`given`, then the defaults of this process, then the environment."""
    return given.over(_process_defaults).over(from_environment())


def current(given: Settings | Mapping[str, Any] | None = None) -> Settings:
    """`given`, then the defaults of this process, then the environment, then what `login` saved.

    A saved key is used for the address it was saved with only.
    """
    settings = given if isinstance(given, Settings) else Settings(**dict(given or {}))
    settings = with_defaults(settings)
    kept = credentials.load()
    if settings.url is None and kept.host:
        settings.url = kept.host
    if settings.api_key is None and kept.key and settings.url == kept.host:
        settings.api_key = kept.key
    return settings


def key_for(url: str) -> str:
    """The key that this process has for an address; empty without one."""
    own = current()
    return own.api_key or "" if own.url in {None, url} else ""


def of_run(given: Settings) -> Settings:
    """As `current`, but a disabled run does not read what `login` saved: a damaged file must not fail it."""
    asked = with_defaults(given)
    return asked if asked.mode == "disabled" else current(asked)


def _parsed(field: str, value: Any) -> Any:
    if value is None:
        return None
    if field == "api_key":
        return credentials.stripped_key(str(value))
    if field == "url":
        return str(value).strip()
    if field in _TRUTHS:
        return _TRUTH.get(str(value).lower(), False)
    if field == "console" and value not in _CONSOLE:
        raise ValueError(f"settings: console is one of {', '.join(sorted(_CONSOLE))}, not {value!r}")
    if field in {"finish_timeout", "x_stats_sampling_interval"}:
        return _seconds(field, value)
    if field == "config_paths":
        parts = value.split(",") if isinstance(value, str) else list(value)
        return tuple(path for part in parts if (path := os.fspath(part).strip()))
    if field == "run_tags":
        parts = value.split(",") if isinstance(value, str) else list(value)
        if wrong := [part for part in parts if not isinstance(part, str)]:
            raise TypeError(f"settings: {field} holds a {type(wrong[0]).__name__}, and must be a list of str")
        return tuple(part.strip() for part in parts if part.strip())
    if field == "resume" and isinstance(value, bool):
        return "auto" if value else None
    if field == "reinit" and str(value).lower() in _TRUTH:
        return "finish_previous" if _TRUTH[str(value).lower()] else "return_previous"
    if isinstance(value, numbers.Real):
        return str(value)  # scripts pass numbers as names and groups
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"settings: {field} must be a str, not {type(value).__name__}")
    return os.fspath(value)


def _seconds(field: str, value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if not seconds >= 0:
        raise ValueError(f"settings: {field} is a number of seconds, 0 or more, not {value!r}")
    return seconds
