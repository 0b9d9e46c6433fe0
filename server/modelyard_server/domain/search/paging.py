"""Keyset pages: each starts after the last row of the one before, so added and deleted rows shift nothing.

A token has the position and a hash that binds it to its query. It grants nothing:
the next page runs the same query again, with the same checks.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Select, String, Uuid, and_, literal, or_, tuple_
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard.contract.limits import PAGE_ITEMS
from modelyard_server.domain.search.filters import NAME, NAME_PART, unquote

DEFAULT_SIZE = 50
ORDER_LIMIT = 8
"""Parts of an order."""
TOKEN_LIMIT = 8192
_FORMAT = 1
_INT64 = 1 << 63
_PART = re.compile(rf"\s*(?P<name>{NAME})(?:\s+(?P<direction>asc|desc))?\s*(?:,(?=\s*\S)|$)", re.DOTALL)


@dataclass(frozen=True)
class Term:
    """One column of an order, which must not be NULL."""

    column: ColumnElement[Any]
    descending: bool = False


@dataclass(frozen=True)
class OrderBy:
    """An order without ties: its last column is unique among the rows."""

    terms: tuple[Term, ...]

    @classmethod
    def parse(
        cls, text: str, allowed: Mapping[str, ColumnElement[Any]], *, default: str, tie: ColumnElement[Any]
    ) -> OrderBy:
        """`name [desc]`, several separated by commas. Raises InvalidField for a field not allowed."""
        keys = split(text, allowed, default=default)
        terms = [Term(allowed[key.name], key.descending) for key in keys]
        return cls((*terms, Term(tie, terms[0].descending)))

    def after(self, values: Sequence[Any]) -> ColumnElement[bool]:
        """The condition of the rows after a position."""
        bound = [literal(value, term.column.type) for term, value in zip(self.terms, values, strict=True)]
        columns = [term.column for term in self.terms]
        if len({term.descending for term in self.terms}) == 1:
            # A comparison of rows, for which both databases use an index.
            left, right = tuple_(*columns), tuple_(*bound)
            return left < right if self.terms[0].descending else left > right
        return or_(
            *(
                and_(
                    *(column == value for column, value in zip(columns[:i], bound[:i], strict=True)),
                    columns[i] < bound[i] if self.terms[i].descending else columns[i] > bound[i],
                )
                for i in range(len(columns))
            )
        )


class OrderKey(NamedTuple):
    """One part of an order: `metadata.acc desc` has the name `metadata` and the path `acc`."""

    name: str
    path: tuple[str, ...]
    descending: bool


def split(text: str, names: Collection[str], *, default: str, maps: Collection[str] = ()) -> list[OrderKey]:
    """The parts of an order; only the names in `maps` are followed by a key. Raises InvalidField."""
    keys: list[OrderKey] = []
    rest = text.strip() or default
    while rest:
        match = _PART.match(rest)
        name, *path = [unquote(part) for part in NAME_PART.findall(match["name"])] if match else [""]
        known = name in maps if path else name in names
        if match is None or not known or any("\0" in part for part in path):
            shown = ", ".join(sorted([*names, *(f"{each}.KEY" for each in maps)]))
            wrong = rest.partition(",")[0].strip()[:100]
            raise errors.InvalidField.of(
                "order_by", f"{wrong!r} is not one of {shown} with an optional `desc`"
            )
        key = OrderKey(name, tuple(path), match["direction"] == "desc")
        if any(known[:2] == key[:2] for known in keys):
            raise errors.InvalidField.of("order_by", f"{match['name'][:100]!r} appears twice")
        if len(keys) == ORDER_LIMIT:
            raise errors.InvalidField.of("order_by", f"has more than {ORDER_LIMIT} parts")
        keys.append(key)
        rest = rest[match.end() :]
    return keys


def check_size(asked: int, *, default: int = DEFAULT_SIZE, limit: int = PAGE_ITEMS) -> int:
    """The size of a page: 0 is the default, more than the limit is the limit. Raises InvalidField below 0."""
    if asked < 0:
        raise errors.InvalidField.of("page_size", f"is {asked}; expected 0 (the default, {default}) or more")
    return min(asked, limit) or default


def page(
    session: Session,
    statement: Select[*tuple[Any, ...]],
    *,
    order: OrderBy,
    size: int,
    token: str,
    binding: Sequence[object],
) -> tuple[list[Any], str]:
    """One page of a select, and the token of the next; empty on the last.

    Rows are what the select returns: the object itself if it selects one. `binding`
    identifies the query, without the page size. Raises InvalidPageToken.
    """
    columns = [term.column for term in order.terms]
    if token:
        statement = statement.where(order.after(decode(token, binding, columns)))
    width = len(statement.column_descriptions)
    directed = [term.column.desc() if term.descending else term.column.asc() for term in order.terms]
    found = session.execute(statement.add_columns(*columns).order_by(*directed).limit(size + 1)).all()
    kept = found[:size]
    following = encode(binding, kept[-1][width:]) if len(found) > size else ""
    return [row[0] if width == 1 else tuple(row[:width]) for row in kept], following


class Segment(NamedTuple):
    """A query with its own order: one of several whose results follow each other in one list."""

    statement: Select[*tuple[Any, ...]]
    order: OrderBy


def page_of_segments(
    session: Session, chain: Sequence[Segment], *, size: int, token: str, binding: Sequence[object]
) -> tuple[list[Any], str]:
    """One page over the results of several queries in sequence; otherwise as `page`."""
    first, inner = 0, ""
    if token:
        first, inner = _place(token, binding, len(chain))
    rows: list[Any] = []
    for index in range(first, len(chain)):
        found, inner = page(
            session,
            chain[index].statement,
            order=chain[index].order,
            size=size - len(rows),
            token=inner,
            binding=(*binding, index),
        )
        rows += found
        if inner:
            return rows, encode(binding, [index, inner])
        if len(rows) == size and index + 1 < len(chain):
            # Whether there are more rows is found by the next call; the last page may be empty.
            return rows, encode(binding, [index + 1, ""])
    return rows, ""


def _place(token: str, binding: Sequence[object], count: int) -> tuple[int, str]:
    index, inner = decode(token, binding, (KEY, _INNER))
    if not 0 <= index < count:
        raise _refused()
    return index, inner


def encode(binding: Sequence[object], values: Sequence[Any]) -> str:
    """The page token of a position, whose values are integers, floats, text or bytes."""
    plain = [{"b": value.hex()} if isinstance(value, bytes) else value for value in values]
    body = json.dumps([_FORMAT, _hash(binding, plain), plain], separators=(",", ":"))
    return base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")


def decode(token: str, binding: Sequence[object], columns: Sequence[ColumnElement[Any]]) -> list[Any]:
    """The values of a page token of this query. Raises InvalidPageToken for any other."""
    try:
        plain = _open(token, binding)
        if len(plain) != len(columns):
            raise ValueError("another number of columns")
        return [_value(item, column) for item, column in zip(plain, columns, strict=True)]
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error):
        raise _refused() from None


def _refused() -> errors.InvalidPageToken:
    return errors.InvalidPageToken(
        "the page token is not from this query; start again without one",
        violations=[("page_token", "was not given out by a call with the same other fields")],
    )


def _open(token: str, binding: Sequence[object]) -> list[Any]:
    if len(token) > TOKEN_LIMIT:
        raise ValueError("too long")
    raw = token.encode("ascii")
    body = base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)
    version, hash_, plain = json.loads(body)
    if version != _FORMAT or not isinstance(plain, list) or hash_ != _hash(binding, plain):
        raise ValueError("another query")
    return plain


def _hash(binding: Sequence[object], plain: Sequence[Any]) -> str:
    text = json.dumps([[str(part) for part in binding], plain], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _value(item: Any, column: ColumnElement[Any]) -> Any:
    """The value if it has the column's type: the hash is not secret, so tokens may be forged."""
    expected = column.type.python_type
    if expected is bytes:
        return bytes.fromhex(item["b"])
    if type(item) is not expected:
        raise TypeError(f"{type(item).__name__} for {column}")
    if isinstance(column.type, Uuid):
        return str(uuid.UUID(item))
    if isinstance(item, int) and not -_INT64 <= item < _INT64:
        raise ValueError("beyond 64 bits")
    if isinstance(item, str) and "\0" in item:
        raise ValueError("holds U+0000")
    return item


_INNER = literal("", String())
KEY = literal(0, BigInteger())
"""Stands for a position's integer that is not a column of a table."""
