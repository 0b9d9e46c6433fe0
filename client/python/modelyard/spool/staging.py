"""Copies of files that are sent later, in the folder of their run.

artifacts/<id>/files.json    path, name and size of each copy, and the references
artifacts/<id>/<number>      the copies
artifacts/<id>/call.json     the call that is to be made with them, while it was not made
artifacts/<id>/base.json     the version that it is based on, once that was looked up
artifacts/<id>/version.json  the version that was made of them
artifacts/<id>/refused.json  why it was refused

A run without a server has its calls in its spool instead of `call.json`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelyard.contract import errors
from modelyard.host import disk_space
from modelyard.host.file_copies import clone
from modelyard.host.local_files import LocalFile
from modelyard.spool.json_files import read_json, replace_json

REMEDY = "set MODELYARD_DIR to a folder on another disk"
_FILES, _CALL, _BASE, _VERSION, _REFUSED = (
    "files.json", "call.json", "base.json", "version.json", "refused.json"
)  # fmt: skip


class Stage:
    """The copies for one call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def copy(
        self, files: Sequence[LocalFile], references: Sequence[dict[str, Any]], *, margin: int = 0
    ) -> None:
        """Copies files, or shares their blocks until either side changes.

        `margin` is how many bytes have to stay free. Errors: LocalDiskFull before the
        first byte where they surely do not fit, LocalFileError for a file that changes
        meanwhile, OSError; then there are no copies.
        """
        self.folder.mkdir(parents=True)
        sizes = [os.path.getsize(file.source) for file in files]
        left = sum(sizes)
        try:
            for number, file in enumerate(files):
                _copy(file, self.folder / str(number), left + margin)
                left -= sizes[number]
            names = [[file.path, str(number), sizes[number]] for number, file in enumerate(files)]
            replace_json(self.folder / _FILES, {"files": names, "references": list(references)})
        except BaseException:
            self.remove()
            raise

    def files(self) -> list[LocalFile]:
        """The copies, by their paths in the manifest. LocalFileError for one that is incomplete."""
        kept = read_json(self.folder / _FILES)
        if not kept:
            raise errors.LocalFileError(f"the copies in {str(self.folder)!r} are incomplete")
        found = []
        for path, name, *size in kept["files"]:
            copy = self.folder / name
            # Without fsync, a machine that loses power may lose the end of a file and keep its name.
            if not copy.exists() or (size and copy.stat().st_size != size[0]):
                raise errors.LocalFileError(f"the copy {str(copy)!r} of {path!r} is incomplete")
            found.append(LocalFile(path, copy))
        return found

    def references(self) -> list[dict[str, Any]]:
        """The references, as `copy` got them."""
        return list(read_json(self.folder / _FILES).get("references", ()))

    @property
    def call(self) -> dict[str, Any]:
        """The call that is to be made; empty when there is none, or none any more."""
        return read_json(self.folder / _CALL)

    def keep_call(self, content: Mapping[str, Any]) -> None:
        """Records the call that is to be made. Errors: OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_json(self.folder / _CALL, content)

    @property
    def base_id(self) -> str | None:
        """The global id of the version to start from, empty for none; None before it was looked up."""
        found = read_json(self.folder / _BASE).get("id")
        return None if found is None else str(found)

    def keep_base(self, version_id: str) -> None:
        """Records the version to start from, so that a repeated call starts from the same one."""
        replace_json(self.folder / _BASE, {"id": version_id})

    @property
    def version_id(self) -> str:
        """The global id of the version that was made; empty before."""
        return str(read_json(self.folder / _VERSION).get("id", ""))

    def keep_version(self, version_id: str) -> None:
        """Records which version was made. A disk that takes nothing is no error: see `finish`."""
        with suppress(OSError):
            replace_json(self.folder / _VERSION, {"id": version_id})

    @property
    def refusal(self) -> str:
        """Why the call was refused; empty where it was not."""
        return str(read_json(self.folder / _REFUSED).get("error", ""))

    def keep_refusal(self, error: str) -> None:
        """Records why the call was refused; it stays to be made, by `modelyard sync`."""
        with suppress(OSError):
            replace_json(self.folder / _REFUSED, {"error": error})

    def remove(self) -> None:
        """Removes everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def finish(self, made: str = "") -> None:
        """Removes the call and the copies after the call was made; what version was made stays known.

        `made` is its id. Where it could not be recorded, all stays as it is: `modelyard sync`
        makes the call again, which has no second effect, and then knows it.
        """
        if made and not self.version_id:
            return
        with suppress(OSError):
            (self.folder / _CALL).unlink(missing_ok=True)
            for entry in os.scandir(self.folder):
                if entry.name != _VERSION:
                    os.unlink(entry.path)


def waiting(stages: Path) -> list[dict[str, Any]]:
    """The calls below a folder of stages that were not made yet, in their order."""
    calls = [call for path in stages.glob(f"*/{_CALL}") if (call := Stage(path.parent).call)]
    return sorted(calls, key=lambda call: int(call["number"]))


def _copy(file: LocalFile, target: Path, needed: int) -> None:
    source = Path(file.source)
    if file.is_private:
        with suppress(OSError):  # another file system, or one without hard links
            os.link(source, target)
            return
    with open(source, "rb") as reader, open(target, "xb") as writer:
        before = os.fstat(reader.fileno())
        if not clone(reader.fileno(), writer.fileno()):
            with disk_space.writing(target.parent, needed, REMEDY):
                shutil.copyfileobj(reader, writer, 1 << 20)
                writer.flush()
        after = os.fstat(reader.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise errors.LocalFileError(f"{str(source)!r} changed while it was copied")
