"""Output in notebooks: HTML below the cell instead of lines on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from html import escape
from typing import Any

from modelyard.host import terminal

_CELL = "padding:1px 12px 1px 0;text-align:left;vertical-align:top"


def is_active() -> bool:
    """Whether the program runs in the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "ipykernel" in sys.modules and hasattr(shell, "kernel")


def show(html: str, *, updatable: bool = False) -> Any:
    """Shows HTML below the cell. With `updatable` it returns the handle that `replace` takes."""
    from IPython.display import HTML, display

    return display(HTML(html), display_id=True) if updatable else display(HTML(html))


def replace(handle: Any, html: str) -> None:
    """Replaces what `show` has shown."""
    from IPython.display import HTML

    with suppress(Exception):  # the front end may be gone; that must not end a transfer
        handle.update(HTML(html))


def say(lines: Iterable[str], html: str) -> None:
    """Shows the HTML in a notebook, and prints the lines elsewhere."""
    if is_active():
        if not terminal.is_silent():
            show(html)
        return
    for line in lines:
        terminal.termlog(line)


def card(title: str, rows: Mapping[str, Any], *, shown_by: str = "") -> str:
    """HTML of a title and a table; empty values are left out. All texts are escaped.

    `shown_by` is the address of a page, or the command of a shell, that shows more.
    """
    body = "".join(
        f'<tr><td style="{_CELL}">{escape(name)}</td><td style="{_CELL}">{escape(str(value))}</td></tr>'
        for name, value in rows.items()
        if value not in (None, "", [], ())
    )
    if shown_by:
        more = escape(shown_by)
        if terminal.is_address(shown_by):
            shown = f'<a href="{more}" target="_blank" rel="noopener">{more}</a>'
        else:
            shown = f"<code>{more}</code>"
        body += f'<tr><td style="{_CELL}">Shown by</td><td style="{_CELL}">{shown}</td></tr>'
    return f'<div class="modelyard"><b>{escape(title)}</b><table>{body}</table></div>'


def bar(label: str, done: int, total: int, note: str = "") -> str:
    """HTML of a progress bar."""
    return (
        f'<div class="modelyard">{escape(label)} <progress value="{done}" max="{max(total, 1)}"></progress> '
        f"{escape(note)}</div>"
    )
