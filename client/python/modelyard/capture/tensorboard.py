"""Follows the TensorBoard writers of this process: their scalars become rows of a run.

`torch.utils.tensorboard` writes with the class of the package tensorboard, and
tensorboardX with one of its own. Both have the methods that are wrapped here, so that
a value is logged when the program writes it, not when a file is flushed. TensorFlow's
own writers are followed by `tensorflow_writers`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any

from modelyard.capture import tensorflow_writers
from modelyard.capture.tensorflow_writers import TensorFlowReader
from modelyard.host import forking, terminal

WRITERS = {
    "tensorboard": "tensorboard.summary.writer.event_file_writer",
    "tensorboardX": "tensorboardX.event_file_writer",
}
"""Packages, and the modules of their class EventFileWriter."""
_LOCKED_SECONDS = 1.0
"""A signal may have interrupted the thread that holds the lock."""
_ALWAYS_NAMED = {"train", "validation"}
_FLOATS = {1: "float_val", 2: "double_val", 3: "int_val", 9: "int64_val"}
"""Fields of a tensor by its type."""
_PACKED = {1: "<f", 2: "<d", 3: "<i", 9: "<q"}

_followers: tuple[TensorBoardFollower, ...] = ()
_wrapped: dict[type, dict[str, Any]] = {}
"""The methods of each class before they were wrapped."""


class TensorBoardFollower:
    """Passes the scalars of one step and one folder to `log`, as one row with `global_step`.

    A row ends when its writer goes to another step, writes a name again, is flushed
    or closed, or the follower stops. Names of a second folder begin with its path
    from the folder that all have in common. Histograms, images and others are left
    out, with one notice.
    """

    def __init__(self, log: Callable[[Mapping[str, Any]], None]) -> None:
        self._log = log
        self._lock = forking.lock()
        self._rows: dict[str, _Row] = {}
        """By the folder of their writer."""
        self._tensorflow = TensorFlowReader(self.take) if tensorflow_writers.is_installed() else None

    def start(self) -> None:
        """Follows all writers from now on, those too that exist already."""
        found = [_wrap(module) for package, module in WRITERS.items() if _is_installed(package)]
        _follow(*_followers, self)
        if self._tensorflow is not None:
            self._tensorflow.start()
        elif not any(found):
            terminal.termwarn(
                "sync_tensorboard has nothing to follow: neither tensorboard, tensorboardX nor TensorFlow "
                "is installed"
            )

    def stop(self) -> None:
        """Logs what is left and follows no more."""
        _follow(*(one for one in _followers if one is not self))
        if not _followers:
            _unwrap()
        if self._tensorflow is not None and self._is_free():
            self._tensorflow.stop()
        self.flush()

    def flush(self, folder: str | None = None) -> None:
        """Ends the row of a folder, or all. Does nothing where another thread does not finish its row."""
        if folder is None and self._tensorflow is not None and self._is_free():
            self._tensorflow.read()
        if not self._lock.acquire(timeout=_LOCKED_SECONDS):
            return
        try:
            for row in self._rows.values():
                if folder in {None, row.folder}:
                    self._end(row)
        finally:
            self._lock.release()

    def _is_free(self) -> bool:
        """Whether `take` can have the lock: not where a signal has interrupted it."""
        if not self._lock.acquire(timeout=_LOCKED_SECONDS):
            return False
        self._lock.release()
        return True

    def take(self, folder: str, event: Any) -> None:
        """Takes the scalars of an Event of TensorBoard."""
        points = _scalars(event)
        if not points:
            return
        with self._lock:
            row = self._rows.get(folder)
            if row is None:
                row = self._rows[folder] = _Row(folder, _namespace(folder, list(self._rows)))
            if row.step != event.step or points.keys() & row.points.keys():
                self._end(row)
            row.step = event.step
            row.points |= points

    def _end(self, row: _Row) -> None:
        points, row.points = row.points, {}
        if points:
            prefix = f"{row.namespace}/" if row.namespace else ""
            named = {f"{prefix}{name}": value for name, value in points.items()}
            self._log({**named, f"{prefix}global_step": row.step})


class _Row:
    """The row that is collected for one folder."""

    def __init__(self, folder: str, namespace: str) -> None:
        self.folder = folder
        self.namespace = namespace
        self.step = 0
        self.points: dict[str, float] = {}


def _follow(*followers: TensorBoardFollower) -> None:
    global _followers
    _followers = followers


def _namespace(folder: str, others: list[str]) -> str:
    """The beginning of the names of a folder; empty for the first one, as its root is not known."""
    if "://" not in folder:
        folder = os.path.abspath(folder)
        others = [os.path.abspath(other) for other in others if "://" not in other]
    name = os.path.basename(folder.rstrip("/\\"))
    if not others:
        return name if name in _ALWAYS_NAMED else ""
    try:
        root = os.path.commonpath([folder, *others])
    except ValueError:  # on several drives
        return name
    return os.path.relpath(folder, root).replace(os.sep, "/").removeprefix(".").lstrip("/") or name


def _scalars(event: Any) -> dict[str, float]:
    found: dict[str, float] = {}
    for value in event.summary.value:
        kind = value.WhichOneof("value")
        if kind == "simple_value":
            found[value.tag] = value.simple_value
        elif kind == "tensor" and (number := _number(value.tensor)) is not None:
            found[value.tag] = number
        elif kind is not None and not value.tag.startswith("_hparams_/"):
            terminal.warn_once(
                "tensorboard values",
                f"sync_tensorboard logs scalars only: {value.tag} and others like it stay in TensorBoard",
            )
    return found


def _number(tensor: Any) -> float | None:
    """The value of a tensor of one number; None for others."""
    if tensor.dtype not in _FLOATS or any(size.size != 1 for size in tensor.tensor_shape.dim):
        return None
    numbers = getattr(tensor, _FLOATS[tensor.dtype])
    if len(numbers) == 1:
        return float(numbers[0])
    try:
        return float(struct.unpack_from(_PACKED[tensor.dtype], tensor.tensor_content)[0])
    except struct.error:
        return None


def _is_installed(package: str) -> bool:
    try:
        return package in sys.modules or importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _wrap(module: str) -> bool:
    """Wraps the writers of a module, once; False where it cannot be imported or is not known."""
    try:
        kind = importlib.import_module(module).EventFileWriter
        originals = {name: vars(kind)[name] for name in ("add_event", "flush", "close")}
    except Exception as error:  # a broken installation of another package
        terminal.termwarn(f"sync_tensorboard cannot follow {module}: {error}", repeat=False)
        return False
    if kind not in _wrapped:
        _wrapped[kind] = originals
        kind.add_event = _followed(originals["add_event"], _added)
        for name in ("flush", "close"):
            setattr(kind, name, _followed(originals[name], _flushed))
    return True


def _unwrap() -> None:
    """Puts the methods back, except where others have replaced them since."""
    for kind, originals in list(_wrapped.items()):
        present = {name: vars(kind).get(name) for name in originals}
        if all(getattr(method, "__wrapped__", None) is originals[name] for name, method in present.items()):
            for name, original in originals.items():
                setattr(kind, name, original)
            del _wrapped[kind]


def _followed(method: Callable[..., Any], told: Callable[..., None]) -> Callable[..., Any]:
    """The method, after which the followers are told. Whatever happens to these, it works as before."""

    @functools.wraps(method)
    def call(writer: Any, *args: Any, **kwargs: Any) -> Any:
        result = method(writer, *args, **kwargs)
        for follower in _followers:
            try:
                told(follower, os.fspath(writer.get_logdir()), *args, **kwargs)
            except Exception as error:
                terminal.warn_once("tensorboard", f"sync_tensorboard missed values: {error}")
        return result

    return call


def _added(follower: TensorBoardFollower, folder: str, event: Any) -> None:
    follower.take(folder, event)


def _flushed(follower: TensorBoardFollower, folder: str, *_: Any) -> None:
    follower.flush(folder)
