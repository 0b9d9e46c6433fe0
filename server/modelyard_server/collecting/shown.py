"""What the commands about space print: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from modelyard_server.collecting.holders import Explanation
from modelyard_server.collecting.totals import KINDS, Totals
from modelyard_server.collecting.usage import Held, InStore


def size(count: int) -> str:
    """A number of bytes for people."""
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return f"{count / unit:,.1f} {name}"
    return f"{count:,} bytes"


def totals(done: Totals, *, as_json: bool) -> list[str]:
    """What was collected, or would be."""
    if as_json:
        counts = {kind: _counted(*done.get(kind)) for kind in KINDS}
        return [json.dumps(counts | {"waiting_bytes": done.waiting})]
    lines = [f"{count:>10,} {KINDS[kind]}, {size(bytes_)}" for kind, count, bytes_ in done]
    if done.waiting:
        lines.append(f"{size(done.waiting)} stay in the trash until their retention is over (--retention)")
    return lines or ["there is nothing to collect"]


def usage(found: Sequence[InStore] | Sequence[Held], *, as_json: bool) -> list[str]:
    """A line for each entity, project or artifact."""
    if as_json:
        return [json.dumps([each._asdict() for each in found])]
    if not found:
        return ["nothing is stored"]
    rows = [_cells(each) for each in found]
    table = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        )
        for row in table
    ]


def explanation(found: Explanation, *, as_json: bool) -> list[str]:
    """Who needs the bytes of a ref."""
    if as_json:
        holders = [holder._asdict() for holder in found.holders]
        return [json.dumps({**vars(found), "holders": holders})]
    return [
        f"{found.name}: {size(found.size)}, versions: {found.versions}",
        f"  deleting it frees {size(found.alone)}",
        *(f"  {size(holder.size)} are needed by {holder.what}, too" for holder in found.holders),
        *(f"  {each}: goes with it only if the delete is forced" for each in found.refusing),
    ]


def _cells(each: InStore | Held) -> dict[str, str]:
    if isinstance(each, InStore):
        return {
            "ENTITY": each.name,
            "STORED": size(each.stored),
            "NEEDED": size(each.needed),
            "DEAD": size(each.dead),
            "TRASH": size(each.trash),
        }
    return {
        "NAME": each.name,
        "VERSIONS": f"{each.versions:,}",
        "HELD": size(each.held),
        "SHARED": size(each.shared),
        "FREED IF DELETED": size(each.alone),
    }


def _counted(count: int, bytes_: int) -> dict[str, int]:
    return {"count": count, "bytes": bytes_}
