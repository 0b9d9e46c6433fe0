"""The language of filters: `type = "model" AND (metadata.acc >= 0.9 OR NOT tags : "old")`.

    filter     = one {"AND" one} | one {"OR" one}
    one        = "NOT" one | "(" filter ")" | field operator value
    field      = name {"." (word | text)}
    operator   = "=" | "!=" | "<" | "<=" | ">" | ">=" | ":"
    value      = text in '…' or "…" | number | "true" | "false" | "*" (after ":": there is a value)

AND and OR do not mix without parentheses: in some languages OR binds closer, in
others AND. Values only ever reach the database as bound parameters, and fields
only as the columns that the caller allows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, NoReturn, TypeAlias

from sqlalchemy import ColumnElement, and_, false, func, not_, or_, select, union_all
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.domain.search.filter_fields import (
    ANY,
    OPERATORS,
    Candidates,
    Comparison,
    Field,
    Group,
    Indexed,
    Literal,
)

LENGTH_LIMIT = 4096
DEPTH_LIMIT = 32
COMPARISON_LIMIT = 100
_SHOWN = 60

_TEXT = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
NAME = rf"[^\W\d]\w*(?:\.(?:[\w/-]+|{_TEXT}))*"
"""A field with its keys."""
NAME_PART = re.compile(rf"\.?({_TEXT}|[\w/-]+)", re.DOTALL)
"""One part of a field name; see `unquote`."""
_TOKEN = re.compile(
    rf"""(?P<space>\s+)
      | (?P<open>\() | (?P<close>\))
      | (?P<operator>!=|<=|>=|=|<|>|:)
      | (?P<text>{_TEXT})
      | (?P<number>[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d{{1,3}})?(?![\w.]))
      | (?P<word>{NAME})
      | (?P<star>\*)""",
    re.VERBOSE | re.DOTALL,
)
_KEYWORDS = {"AND", "OR", "NOT"}


class Token(NamedTuple):
    """A word of a filter and where it begins."""

    kind: str
    text: str
    position: int


class Filter(NamedTuple):
    """The condition of a filter, and indexes that each restrict its rows."""

    condition: ColumnElement[bool]
    candidates: tuple[Candidates, ...] = ()


Fields: TypeAlias = Mapping[str, Field | Group]


def condition(session: Session, text: str, allowed: Fields) -> ColumnElement[bool] | None:
    """The condition of a filter, None for an empty one. Raises InvalidFilter with the position."""
    found = parse(session, text, allowed)
    return found.condition if found else None


def parse(session: Session, text: str, allowed: Fields) -> Filter | None:
    """A filter with its candidates; None if it is empty. Raises InvalidFilter with the position."""
    if not text.strip():
        return None
    if len(text) > LENGTH_LIMIT:
        raise errors.InvalidFilter(
            f"a filter has at most {LENGTH_LIMIT} characters", violations=[("filter", "too long")]
        )
    return _Parser(text, allowed, session.get_bind().dialect.name).parse()


class _Parser:
    def __init__(self, text: str, allowed: Fields, dialect: str) -> None:
        self._text = text
        self._allowed = allowed
        self._dialect = dialect
        self._tokens = self._split()
        self._next = 0
        self._depth = 0
        self._comparisons = 0

    def parse(self) -> Filter:
        whole = self._joined()
        token = self._tokens[self._next]
        if token.kind != "end":
            self._fail(token.position, "expected AND, OR or the end")
        return whole

    def _joined(self) -> Filter:
        """Conditions joined by AND or by OR, of which only one may occur."""
        parts, joined_by = [self._one()], ""
        while (token := self._tokens[self._next]).kind == "keyword" and token.text != "NOT":
            if joined_by not in ("", token.text):
                self._fail(
                    token.position, "AND and OR are mixed: put parentheses around what belongs together"
                )
            joined_by = token.text
            self._next += 1
            parts.append(self._one())
        if not joined_by:
            return parts[0]
        conditions = [part.condition for part in parts]
        if joined_by == "OR":
            return Filter(or_(*conditions), _either(parts))
        return Filter(and_(*conditions), tuple(candidate for part in parts for candidate in part.candidates))

    def _one(self) -> Filter:
        token = self._tokens[self._next]
        self._depth += 1
        if self._depth > DEPTH_LIMIT:
            self._fail(token.position, f"nested deeper than {DEPTH_LIMIT} levels")
        if self._take("keyword", "NOT"):
            # A comparison with a missing value is false, so its negation is true.
            found = Filter(not_(func.coalesce(self._one().condition, false())))
        elif self._take("open"):
            found = self._joined()
            if not self._take("close"):
                self._fail(self._tokens[self._next].position, "expected ')'")
        else:
            found = self._comparison()
        self._depth -= 1
        return found

    def _comparison(self) -> Filter:
        name = self._expect("word", "a field")
        field, path = self._field(name)
        operator = self._expect("operator", "one of " + " ".join(OPERATORS))
        token = self._tokens[self._next]
        value = self._value(token)
        self._next += 1
        self._comparisons += 1
        if self._comparisons > COMPARISON_LIMIT:
            self._fail(name.position, f"more than {COMPARISON_LIMIT} comparisons")
        if operator.text not in field.operators:
            self._fail(operator.position, f"{name.text} knows only {' '.join(sorted(field.operators))}")
        if value is ANY and operator.text != ":":
            self._fail(token.position, "`*` goes with `:` alone")
        comparison = Comparison(self._dialect, path, operator.text, value)
        try:
            found = field.condition(comparison)
        except ValueError as error:
            self._fail(token.position, f"{name.text}: {error}")
        candidate = field.index.candidates(comparison) if isinstance(field, Indexed) else None
        return Filter(found, (candidate,) if candidate else ())

    def _field(self, token: Token) -> tuple[Field, tuple[str, ...]]:
        parts = [
            (unquote(part[1]), token.position + part.start(1)) for part in NAME_PART.finditer(token.text)
        ]
        end = token.position + len(token.text)
        allowed, before = self._allowed, ""
        while True:
            name, position = parts.pop(0)
            field = allowed.get(name)
            if field is None:
                known = ", ".join(before + each for each in sorted(allowed))
                self._fail(position, f"no field {(before + name)[:100]!r}; known: {known}")
            if not isinstance(field, Group):
                break
            before += f"{name}."
            if not parts:
                self._fail(end, f"expected a field, as in {before}{min(field.fields)}")
            allowed = field.fields
        if field.has_keys and not parts:
            self._fail(end, f"expected a key, as in {before}{name}.KEY")
        if parts and not field.has_keys:
            self._fail(parts[0][1] - 1, f"{before}{name} has no keys")
        path = tuple(part for part, _ in parts)
        if any("\0" in part for part in path):
            self._fail(token.position, "a key cannot hold U+0000")
        return field, path

    def _value(self, token: Token) -> Literal:
        if token.kind == "text":
            text = unquote(token.text)
            if "\0" in text:
                self._fail(token.position, "text cannot hold U+0000")
            return text
        if token.kind == "number":
            number = Decimal(token.text)
            return int(token.text) if re.fullmatch(r"[+-]?\d+", token.text) else number
        if token.kind == "word" and token.text in {"true", "false"}:
            return token.text == "true"
        if token.kind == "star":
            return ANY
        return self._refuse_value(token)

    def _refuse_value(self, token: Token) -> NoReturn:
        hint = "; text goes in quotes" if token.kind == "word" else ""
        self._fail(token.position, f"expected a value{hint}")

    def _take(self, kind: str, text: str | None = None) -> bool:
        token = self._tokens[self._next]
        if token.kind != kind or text not in (None, token.text):
            return False
        self._next += 1
        return True

    def _expect(self, kind: str, what: str) -> Token:
        token = self._tokens[self._next]
        if token.kind != kind:
            self._fail(token.position, f"expected {what}")
        self._next += 1
        return token

    def _split(self) -> list[Token]:
        tokens: list[Token] = []
        position = 0
        while position < len(self._text):
            match = _TOKEN.match(self._text, position)
            if match is None:
                quote = self._text[position] in "\"'"
                self._fail(position, "this text does not end" if quote else "this is not understood")
            kind = match.lastgroup or ""
            if kind == "word" and match[0] in _KEYWORDS:
                kind = "keyword"
            if kind != "space":
                tokens.append(Token(kind, match[0], position))
            position = match.end()
        return [*tokens, Token("end", "", len(self._text))]

    def _fail(self, position: int, why: str) -> NoReturn:
        start = max(0, position - _SHOWN // 2)
        # Other white space would displace the caret in the message.
        shown = re.sub(r"\s", " ", self._text[start : start + _SHOWN])
        raise errors.InvalidFilter(
            f"filter, character {position + 1}: {why}\n  {shown}\n  {' ' * (position - start)}^",
            violations=[("filter", f"character {position + 1}: {why}")],
            metadata={"position": str(position + 1)},
        )


def _either(parts: Sequence[Filter]) -> tuple[Candidates, ...]:
    """If every part has an index over the same column, all together restrict the whole filter."""
    firsts = [part.candidates[0] for part in parts if part.candidates]
    if len(firsts) < len(parts) or any(candidate.column is not firsts[0].column for candidate in firsts):
        return ()
    ids = union_all(*(candidate.ids for candidate in firsts)).subquery()
    return (Candidates(firsts[0].column, select(ids.c[0])),)


def unquote(text: str) -> str:
    """The text of a word: unchanged, or without its quotes."""
    if text[0] not in "\"'":
        return text
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
