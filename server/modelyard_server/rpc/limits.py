"""How many streams a process serves at once."""

from __future__ import annotations

from types import TracebackType

from modelyard import errors


class StreamLimit:
    """A context manager that refuses the stream after the last; event loop only. Raises TooManyStreams."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.open = 0

    def __enter__(self) -> StreamLimit:
        if self.open >= self.most:
            raise errors.TooManyStreams(f"this server has {self.most} such streams open; try again shortly")
        self.open += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.open -= 1
