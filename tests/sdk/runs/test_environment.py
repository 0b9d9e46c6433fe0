"""The environment that a run records, what turns it off, and that it neither slows nor breaks `init`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard import Settings
from modelyard.host import git, machine, program
from modelyard.runs.run import Run
from tests.clients.waiting import until

SECRET = "https://user:ghp_secret@example.org/team/code.git?token=x"
# Stands for git on a disk that does not answer: it starts another process, and both sleep.
HANGING = "#!/bin/sh\nsleep 600 &\nsleep 600\n"
ALONE = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=n", "-c", "user.email=e@x", *arguments],
        capture_output=True, text=True, check=True, env={**os.environ, **ALONE},
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def repository(work: Path) -> Path:
    """The working directory is a git repository with one commit."""
    _git("init", "-q", "-b", "trunk")
    Path("train.py").write_text("lr = 1\n")
    _git("add", "train.py")
    _git("commit", "-q", "-m", "first")
    _git("remote", "add", "origin", SECRET)
    return work


def _metadata(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = modelyard.Api().run(run.path).metadata
    return found


def test_a_run_records_commit_remote_and_changes(repository: Path) -> None:
    Path("train.py").write_text("lr = 2\n")
    with modelyard.init() as run:
        pass
    assert _metadata(run)["git"] == {
        "commit": _git("rev-parse", "HEAD"), "branch": "trunk", "dirty": True,
        "remote": "https://example.org/team/code.git",
    }  # fmt: skip
    patch = Path(run.dir, "diff.patch").read_text()
    assert "-lr = 1\n+lr = 2\n" in patch
    Path("train.py").write_text("lr = 1\n")
    _git("apply", str(Path(run.dir, "diff.patch")))
    assert Path("train.py").read_text() == "lr = 2\n", "the patch gives the changes back"


def test_a_clean_repository_has_no_patch(repository: Path) -> None:
    with modelyard.init() as run:
        pass
    assert _metadata(run)["git"]["dirty"] is False
    assert not Path(run.dir, "diff.patch").exists()


def test_changes_beyond_the_limit_are_not_kept(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("train.py").write_text("x" * 100_000)
    assert git.diff(Path.cwd(), limit=50_000) is None
    assert len(git.diff(Path.cwd()) or b"") > 100_000


def test_worktrees_and_packed_references_have_a_commit(repository: Path, tmp_path: Path) -> None:
    commit = _git("rev-parse", "HEAD")
    _git("worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    assert git.head(tmp_path / "side") == (commit, "side")
    _git("pack-refs", "--all")
    assert git.head(tmp_path / "side") == (commit, "side")
    (repository / "deep" / "er").mkdir(parents=True)
    assert git.head(repository / "deep" / "er") == (commit, "trunk")
    _git("checkout", "-q", commit)
    assert git.head(repository) == (commit, "")


def test_a_run_records_machine_program_and_packages(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--lr", "0.1"])
    with modelyard.init() as run:
        pass
    found = _metadata(run)
    assert found["python"].startswith("3.")
    assert found["executable"] == sys.executable
    assert found["cpu_count"] == os.cpu_count()
    assert found["memory_bytes"] > 1 << 28
    assert {"host", "os", "program", "args"} <= found.keys()
    lines = Path(run.dir, "requirements.txt").read_text().splitlines()
    assert found["package_count"] == len(lines) > 10
    assert any(line.startswith("numpy==") for line in lines)


def test_packages_are_those_that_can_be_imported() -> None:
    import importlib.metadata

    known = {
        f"{found.metadata['Name'].lower().replace('_', '-').replace('.', '-')}=={found.version}"
        for found in importlib.metadata.distributions()
    }
    assert known == set(program.packages())


def test_graphics_processors_are_those_of_the_driver(tmp_path: Path) -> None:
    for number in "01":
        (tmp_path / number).mkdir()
        (tmp_path / number / "information").write_text("Model: \t\t NVIDIA H100\nIRQ: 10\n")
    assert machine.gpu_models(tmp_path) == ["NVIDIA H100"] * 2
    assert machine.gpu_models(tmp_path / "missing") == []


OFF: dict[str, tuple[str, set[str]]] = {
    "disable_git": ("MODELYARD_DISABLE_GIT", {"git"}),
    "x_disable_machine_info": (
        "MODELYARD_X_DISABLE_MACHINE_INFO",
        {"host", "os", "cpu_count", "memory_bytes"},
    ),
    "x_disable_meta": ("WANDB_X_DISABLE_META", {"git", "host", "python", "program", "package_count"}),
}


@pytest.mark.parametrize("setting", OFF)
@pytest.mark.parametrize("by", ["setting", "variable"])
def test_each_part_can_be_turned_off(
    repository: Path, setting: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable, missing = OFF[setting]
    if by == "variable":
        monkeypatch.setenv(variable, "true")
    with modelyard.init(settings=Settings(**{setting: True}) if by == "setting" else None) as run:
        pass
    assert not missing & _metadata(run).keys()
    assert setting == "x_disable_meta" or "python" in _metadata(run)


def test_code_and_packages_can_be_turned_off(repository: Path) -> None:
    Path("train.py").write_text("lr = 2\n")
    with modelyard.init(settings={"disable_code": True, "x_save_requirements": False}) as run:
        pass
    assert _metadata(run)["git"].keys() == {"commit", "branch", "remote"}
    assert os.listdir(run.dir) == []


def test_a_git_that_hangs_delays_neither_init_nor_the_end(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").write_text(HANGING)
    (tmp_path / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    with modelyard.init():  # the connection, and what is imported once
        pass
    start = time.monotonic()
    run = modelyard.init()
    begun = time.monotonic()
    run.finish()
    assert begun - start < 2
    assert time.monotonic() - begun < 6, "it waits two seconds, not for git"
    assert _metadata(run)["git"].keys() == {"commit", "branch"}, "what the files say"
    until(lambda: not git._running)


def test_a_command_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "git").write_text(HANGING.replace("sleep 600\n", "exec sleep 600\n"))
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(git, "SECONDS", 0.2)
    assert git.diff(tmp_path) is None


BROKEN = {
    "no git": lambda folder: None,
    "an empty folder": lambda folder: (folder / ".git").mkdir(),
    "a file of nonsense": lambda folder: (folder / ".git").write_bytes(b"\xff\xfe"),
    "a folder that is gone": lambda folder: (folder / ".git").write_text("gitdir: /nowhere/at/all"),
    "no commit yet": lambda folder: _git("init", "-q"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_repository_that_is_broken_breaks_nothing(
    work: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    BROKEN[how](work)
    with modelyard.init() as run:
        run.log({"a": 1})
    assert "git" not in _metadata(run)
    assert "WARNING" not in capsys.readouterr().err


def test_without_a_git_command_the_commit_is_recorded_all_the_same(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = _git("rev-parse", "HEAD")
    monkeypatch.setenv("PATH", "")
    with modelyard.init() as run:
        pass
    assert _metadata(run)["git"] == {"commit": commit, "branch": "trunk"}


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("https://token@example.org/a.git", "https://example.org/a.git"),
        ("https://user:p%40ss@example.org:8443/a", "https://example.org:8443/a"),
        ("ssh://git@example.org/a.git", "ssh://example.org/a.git"),
        ("git@example.org:team/a.git", "git@example.org:team/a.git"),
        ("/srv/git/a.git", "/srv/git/a.git"),
        ("https://[bad", ""),
    ],
)
def test_addresses_lose_what_is_secret(address: str, kept: str) -> None:
    assert git.without_credentials(address) == kept


def _sent(run: Run) -> dict[str, bytes]:
    """The files that a run has on the server."""
    return {file.name: b"".join(file._data()) for file in modelyard.Api().run(run.path).files()}


def test_packages_and_changes_are_files_of_the_run(repository: Path) -> None:
    Path("train.py").write_text("lr = 2\n")
    with modelyard.init() as run:
        pass
    kept = {name: Path(run.dir, name).read_bytes() for name in ("diff.patch", "requirements.txt")}
    assert _sent(run) == kept
    with modelyard.init(settings={"disable_code": True, "x_save_requirements": False}) as run:
        pass
    assert _sent(run) == {}


@pytest.mark.parametrize("how", ["argument", "variable", "setting", "not asked", "disable_code"])
def test_the_main_script_is_kept_by_its_path_in_the_repository(
    repository: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"argument": "save_code=True", "setting": "settings={'save_code': True}"}.get(how, "")
    if how in {"variable", "disable_code"}:
        monkeypatch.setenv("WANDB_SAVE_CODE", "true")
    if how == "disable_code":
        monkeypatch.setenv("WANDB_DISABLE_CODE", "true")
    monkeypatch.setenv("MODELYARD_X_SAVE_REQUIREMENTS", "false")
    Path("sub").mkdir()
    script = Path("sub/train.py")
    script.write_text(
        "import modelyard, pathlib\n"
        f"with modelyard.init({asked}) as run:\n"
        "    run._tracking._search.join()\n"
        "    pathlib.Path(__file__).write_text('changed')\n"
        "print(run.path)\n"
    )
    written = script.read_bytes()
    done = subprocess.run([sys.executable, "train.py"], cwd="sub", capture_output=True, text=True, check=True)
    run = modelyard.Api().run(done.stdout.strip())
    found = {file.name: b"".join(file._data()) for file in run.files()}
    if how in {"not asked", "disable_code"}:
        assert "code/sub/train.py" not in found
        assert "code_path" not in run.metadata
    else:
        assert found["code/sub/train.py"] == written
        assert run.metadata["code_path"] == "code/sub/train.py"


def test_a_huge_script_is_not_kept(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_X_SAVE_REQUIREMENTS", "false")
    script = Path("huge.py")
    script.write_text("import modelyard\nwith modelyard.init(save_code=True) as run:\n    print(run.path)\n#")
    with script.open("ab") as grown:
        grown.write(b"#" * (10 << 20) + b"\n")
    done = subprocess.run([sys.executable, "huge.py"], capture_output=True, text=True, check=True)
    run = modelyard.Api().run(done.stdout.strip())
    assert [file.name for file in run.files()] == []
    assert "huge.py is not kept, it has more than 10" in done.stderr
