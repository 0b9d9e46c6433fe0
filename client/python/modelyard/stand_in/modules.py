"""Makes `wandb` and its submodules the very modules of modelyard, so that `isinstance` and `is` work."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import modelyard

_PACKAGE = "modelyard"


def replace(name: str) -> None:
    """Puts modelyard in the place of the module `name`; called while that module is imported.

    `__version__` is that of the distribution `name` from then on: libraries compare it
    with the least release that they need.
    """
    modelyard.__version__ = importlib.metadata.version(name)
    sys.meta_path.insert(0, _Finder(name))
    # The import system returns what is here when a module has run.
    sys.modules[name] = modelyard


class _Finder(MetaPathFinder):
    """Finds `name.x.y` as `modelyard.x.y`. Without it modelyard's files would be loaded a second time."""

    def __init__(self, name: str) -> None:
        self._prefix = f"{name}."

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module that modelyard has; None for others, which no finder has then."""
        if not fullname.startswith(self._prefix):
            return None
        own = f"{_PACKAGE}.{fullname.removeprefix(self._prefix)}"
        found = importlib.util.find_spec(own)
        if found is None:
            return None
        is_package = found.submodule_search_locations is not None
        return ModuleSpec(fullname, _Loader(own), origin=found.origin, is_package=is_package)


class _Loader(Loader):
    """Gives the module of another name."""

    def __init__(self, own: str) -> None:
        self._own = own

    def exec_module(self, module: ModuleType) -> None:
        """Imports the module, and puts it in the place of the new one."""
        sys.modules[module.__name__] = importlib.import_module(self._own)
