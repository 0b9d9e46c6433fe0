"""`Html`: a page."""

from __future__ import annotations

import os
from typing import Any

from modelyard.media import content
from modelyard.media.content import Content
from modelyard.media.media import FileMedia

_HEAD = '<base target="_blank">'
"""Links of a page that is shown in a frame open in a tab of their own."""


class Html(FileMedia):
    """HTML: as text, a file that was opened, or the path of a file (text that ends in `.html`).

    With `data_is_not_path` text is never a path. `inject` adds to it that links open in a tab of
    their own. Errors: TypeError, OSError.
    """

    type_name = "html-file"
    folder = "html"
    list_type = "html"
    list_key = "html"

    def __init__(
        self, data: Any, inject: bool = True, data_is_not_path: bool = False, caption: str | None = None
    ) -> None:
        text = _text(data, may_be_path=not data_is_not_path)
        super().__init__(Content(".html", (_injected(text) if inject else text).encode()), caption)

    @property
    def html(self) -> str:
        """The text."""
        return self.content.read().decode()

    def _repr_html_(self) -> str:
        """As notebooks show it."""
        return self.html


def _text(data: Any, *, may_be_path: bool) -> str:
    if isinstance(data, os.PathLike) or (may_be_path and isinstance(data, str) and _is_path(data)):
        return content.at_path(data).read().decode()
    if callable(getattr(data, "read", None)):
        if callable(getattr(data, "seek", None)):
            data.seek(0)
        data = data.read()
    if isinstance(data, bytes):
        data = data.decode()
    if not isinstance(data, str):
        raise TypeError(f"Html takes text, a file or a path, not {type(data).__name__}")
    return data


def _is_path(text: str) -> bool:
    return text.endswith((".html", ".htm")) and "\n" not in text and "<" not in text


def _injected(text: str) -> str:
    head = text.lower().find("<head>")
    at = head + len("<head>") if head >= 0 else 0
    return text[:at] + _HEAD + text[at:]
