"""Runs the sides of a comparison in turn, and makes what they are given."""

from __future__ import annotations

import mmap
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.children import ChildFailed
from tests.bench.results import NotMeasured, Row, Target

MIB = 1 << 20
_BLOCK = 16 * MIB
_PAGE = 4096
_TOUCHED = 4

Side = Callable[[int], float]


def interleaved(
    rounds: int, *sides: Side, prepare: Callable[[int], object] | None = None, moved: int = 0
) -> list[list[float]]:
    """Calls each side with 0, then each with 1, …: A B A B. Returns the samples of each side.

    The first turn warms both up and is not counted. `prepare` is called before each turn. `moved`:
    bytes that a side moves in a turn; see `level`. Of all sides but the first one a part may be
    missing, which NotMeasured says: it has no samples then.
    """
    taken: list[list[float]] = [[] for _ in sides]
    absent: set[int] = set()
    for turn in range(rounds + 1):
        if prepare is not None:
            prepare(turn)
        for number, side in enumerate(sides):
            if number in absent:
                continue
            level(moved)
            try:
                sample = side(turn)
            except NotMeasured:
                if number == 0:
                    raise
                absent.add(number)
                continue
            if turn > 0:
                taken[number].append(sample)
    return taken


def compare(
    target: Target,
    rounds: int,
    ours: Side,
    peer: Side,
    prepare: Callable[[int], object] | None = None,
    moved: int = 0,
) -> Row:
    """Both sides of a target, in turn; see `interleaved`."""
    own, other = interleaved(rounds, ours, peer, prepare=prepare, moved=moved)
    return Row(target, own, other)


def level(moved: int) -> None:
    """Makes the ground the same for whoever is measured next, who will move that many bytes.

    What others have left in memory is on disk afterwards. And a virtual machine's free memory has been
    touched: what the host has taken back costs two seconds a gigabyte when it is used again, and the
    file that happens to get it looks half as fast as the next one.
    """
    os.sync()
    if not moved or not hasattr(mmap, "MADV_HUGEPAGE"):
        return
    with mmap.mmap(-1, _TOUCHED * moved, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        for start in range(0, len(memory), _PAGE):
            memory[start] = 1


def random_file(path: Path, size: int) -> Path:
    """A new file of `size` random bytes: nothing in it can be compressed or is stored already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for first in range(0, size, _BLOCK):
            file.write(os.urandom(min(_BLOCK, size - first)))
        file.flush()
        os.fsync(file.fileno())
    return path


def random_folder(path: Path, files: int, size: int) -> Path:
    """A new folder with as many random files, a hundred in each of its folders."""
    for number in range(files):
        folder = path / f"part-{number // 100:03}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:05}.bin").write_bytes(os.urandom(size))
    return path


def checked(answer: dict[str, Any], logged: Path) -> float:
    """The seconds of a download that brought the right bytes, which then make room for the next."""
    got = Path(answer["path"])
    if logged.is_file() and got.is_dir():
        got = next(path for path in got.rglob("*") if path.is_file())
    if not _equal(logged, got):
        raise ChildFailed(f"{got} is not what was logged")
    shutil.rmtree(got) if got.is_dir() else got.unlink()
    return float(answer["seconds"])


def _equal(one: Path, other: Path) -> bool:
    if one.is_dir():
        names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
        found = sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
        return names == found and all(_equal(one / name, other / name) for name in names)
    with one.open("rb") as left, other.open("rb") as right:
        while block := left.read(_BLOCK):
            if right.read(_BLOCK) != block:
                return False
        return not right.read(1)
