"""Log lines on standard error: one JSON object each, with secrets redacted."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from types import TracebackType

_SECRETS = re.compile(
    r"(?P<key>\bmy_)[A-Za-z0-9_-]{32,128}"
    r"|(?P<bearer>\bbearer\s+)[^\s\"']+"
    r"|(?P<url>\b[a-z][a-z0-9+.-]*://[^\s/:@\"']*:)[^\s\"']+(?=@)",
    re.IGNORECASE,
)


class JsonLines(logging.Formatter):
    """Formats a record as a JSON object. `extra={"fields": {…}}` adds entries."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line, without a line break."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return redacted(json.dumps(line, ensure_ascii=False, default=str))


def redacted(text: str) -> str:
    """The text without API keys, bearer tokens and passwords in URLs.

    Our own messages contain none. This is a second safeguard, for messages of
    libraries.
    """
    return _SECRETS.sub(lambda found: f"{found[found.lastgroup or 0]}…", text)


def configure(level: str) -> None:
    """Logs the server's messages of at least this level to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("modelyard_server").setLevel(level.upper())
    sys.excepthook = _log_uncaught


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger("modelyard_server").critical(
        "the server ended by an unexpected error", exc_info=(kind, error, trace)
    )
