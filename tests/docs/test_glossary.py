"""The glossary: every word once, each with a place in the repository that exists."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"
TERM = re.compile(r"^- \*\*(?P<term>[^*]+)\*\*(?: \([^)]+\))?: (?P<text>.+)$", re.MULTILINE)
SEE = re.compile(r" See \[[^]]+\]\((?P<path>[^)#]+)(?:#(?P<anchor>[^)]+))?\)\.$")
TERMS = {found["term"]: found["text"] for found in TERM.finditer(GLOSSARY.read_text())}


def _anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_term_is_there_once() -> None:
    every = Counter(found["term"].lower() for found in TERM.finditer(GLOSSARY.read_text()))
    assert [term for term, count in every.items() if count > 1] == []
    assert len(every) == GLOSSARY.read_text().count("\n- ")


@pytest.mark.parametrize("term", sorted(TERMS))
def test_links_of_every_term_exist(term: str) -> None:
    see = SEE.search(TERMS[term])
    assert see is not None, TERMS[term]
    place = (GLOSSARY.parent / see["path"]).resolve()
    assert place.is_relative_to(ROOT)
    assert place.exists(), see["path"]
    if see["anchor"]:
        assert see["anchor"] in _anchors(place), see["anchor"]


def test_readme_and_architecture_link_the_glossary() -> None:
    for document in ("README.md", "ARCHITECTURE.md"):
        assert "(docs/glossary.md)" in (ROOT / document).read_text(), document
