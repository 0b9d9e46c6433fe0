"""`make proto-breaking`: a change that breaks what was published is refused, an addition is not."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.parts.processes import missing

ROOT = Path(__file__).parents[2]
BUF = ROOT / ".venv-proto" / "bin" / "buf"
FIELD = "  int64 after_sequence = 3;"
AUTHOR = ("-c", "user.name=a", "-c", "user.email=a@b.c")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository that holds the protos alone, promised."""
    if not BUF.exists():
        missing("buf is not there; `make proto-check` installs it")
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    (tmp_path / "proto" / "PROMISED").write_text("")
    _git(tmp_path, "init", "--quiet")
    _commit(tmp_path, "published")
    return tmp_path


def test_an_addition_breaks_nothing(checkout: Path) -> None:
    _change(checkout, FIELD, f"{FIELD}\n  // Unused.\n  string added = 99;")
    done = _check(checkout)
    assert (done.returncode, done.stdout) == (0, "The protos break nothing of 1 published states.\n")


@pytest.mark.parametrize(
    "changed", ["  int64 after = 3;", "  int64 after_sequence = 98;", "  string after_sequence = 3;"]
)
def test_a_field_that_is_renamed_renumbered_or_retyped_is_refused(checkout: Path, changed: str) -> None:
    _change(checkout, FIELD, changed)
    done = _check(checkout)
    assert done.returncode == 1
    assert "event.proto" in done.stdout
    assert "break what was published in" in done.stderr


def test_what_a_commit_broke_is_still_refused_after_the_next_one(checkout: Path) -> None:
    _change(checkout, FIELD, "  int64 after = 3;")
    _commit(checkout, "broken")
    (checkout / "proto" / "modelyard" / "v1" / "note.txt").write_text("more")
    _commit(checkout, "later")
    assert _check(checkout).returncode == 1
    assert _check(checkout, AGAINST="HEAD").returncode == 0


def test_changes_that_are_not_on_main_yet_may_change_again(checkout: Path) -> None:
    _git(checkout, "update-ref", "refs/remotes/origin/main", "HEAD")
    _change(checkout, FIELD, f"{FIELD}\n  // Unused.\n  string added = 99;")
    _commit(checkout, "first thought")
    _change(checkout, "string added = 99;", "int64 renamed = 99;")
    assert _check(checkout).returncode == 0
    assert _check(checkout, AGAINST="HEAD").returncode == 1


def test_nothing_is_promised_before_the_file_promised_exists(checkout: Path) -> None:
    (checkout / "proto" / "PROMISED").unlink()
    _git(checkout, "add", "--all")
    _git(checkout, *AUTHOR, "commit", "--quiet", "--amend", "-m", "first thought")
    _change(checkout, FIELD, "  int64 after = 3;")
    done = _check(checkout)
    assert (done.returncode, done.stdout.partition(":")[0]) == (0, "Nothing is promised yet")
    assert _check(checkout, AGAINST="HEAD").returncode == 1
    (checkout / "proto" / "PROMISED").write_text("")
    _commit(checkout, "final")
    assert _check(checkout).stdout == "The protos break nothing of 1 published states.\n"
    _change(checkout, "  int64 after = 3;", FIELD)
    assert _check(checkout).returncode == 1


def test_the_promise_holds_after_the_file_is_deleted(checkout: Path) -> None:
    (checkout / "proto" / "PROMISED").unlink()
    _change(checkout, FIELD, "  int64 after = 3;")
    _commit(checkout, "broken")
    assert _check(checkout).returncode == 1


def test_a_release_stays_published(checkout: Path) -> None:
    _git(checkout, "tag", "v0.1.0")
    _change(checkout, FIELD, "  int64 after = 3;")
    for number in range(11):
        (checkout / "proto" / "modelyard" / "v1" / "note.txt").write_text(str(number))
        _commit(checkout, str(number))
    assert _check(checkout).returncode == 1
    _git(checkout, "tag", "-d", "v0.1.0")
    assert _check(checkout).returncode == 0


def _check(checkout: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "proto" / "breaking.sh"],
        env={**os.environ, "BUF": str(BUF), "AGAINST": "", **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


def _change(checkout: Path, before: str, after: str) -> None:
    path = checkout / "proto" / "modelyard" / "v1" / "event.proto"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def _commit(checkout: Path, message: str) -> None:
    _git(checkout, "add", "--all")
    _git(checkout, *AUTHOR, "commit", "--quiet", "-m", message)


def _git(checkout: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=checkout, check=True, timeout=60)
