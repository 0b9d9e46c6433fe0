"""Values that are wrong wherever their kind is expected, by what is wrong with them."""

from __future__ import annotations

import base64
import json
from typing import Any

TOO_LONG = {"too long": "x" * 129}
CHARACTERS = {
    "U+0000": "a\0b",
    "a line break": "a\nb",
    "a delete": "a\x7fb",
    "a right-to-left override": "a\u202eb",
    "an isolate": "a\u2066b",
}
"""Control and bidirectional characters."""
DOTS = {"a dot": ".", "two dots": ".."}
NAMES = {
    **TOO_LONG,
    **CHARACTERS,
    **DOTS,
    "a slash": "a/b",
    "a colon": "a:b",
    "percent-encoded": "a%2Fb",
    "a space at the end": "a ",
    "a letter beyond ASCII": "mod\u00e8le",
}
"""For names of collections, projects and entities."""
ALIASES = {
    **TOO_LONG,
    **CHARACTERS,
    **DOTS,
    "empty": "",
    "a slash": "a/b",
    "a colon": "a:b",
    "percent-encoded": "a%2Fb",
    "a space in front": " a",
    "a version": "v1",
    "a version with zeros": "v007",
}
RUN_TAGS = {**TOO_LONG, **CHARACTERS, "empty": ""}
TAGS = {**TOO_LONG, **CHARACTERS, "empty": "", "a slash": "a/b", "a space at the end": "a "}
SOME_NAMES = {kind: NAMES[kind] for kind in ("too long", "U+0000", "two dots", "a slash")}
PATHS = {
    **{f"holds {kind}": text for kind, text in CHARACTERS.items()},
    "empty": "",
    "absolute": "/etc/passwd",
    "climbs": "../a",
    "climbs inside": "a/../../b",
    "an empty part": "a//b",
    "a slash at the end": "a/",
    "a dot": "./a",
    "1,025 bytes": "x" * 1025,
    "1,026 bytes of 342 characters": "\u20ac" * 342,
    "33 levels": "/".join("x" * 33),
}
SOME_PATHS = {kind: PATHS[kind] for kind in ("empty", "absolute", "climbs", "holds U+0000", "33 levels")}
IDS = {"a word": "no-id", "too long": "0" * 2000, "U+0000": "a\0b", "a wrong digit": "g" * 32}
DIGESTS = {
    "upper case": "AB" * 32,
    "short": "ab" * 31,
    "long": "ab" * 33,
    "not hex": "xy" * 32,
    "digits of another script": "\u0661" * 64,
}
"""For digests in hex."""
CHUNK_DIGESTS = {"empty": b"", "31 bytes": b"\1" * 31, "33 bytes": b"\1" * 33}
SIZES = {"negative": -1, "the least": -(2**63), "beyond 2^62": 2**62 + 1, "the most": 2**63 - 1}
PAGE_SIZES = {"negative": -1, "the least": -(2**31)}


def _token(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


TOKENS = {
    "a word": "x",
    "not base64": "!!!!",
    "beyond ASCII": "\u00e9" * 8,
    "U+0000": "\0",
    "too long": "A" * 9000,
    "an object": _token({}),
    "a number": _token(7),
    "a wrong hash": _token([1, "a" * 24, ["x"]]),
    "another version": _token([99, "a" * 24, []]),
    "no positions": _token([1, "a" * 24]),
    "nested": base64.urlsafe_b64encode(b"[" * 5000).decode(),
}
FILTERS = {
    "U+0000": "\0",
    "no value": "name =",
    "no field": "= 'x'",
    "an unknown field": "nothing = 1",
    "SQL": "name = 'x'; DROP TABLE run --",
    "an open text": "name = 'x",
    "an open parenthesis": "(name = 'x'",
    "33 levels": "(" * 40 + "name = 'x'" + ")" * 40,
    "AND with OR": "name = 'x' AND name = 'y' OR name = 'z'",
    "101 comparisons": " OR ".join(["name = 'x'"] * 101),
    "too long": "x" * 4097,
    "keys of a text": "name.key = 'x'",
    "a key of U+0000": 'name."\0" = 1',
    "a text of U+0000": "name = '\0'",
    "a number for a text": "name = 1",
    "a star": "name = *",
}
ORDERS = {
    "an unknown field": "nothing",
    "a direction": "name down",
    "twice": "name, name desc",
    "a comma at the end": "name,",
    "SQL": "name; DROP TABLE run",
    "U+0000": "\0",
    "nine parts": ", ".join(f"name{number}" for number in range(9)),
}


def nested(levels: int) -> dict[str, Any]:
    """A value of so many levels of lists around a number."""
    value: dict[str, Any] = {"int_value": 1}
    for _ in range(levels):
        value = {"list_value": {"values": [value]}}
    return value


VALUES = {
    "without a kind": {},
    "a null of false": {"null_value": False},
    "21 levels": nested(21),
    "a text of U+0000": {"string_value": "a\0b"},
    "a text too long": {"string_value": "x" * 1_000_001},
}
"""For values at the top of a map. All but the first two are wrong as a whole."""
TIMES = {
    "before the year 1": {"seconds": -62_135_596_801},
    "after the year 9999": {"seconds": 253_402_300_800},
    "negative nanoseconds": {"seconds": 0, "nanos": -1},
    "a second of nanoseconds": {"seconds": 0, "nanos": 1_000_000_000},
}
