"""The source files that `run.log_code` logs."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path

from modelyard.host.local_files import LocalFile, chosen_below, is_folder

_SET_ASIDE = {"modelyard", "wandb", "artifacts", "__pycache__", "node_modules", "site-packages"}


def is_python(path: str, root: str = "") -> bool:
    """Whether a file is Python source: the default of `include_fn`."""
    return path.endswith(".py")


def is_set_aside(path: str, root: str = "") -> bool:
    """Whether a file is in a hidden folder, or one that tools make: the default of `exclude_fn`.

    A folder `modelyard` or `artifacts` counts at the top only, where runs and downloads are kept.
    """
    folders = Path(os.path.relpath(path, root or ".")).parts[:-1]
    made = folders[:1] and folders[0] in _SET_ASIDE
    return bool(made) or any(part.startswith(".") or part in {"__pycache__"} for part in folders)


def code_files(
    root: str | os.PathLike[str], include_fn: Callable[..., bool], exclude_fn: Callable[..., bool]
) -> list[LocalFile]:
    """The files below `root` that `include_fn` accepts and `exclude_fn` does not, by path.

    Errors: ValueError, LocalFileError.
    """
    top = Path(root).expanduser().absolute()
    if not is_folder(top):
        raise ValueError(f"{os.fspath(root)!r} is not a folder")
    include, exclude = _with_root(include_fn, str(top)), _with_root(exclude_fn, str(top))
    return list(chosen_below(top, include, exclude))


def _with_root(judge: Callable[..., bool], root: str) -> Callable[[str], bool]:
    """The function with `root` as its second argument, if it takes two."""
    try:
        inspect.signature(judge).bind("", "")
    except (TypeError, ValueError):
        return judge
    return lambda path: judge(path, root)
