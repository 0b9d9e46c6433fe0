"""Finds all files below a folder to log, or raises an error that names the file that cannot be logged.

Symbolic links to files and folders are followed, except links to a folder above
them. The local folders of runs are left out: they change while a run logs, and
whoever logs the working directory does not mean them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from modelyard.contract import refs
from modelyard.contract.errors import LocalFileError
from modelyard.host import terminal

_Identity = tuple[int, int]


@dataclass(frozen=True)
class LocalFile:
    """A file to upload: its path in the manifest, and the path of its bytes."""

    path: str
    source: Path | str
    is_private: bool = False
    """Whether it is a copy that nobody but this library changes."""


def files_below(folder: str | os.PathLike[str], prefix: str = "") -> Iterator[LocalFile]:
    """All files below a folder, ordered by path, under `prefix` in the manifest. Errors: LocalFileError."""
    for path, source in _walk(os.fspath(folder)):
        yield LocalFile(manifest_path(f"{prefix}/{path}" if prefix else path, source), source)


def chosen_below(
    folder: str | os.PathLike[str], include: Callable[[str], bool], exclude: Callable[[str], bool]
) -> Iterator[LocalFile]:
    """The files that `include` accepts and `exclude` does not; both get the path.

    Links to folders are not followed, and only regular files are included. An
    unreadable folder is left out with a warning, unless `exclude` excludes its content.
    """

    def skipped(folder: str) -> bool:
        if not exclude(os.path.join(folder, "_")):
            terminal.termwarn(f"{folder!r} cannot be read and is left out of the logged code")
        return True

    for path, source in _walk(os.fspath(folder), follow=False, skipped=skipped):
        if include(source) and not exclude(source) and os.path.isfile(source):
            yield LocalFile(manifest_path(path, source), source)


def manifest_path(path: str, source: str | os.PathLike[str]) -> str:
    """The path of a file in a version. LocalFileError for a name that a version cannot hold."""
    try:
        return refs.check_manifest_path(path)
    except ValueError as error:
        raise LocalFileError(f"{os.fspath(source)!r} cannot be logged under its name: {error}") from error


def check_readable(source: str | os.PathLike[str]) -> None:
    """LocalFileError unless it is a regular file that this user may read."""
    try:
        # O_NONBLOCK: opening a pipe must not wait for its other end.
        file = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise unreadable(source, error) from error
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise not_regular(source)
    finally:
        os.close(file)


def unreadable(source: str | os.PathLike[str], error: OSError) -> LocalFileError:
    """The error for an unreadable file, with the reason of the system."""
    reason = error.strerror or str(error)
    return LocalFileError(
        f"{os.fspath(source)!r} cannot be read ({reason}), and a version must be complete: "
        "make it readable or remove it"
    )


def not_regular(source: str | os.PathLike[str]) -> LocalFileError:
    """The error for a pipe, a socket, a device or a broken link."""
    what = "is not a regular file"
    if os.path.islink(source) and not os.path.exists(source):
        what = f"is a link to {os.readlink(source)!r}, which does not exist"
    return LocalFileError(f"{os.fspath(source)!r} {what}: remove it, or add the other files one by one")


def _walk(
    top: str, *, follow: bool = True, skipped: Callable[[str], bool] = lambda folder: False
) -> Iterator[tuple[str, str]]:
    """Relative and whole path of each file, folder by folder, by name."""
    # Strings: with thousands of files, Path objects would take longer than all the rest.
    folders: list[tuple[str, str, frozenset[_Identity]]] = [("", top, frozenset([_identity(top)]))]
    while folders:
        path, folder, above = folders.pop()
        below = []
        for entry in _entries(folder, skipped):
            inner = f"{path}/{entry.name}" if path else entry.name
            kind = _kind(entry, follow)
            if kind == "folder" and _is_of_run(entry.path):
                continue
            if kind == "folder":
                identity = _identity(entry.path)
                if identity in above:
                    terminal.termwarn(f"{entry.path!r} leads to a folder above it and is left out")
                else:
                    below.append((inner, entry.path, above | {identity}))
            elif kind == "file" or not follow:
                yield inner, entry.path
            else:
                raise not_regular(entry.path)
        folders.extend(reversed(below))


def _is_of_run(folder: str) -> bool:
    """Whether it is the local folder of a run: `modelyard/run-…` or `modelyard/offline-run-…`."""
    above, name = os.path.split(folder)
    return (
        name.removeprefix("offline-").startswith("run-")
        and os.path.basename(above) == "modelyard"
        and os.path.isfile(os.path.join(folder, "run.json"))
    )


def _entries(folder: str, skipped: Callable[[str], bool]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        if skipped(folder):
            return []
        raise unreadable(folder, error) from error


def _kind(entry: os.DirEntry[str], follow: bool) -> str:
    try:
        if entry.is_dir(follow_symlinks=follow):
            return "folder"
        return "file" if entry.is_file() else "other"
    except OSError as error:
        if follow:
            raise unreadable(entry.path, error) from error
        return "other"


def _identity(folder: str) -> _Identity:
    try:
        found = os.stat(folder)
    except OSError as error:
        raise unreadable(folder, error) from error
    return found.st_dev, found.st_ino


def is_folder(path: Path) -> bool:
    """Whether the path is a folder. Raises LocalFileError if that cannot be determined."""
    try:
        return path.is_dir()
    except OSError as error:
        raise unreadable(path, error) from error
