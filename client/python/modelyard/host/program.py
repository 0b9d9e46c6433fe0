"""The program that this process runs: its script or notebook, and the packages that it can import."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from pathlib import Path, PurePosixPath

from modelyard.host import git, notebook

_NOTEBOOK_VARIABLES = ("MODELYARD_NOTEBOOK_NAME", "WANDB_NOTEBOOK_NAME", "JPY_SESSION_NAME")
"""Where a user, or the server of Jupyter, names the notebook."""
_OWN = os.path.dirname(os.path.dirname(__file__)) + os.sep
_INFO = re.compile(r"(.+?)-([^-]+)(?:-py[\d.]+)?\.(?:dist|egg)-info", re.IGNORECASE)


def script() -> Path | None:
    """The file of the main module; None in a console, for `python -c`, and in a notebook."""
    if notebook.is_active():
        return None
    return _file(getattr(sys.modules.get("__main__"), "__file__", None))


def open_notebook() -> Path | None:
    """The file of the notebook whose kernel this is; None where nothing says which it is."""
    if not notebook.is_active():
        return None
    shell = sys.modules["IPython"].get_ipython()
    named = [shell.user_ns.get("__vsc_ipynb_file__")]  # by Visual Studio Code
    named += [os.environ.get(name) for name in _NOTEBOOK_VARIABLES]
    for name in named:
        found = _file(name) or _file(f"{name}.ipynb" if name else None)
        # Jupyter's name is a path from the folder of its server, the kernel runs in that of the notebook.
        found = found or _file(os.path.basename(name) if name else None)
        if found is not None:
            return found
    return None


def place(file: Path) -> str:
    """The path of a file in its git repository, else from the working folder, else its name alone."""
    for top in (git.top(file.parent), Path.cwd()):
        if top is not None and file.is_relative_to(top):
            return str(PurePosixPath(*file.relative_to(top).parts))
    return file.name


def packages() -> list[str]:
    """`name==version` of each Python package that can be imported, by name.

    Read from the names of their folders: opening the metadata of hundreds of packages
    takes a second.
    """
    found: dict[str, str] = {}
    for folder in dict.fromkeys(sys.path):
        if folder.startswith(_OWN):  # the metadata of the module that `modelyard exec` puts on the path
            continue
        with suppress(OSError), os.scandir(folder or ".") as entries:
            for entry in entries:
                match = _INFO.fullmatch(entry.name)
                if match:
                    name, version = match.groups()
                    found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def _file(name: str | None) -> Path | None:
    path = Path(name).absolute() if name else None
    return path.resolve() if path is not None and path.is_file() else None
