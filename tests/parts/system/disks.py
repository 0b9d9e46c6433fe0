"""Small disks of their own: tmpfs mounts that can be filled and made read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.parts.processes import missing

MIB = 1 << 20


class Disk:
    """A mounted file system of a few MiB."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True, text=True
        )
        if done.returncode:
            missing(f"no file system can be mounted here: {done.stderr.strip()}")

    @property
    def free(self) -> int:
        """Bytes that may still be written."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Fills it but for `leave` bytes; again after `empty`."""
        with open(self.path / "filling", "ab") as file:
            os.posix_fallocate(file.fileno(), file.tell(), max(1, self.free - leave))

    def shrink(self, leave: int = 64 << 10) -> None:
        """Makes it so small that about `leave` bytes may still be written."""
        found = os.statvfs(self.path)
        size = (found.f_blocks - found.f_bfree) * found.f_frsize + leave
        subprocess.run(["mount", "-o", f"remount,size={size}", self.path], check=True, capture_output=True)

    def empty(self) -> None:
        """Removes what `fill` wrote."""
        (self.path / "filling").unlink()

    def make_read_only(self) -> None:
        """Makes it read-only."""
        subprocess.run(["mount", "-o", "remount,ro", self.path], check=True, capture_output=True)

    def make_writable(self) -> None:
        """Makes it writable again."""
        subprocess.run(["mount", "-o", "remount,rw", self.path], check=True, capture_output=True)

    def unmount(self) -> None:
        """Removes it, even while something has a file open."""
        subprocess.run(["umount", "-l", self.path], check=False, capture_output=True)


DiskFactory = Callable[[str, int], Disk]


@pytest.fixture
def disk_factory(tmp_path: Path) -> Iterator[DiskFactory]:
    """Makes disks: a folder of the test's, and a size in bytes."""
    disks: list[Disk] = []

    def make(name: str, size: int) -> Disk:
        disks.append(Disk(tmp_path / name, size))
        return disks[-1]

    yield make
    for disk in disks:
        disk.unmount()
