"""Statuses of errors fit the headers that clients accept, whatever text is in them."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest

from modelyard import errors
from modelyard_server.rpc.dispatch import statuses

HEADERS = 8 << 10
OTHERS = 256
"""Bytes of the other headers of a refusal, with some to spare."""
TEXTS = {
    "ASCII": "x",
    "percents": "%",
    "control characters": "\n",
    "three bytes": "\u20ac",
    "four bytes": "\U0001f600",
    "mixed": "x\u20ac%",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_status_of_long_texts_fits_the_headers_and_keeps_how_they_begin(text: str) -> None:
    long = text * 5000
    error = errors.InvalidField(
        long, violations=[(long, long)] * 5, metadata=dict.fromkeys(("ref", "why", "missing"), long)
    )
    status = statuses.status_of(error)
    details = base64.b64encode(status.SerializeToString())
    assert len(quote(status.message, safe=" ")) + len(details) < HEADERS - OTHERS
    assert status.message.startswith(text * 20)
    assert status.message.endswith("\u2026")


def test_a_short_text_stays_as_it_is() -> None:
    text = "the run \u201cmod\u00e8le\u201d was not found: 100 %"
    assert statuses.status_of(errors.NotFound(text)).message == text
