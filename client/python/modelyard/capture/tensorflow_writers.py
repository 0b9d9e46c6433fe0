"""Follows the writers of TensorFlow (`tf.summary`) in this process, Keras's callback among them.

Compiled code writes their files, also from within graphs. So the function is wrapped that
opens a writer, which says the folder, and the files are read while they grow.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from modelyard.capture.event_files import EventFiles
from modelyard.host import forking, terminal

_MODULE = "tensorflow.python.ops.gen_summary_ops"
_OPEN = "create_summary_file_writer"
_SECONDS = 2.0
"""How often files are read."""
_LOCKED_SECONDS = 1.0
"""A signal may have interrupted the thread that holds the lock."""

_opened: list[_Writer] = []
_readers: tuple[TensorFlowReader, ...] = ()


class _Writer:
    """A writer that was opened: where it writes, and what TensorFlow knows it by."""

    def __init__(self, handle: Any, folder: str, ending: str) -> None:
        self.handle = handle
        self.folder = folder
        self.ending = ending


class TensorFlowReader:
    """Passes what TensorFlow's writers write to `take`: events, with the folder of their writer.

    Writers that were opened before the first reader started are not known.
    """

    def __init__(self, take: Callable[[str, Any], None]) -> None:
        self._take = take
        self._lock = forking.lock()
        self._files: dict[tuple[str, str], EventFiles] = {}
        self._stopped = threading.Event()

    def start(self) -> None:
        """Reads from now on. TensorFlow is not imported for it."""
        global _readers
        _wrap_when_imported()
        for writer in _opened:
            self.add(writer)
        _readers = (*_readers, self)
        threading.Thread(target=self._run, name="modelyard-tensorflow", daemon=True).start()

    def stop(self) -> None:
        """Has the writers write what they hold, reads it, and ends."""
        global _readers
        self._stopped.set()
        self.read()
        _readers = tuple(reader for reader in _readers if reader is not self)
        if not _readers:
            _opened.clear()

    def add(self, writer: _Writer) -> None:
        """Reads what a writer writes from now on."""
        self._files.setdefault((writer.folder, writer.ending), EventFiles(writer.folder, writer.ending))

    def read(self) -> None:
        """Passes on what was written. Does nothing where another thread does not finish reading."""
        if not self._files or not self._lock.acquire(timeout=_LOCKED_SECONDS):
            return
        try:
            _flush()
            events = importlib.import_module("tensorflow.core.util.event_pb2")
            for (folder, _), files in list(self._files.items()):
                for record in files.records():
                    self._take(folder, events.Event.FromString(record))
        except Exception as error:
            terminal.warn_once("tensorflow", f"sync_tensorboard missed values of TensorFlow: {error}")
        finally:
            self._lock.release()

    def _run(self) -> None:
        while not self._stopped.wait(_SECONDS):
            self.read()


def is_installed() -> bool:
    """Whether TensorFlow can be imported."""
    with suppress(ImportError, ValueError):
        return "tensorflow" in sys.modules or importlib.util.find_spec("tensorflow") is not None
    return False


def _flush() -> None:
    """Has the open writers write what they hold: they do so themselves after two minutes or ten values."""
    for writer in list(_opened):
        try:
            sys.modules[_MODULE].flush_summary_writer(writer.handle)
        except Exception:  # it is closed
            _opened.remove(writer)


def _wrap_when_imported() -> None:
    if _MODULE in sys.modules:
        _wrap(sys.modules[_MODULE])
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _wrap(module: ModuleType) -> None:
    original = getattr(module, _OPEN, None)
    if original is None:
        terminal.termwarn("sync_tensorboard cannot follow this release of TensorFlow", repeat=False)
    elif not hasattr(original, "__wrapped_by_modelyard__"):
        setattr(module, _OPEN, _noted(original))


def _noted(original: Callable[..., Any]) -> Callable[..., Any]:
    """The function that opens a writer, after which the readers know of it."""

    @functools.wraps(original)
    def call(writer: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            _note(_Writer(writer, _text(kwargs["logdir"]), _text(kwargs["filename_suffix"])))
        except Exception as error:
            terminal.warn_once("tensorflow writer", f"sync_tensorboard cannot follow a writer: {error}")
        return original(writer, *args, **kwargs)

    call.__wrapped_by_modelyard__ = True  # type: ignore[attr-defined]  # a mark of ours
    return call


def _note(writer: _Writer) -> None:
    if not _readers:
        return
    if "://" in writer.folder:
        terminal.warn_once("tensorflow folder", f"sync_tensorboard reads local folders, not {writer.folder}")
        return
    writer.folder = os.path.abspath(writer.folder)
    for reader in _readers:
        reader.add(writer)
    _opened.append(writer)


def _text(tensor: Any) -> str:
    value = tensor.numpy() if hasattr(tensor, "numpy") else tensor
    return os.fsdecode(value)


class _Finder(MetaPathFinder):
    """Wraps the module when TensorFlow imports it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's own spec, with a loader that wraps it."""
        if fullname != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Loads a module by its own loader, and wraps it."""

    def __init__(self, own: Any) -> None:
        self._own = own

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As its own loader does."""
        module: ModuleType | None = self._own.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Runs the module, which has its own loader again afterwards."""
        module.__loader__ = self._own
        if module.__spec__ is not None:
            module.__spec__.loader = self._own
        self._own.exec_module(module)
        _wrap(module)
