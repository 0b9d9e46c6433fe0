"""Each measure of the bench works: tried once at a tiny size, without peers that have to be installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench.__main__ import BENCHES, measured
from tests.bench.bench import Bench, Place
from tests.bench.results import NotMeasured, Row, as_json, table

NEED_PARTS = {"s3", "search", "run-pages", "samples", "web"}
"""Measures of PostgreSQL, of an S3 server, or in Chromium."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Where all measures are tried."""
    place = Place(tmp_path_factory.mktemp("bench"), quick=True, tiny=True)
    yield place
    place.close()


@pytest.mark.parametrize("bench", BENCHES, ids=lambda bench: bench.name)
def test_a_measure_has_samples_for_each_of_its_targets(bench: Bench, place: Place) -> None:
    rows = measured(bench, place)
    assert {row.target for row in rows} == set(bench.targets)
    assert not [row.reason for row in rows if row.failed]
    missing = [row.reason for row in rows if row.reason]
    if missing and bench.name in NEED_PARTS:
        pytest.skip(missing[0])
    assert missing == []
    assert all(row.ours and min(row.ours) >= 0 for row in rows)
    assert len(table(rows).splitlines()) == len(rows) + 2
    assert as_json(rows, {}).count('"number"') == len(rows)


def test_a_missing_peer_leaves_our_figures() -> None:
    from tests.bench.measures.runs.metric_points import CALL, ONE
    from tests.bench.rounds import compare

    def absent(_: int) -> float:
        raise NotMeasured("it is not installed")

    fast: Row = compare(CALL, 2, lambda _: 5.0, absent)
    assert (fast.ours, fast.peer, fast.ratio, fast.reached) == ([5.0, 5.0], [], None, "aim")
    beside: Row = compare(ONE, 2, lambda _: 5.0, absent)
    assert (beside.ratio, beside.reached) == (None, "–")
    assert beside.cells()[2:5] == ("5 points/s", "– (log_batch)", "–")
    with pytest.raises(NotMeasured):
        compare(ONE, 2, absent, lambda _: 5.0)
