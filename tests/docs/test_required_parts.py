"""Which tests run: skips are failures where parts are required, and selected paths exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests import selection
from tests.parts.server import environment

ROOT = Path(__file__).parents[2]
FILES = {
    "test_skipped_inside.py": "def test_it(): pytest.skip('no part')",
    "test_skipped_by_fixture.py": "@pytest.fixture\ndef a(): pytest.skip('no part')\ndef test_it(a): pass",
    "test_skipped_by_mark.py": "@pytest.mark.skip(reason='no part')\ndef test_it(): pass",
    "test_skipped_whole.py": "pytest.importorskip('no_such_module', reason='no part')\ndef test_it(): pass",
    "test_expected_to_fail.py": "@pytest.mark.xfail(strict=True)\ndef test_it(): raise AssertionError",
}
"""Files of one test each: every way to skip one, and one that is no skip."""


def run(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    for name, text in FILES.items():
        (folder / name).write_text(f"import pytest\n{text}\n")
    # Without the summary: with the variable CI set it repeats every message whole.
    options = [
        "-p",
        "tests.required",
        "-p",
        "no:cacheprovider",
        "--continue-on-collection-errors",
        "-r",
        "N",
    ]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-c", "/dev/null", f"--rootdir={folder}", str(folder)],
        cwd=ROOT, env=environment(variables), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_skip_is_a_failure_where_all_parts_are_required(tmp_path: Path) -> None:
    done = run(tmp_path, MODELYARD_TEST_PARTS="required")
    assert done.returncode == 1, done.stdout
    # A fixture or a whole file that cannot be had is an error in pytest's words.
    assert re.search(r"= 1 failed, 1 xfailed, 3 errors in ", done.stdout), done.stdout
    told = re.findall(r"nothing may be skipped with MODELYARD_TEST_PARTS=required: .*no part", done.stdout)
    assert len(told) == 4


def test_a_skip_stays_a_skip_where_parts_are_optional(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout
    assert re.search(r"= 4 skipped, 1 xfailed in ", done.stdout), done.stdout


def test_the_paths_of_the_selection_exist() -> None:
    for start in (*selection.MEASURING, *selection.QUICK):
        assert list(ROOT.glob(f"{start}*")), start
