"""What a measurement is: its targets, and the function that takes their samples."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.bench import sides
from tests.bench.children import AbsentWorker, Worker
from tests.bench.results import NotMeasured, Row, Target
from tests.bench.sides import Side

N = TypeVar("N", int, float)
_started = time.monotonic()


@dataclass
class Place:
    """Where measurements are made, at which sizes, and the two servers that most of them share.

    `tiny` is for a try of the measurements themselves: sizes that say nothing, and no
    peer that has to be installed.
    """

    folder: Path
    quick: bool
    tiny: bool = False
    _open: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _shared: dict[str, Side] = field(default_factory=dict)

    def size(self, *, quick: N, full: N, tiny: N | None = None) -> N:
        """A size or a number of repetitions; a tiny one is by default a hundredth of a quick one."""
        if self.tiny:
            return max(type(quick)(1), type(quick)(quick / 100)) if tiny is None else tiny
        return quick if self.quick else full

    def mlflow(self) -> Side:
        """MLflow's server. Raises NotMeasured."""
        self.require_peers()
        return self._share("mlflow-server", sides.mlflow_server)

    def require_peers(self) -> None:
        """Raises NotMeasured where peers that have to be installed are left out."""
        if self.tiny:
            raise NotMeasured("this is a try without peers")

    def modelyard(self) -> Side:
        """Our server on SQLite and a folder."""
        return self._share("modelyard-server", sides.modelyard_server)

    @contextlib.contextmanager
    def clients(self, folder: Path) -> Iterator[tuple[Worker, Worker | AbsentWorker]]:
        """A client of each; ours has a run. Where MLflow is missing, its client raises NotMeasured."""
        with contextlib.ExitStack() as stack:
            peer: Worker | AbsentWorker
            try:
                peer = stack.enter_context(sides.mlflow_worker(self.mlflow(), folder / "mlflow"))
            except NotMeasured as error:
                say(str(error))
                peer = AbsentWorker(str(error))
            place = folder / "modelyard"
            own = stack.enter_context(sides.modelyard_worker(self.modelyard(), place, embedded=True))
            own.call("start")
            yield own, peer

    @contextlib.contextmanager
    def runs(self, folder: Path) -> Iterator[tuple[Worker, Worker | AbsentWorker]]:
        """A client of ours and one of wandb offline, neither with a run."""
        with contextlib.ExitStack() as stack:
            peer: Worker | AbsentWorker
            try:
                self.require_peers()
                peer = stack.enter_context(sides.wandb_worker(folder / "wandb"))
            except NotMeasured as error:
                say(str(error))
                peer = AbsentWorker(str(error))
            place = folder / "modelyard"
            own = stack.enter_context(sides.modelyard_worker(self.modelyard(), place, embedded=True))
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
