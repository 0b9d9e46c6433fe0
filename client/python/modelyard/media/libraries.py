"""Optional libraries: imported when a value needs them."""

from __future__ import annotations

import importlib
from typing import Any

from modelyard.contract import errors

PACKAGES = {"PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn", "imageio_ffmpeg": "imageio-ffmpeg"}
"""Names to install, of modules that are called otherwise."""


def load(module: str, need: str) -> Any:
    """An optional module. Error says what `need` requires and how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name and error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # the library is there, and what it needs is not
        package = PACKAGES.get(module.partition(".")[0], module.partition(".")[0])
        raise errors.Error(f"{need} needs the package {package}: pip install {package}") from error


def load_if_installed(module: str) -> Any:
    """An optional module, or None."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def on_host(data: Any) -> Any:
    """A tensor of torch as one that NumPy reads, without gradient; other values unchanged."""
    if not is_from(data, "torch", "Tensor"):
        return data
    data = data.detach().cpu()
    return data.float() if str(data.dtype) == "torch.bfloat16" else data


def package_of(cls: type) -> str:
    """The name of the package that defines a class; empty where the class does not say."""
    return str(cls.__module__ or "").partition(".")[0]


def is_from(value: Any, package: str, name: str) -> bool:
    """Whether a value is an instance of a class of this name of a package, which it does not import."""
    return any(base.__name__ == name and package_of(base) == package for base in type(value).__mro__)
