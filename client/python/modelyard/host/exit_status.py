"""Finds the exit code of this process before it has ended.

The interpreter leaves an uncaught exception in `sys.last_value`, whatever
`sys.excepthook` is. It does not do so for SystemExit, which is observed when it
leaves the outermost frame of the main thread: by a hook of Python 3.12 and newer,
and on 3.11 when the interpreter reads the exception's `code`. See docs/adr/0017.
"""

from __future__ import annotations

import atexit
import sys
import threading
from types import CodeType
from typing import Any

INTERRUPTED = 255
"""Exit code of a run that Ctrl-C ended. The process itself ends with 130."""
_TOOL_NAME = "modelyard"
_TOOL_IDS = (4, 3)  # an unreserved id; others are reserved for debuggers, coverage, profilers and optimizers

_before: BaseException | None = None
_system_exit: tuple[Any] | None = None
_watching = False


def watch() -> None:
    """Starts observing how this process ends. Idempotent."""
    global _watching, _before
    if not _watching:
        _watching = True
        _before = getattr(sys, "last_value", None)
        if sys.version_info >= (3, 12):
            _watch_unwinding()
        elif sys.implementation.name == "cpython":
            _watch_reading()


def at_exit() -> int:
    """The exit code, to be read while the interpreter ends; 0 unless another one was observed."""
    if _system_exit is not None:
        return of_system_exit(_system_exit[0])
    error = getattr(sys, "last_value", None)
    if error is None or error is _before or _is_interactive() or not _left_the_program(error):
        return 0
    return of_exception(error)


def of_exception(error: BaseException | None) -> int:
    """The exit code of a program that ends with this exception; 0 for none."""
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        return of_system_exit(error.code)
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1


def of_system_exit(code: Any) -> int:
    """The exit code of `SystemExit(code)`: a number's lowest byte, 0 for None, 1 for anything else."""
    if code is None:
        return 0
    return code & 0xFF if isinstance(code, int) else 1


def _is_interactive() -> bool:
    # In a console or notebook an exception ends a line or a cell, not the program.
    return hasattr(sys, "ps1") or "ipykernel" in sys.modules


def _left_the_program(error: BaseException) -> bool:
    """Whether an exception left the outermost frame. One that an embedded console caught did not."""
    trace = error.__traceback__
    return trace is None or trace.tb_frame.f_back is None


def _record(code: Any) -> None:
    global _system_exit
    if threading.current_thread() is threading.main_thread():
        _system_exit = (code,)


if sys.version_info >= (3, 12):

    def _watch_unwinding() -> None:
        monitoring = sys.monitoring
        for tool in _TOOL_IDS:
            if monitoring.get_tool(tool) is None:
                monitoring.use_tool_id(tool, _TOOL_NAME)
                monitoring.register_callback(tool, monitoring.events.PY_UNWIND, _on_unwind)
                monitoring.set_events(tool, monitoring.events.PY_UNWIND)
                return

    def _on_unwind(code: CodeType, offset: int, error: BaseException) -> None:
        if isinstance(error, SystemExit) and sys._getframe(1).f_back is None:
            _record(error.code)

else:

    def _watch_reading() -> None:
        """Observes the interpreter reading `SystemExit.code`, which it does without a running frame.

        `sys.exit` is replaced by a function that creates the exception itself: the
        built-in one creates it only when it is caught.
        """
        import ctypes  # imported when first needed: `import modelyard` stays fast
        import gc

        member = SystemExit.__dict__["code"]

        def read(error: SystemExit) -> Any:
            code = member.__get__(error)
            try:
                sys._getframe(1)
            except ValueError:
                _record(code)
            return code

        def put(attribute: Any) -> None:
            gc.get_referents(SystemExit.__dict__)[0]["code"] = attribute
            ctypes.pythonapi.PyType_Modified(ctypes.py_object(SystemExit))

        put(property(read, member.__set__))
        atexit.register(put, member)  # restored before the interpreter destroys its types
        _make_exits_raise()

    def _make_exits_raise() -> None:
        plain = sys.exit

        def exit(status: Any = None, /) -> None:
            raise SystemExit(status)

        exit.__doc__ = plain.__doc__
        main = vars(sys.modules["__main__"])
        for name in [name for name, value in main.items() if value is plain]:
            main[name] = exit  # `from sys import exit`
        sys.exit = exit  # type: ignore[assignment]  # it does not return either
