"""`python -m tests.bench`: measures and prints one table."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.bench import Bench, Place, say
from tests.bench.children import ChildFailed
from tests.bench.measures import (
    concurrent_clients,
    log_and_use,
    log_returns,
    peak_memory,
    resolve_alias,
    search,
    second_version,
    small_files,
    small_writes,
    starting,
    through_s3,
    unchanged_folder,
    watchers,
)
from tests.bench.measures.runs import (
    logged_images,
    metric_points,
    metric_samples,
    run_pages,
    run_watchers,
    whole_runs,
)
from tests.bench.results import NotMeasured, Row, as_json, table
from tests.bench.web import page

BENCHES = (
    log_and_use.BENCH,
    log_returns.BENCH,
    through_s3.BENCH,
    second_version.BENCH,
    unchanged_folder.BENCH,
    small_files.BENCH,
    metric_points.BENCH,
    resolve_alias.BENCH,
    small_writes.BENCH,
    starting.BENCH,
    peak_memory.BENCH,
    concurrent_clients.BENCH,
    search.BENCH,
    run_pages.BENCH,
    watchers.BENCH,
    metric_samples.BENCH,
    run_watchers.BENCH,
    whole_runs.BENCH,
    logged_images.BENCH,
    page.BENCH,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what was asked for. 1 when a measurement failed; a part that is missing is no failure."""
    asked = _parser().parse_args(arguments)
    chosen = [bench for bench in BENCHES if not asked.names or bench.name in asked.names]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="modelyard-bench-", dir=asked.folder) as folder:
        place = Place(Path(folder), asked.quick)
        try:
            for bench in chosen:
                say(bench.name)
                rows += measured(bench, place)
        finally:
            place.close()
    rows.sort(key=lambda row: int(row.target.number))
    print(table(rows))
    if asked.json:
        asked.json.write_text(as_json(rows, _facts(asked.quick)), encoding="utf-8")
    return 1 if any(row.failed for row in rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    names = [bench.name for bench in BENCHES]
    parser.add_argument(
        "names", nargs="*", metavar="name", choices=[*names, []], help=f"of: {', '.join(names)}"
    )
    parser.add_argument("--quick", action="store_true", help="reduced sizes: minutes instead of an hour")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there as well")
    parser.add_argument("--folder", type=Path, help="where the data goes (default: the temporary folder)")
    return parser


def measured(bench: Bench, place: Place) -> list[Row]:
    """A row for each of its targets, whatever happens."""
    folder = place.folder / bench.name
    folder.mkdir()
    rows: list[Row] = []
    reason, failed = "", False
    try:
        for row in bench.measure(place, folder):
            say("  ".join(cell for cell in row.cells() if cell))
            rows.append(row)
    except NotMeasured as error:
        reason = str(error)
    except ChildFailed as error:
        say(f"{bench.name} failed: {error}")
        reason, failed = str(error).strip().splitlines()[-1], True
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    done = {row.target for row in rows}
    missing = [target for target in bench.targets if target not in done]
    return [*rows, *(Row(target, reason=reason or "no samples", failed=failed) for target in missing)]


def _facts(quick: bool) -> dict[str, Any]:
    return {
        "quick": quick,
        "processors": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    sys.exit(main())
