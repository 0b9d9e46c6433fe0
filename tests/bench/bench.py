"""What a measurement is: its targets, and the function that takes their samples."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import sides
from tests.bench.children import Worker
from tests.bench.results import Row, Target
from tests.bench.sides import Side

_started = time.monotonic()


@dataclass
class Place:
    """Where measurements are made, at which sizes, and the two servers that most of them share."""

    folder: Path
    quick: bool
    _open: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _shared: dict[str, Side] = field(default_factory=dict)

    def size(self, *, quick: int, full: int) -> int:
        """A size or a number of repetitions."""
        return quick if self.quick else full

    def mlflow(self) -> Side:
        """MLflow's server. Raises NotMeasured."""
        return self._share("mlflow-server", sides.mlflow_server)

    def modelyard(self) -> Side:
        """Our server on SQLite and a folder."""
        return self._share("modelyard-server", sides.modelyard_server)

    @contextlib.contextmanager
    def clients(self, folder: Path) -> Iterator[tuple[Worker, Worker]]:
        """A client of each; ours has a run."""
        # The part that may be missing comes first.
        theirs, ours = self.mlflow(), self.modelyard()
        with sides.modelyard_worker(ours, folder / "modelyard", embedded=True) as own:
            own.call("start")
            with sides.mlflow_worker(theirs, folder / "mlflow") as peer:
                yield own, peer

    def close(self) -> None:
        """Ends the servers."""
        self._open.close()

    def _share(self, name: str, start: Callable[[Path], contextlib.AbstractContextManager[Side]]) -> Side:
        if name not in self._shared:
            say(f"starting {name}")
            self._shared[name] = self._open.enter_context(start(self.folder / name))
        return self._shared[name]


@dataclass(frozen=True)
class Bench:
    """A measurement. `measure` gets an empty folder and yields a row for each target."""

    name: str
    targets: tuple[Target, ...]
    measure: Callable[[Place, Path], Iterator[Row]]


def say(text: str) -> None:
    """Tells whoever waits what is being done."""
    print(f"[{time.monotonic() - _started:4.0f} s] {text}", file=sys.stderr, flush=True)
