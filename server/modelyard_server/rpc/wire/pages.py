"""Pages that stay below the size limit of a message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from modelyard.contract import errors

PAGE_BYTES = 3 << 20
"""Most bytes of the items of a page; a longer page is cut."""

M = TypeVar("M", bound=Message)


def fitting(page: Callable[[int], tuple[list[M], str]], size: int) -> tuple[list[M], str]:
    """Returns a page of at most `size` messages and its token: fewer where they are large, at least one."""
    while True:
        messages, token = page(size)
        count = _fitting(messages)
        if count == len(messages):
            return messages, token
        size = count


def check(messages: Sequence[Message], field: str) -> None:
    """Raises InvalidField where the messages do not fit one reply."""
    count = _fitting(messages)
    if count < len(messages):
        raise errors.InvalidField.of(field, f"the reply is too large; ask for {count} at a time")


def _fitting(messages: Sequence[Message]) -> int:
    total = 0
    for index, message in enumerate(messages):
        total += message.ByteSize()
        if index and total > PAGE_BYTES:
            return index
    return len(messages)
