"""`modelyard exec`: programs in which `import wandb` gives modelyard, and what such a program lacks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from modelyard import Api, wandb_names
from tests.clients.commands import refused, run_command

EXEC = (sys.executable, "-m", "modelyard.exec")


def execute(*command: str, cwd: Path, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*EXEC, *command], cwd=cwd, env=os.environ | variables, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done


def python(code: str, cwd: Path, **variables: str) -> str:
    """What a program under `modelyard exec` prints."""
    return execute("--", sys.executable, "-c", code, cwd=cwd, **variables).stdout


def check(tmp_path: Path, script: str, code: int = 1) -> list[str]:
    """What is said of a script, without its path and without what differs."""
    path = tmp_path / "train.py"
    path.write_text(script)
    done = run_command("exec", "--check", str(path))
    assert done.returncode == code, done
    said = done.stdout
    lines = [line.removeprefix(f"{path}:").strip() for line in said.splitlines()]
    return [line for line in lines if ": differs: " not in line]


def noted(section: str, name: str) -> str:
    """What the list of W&B's names says of one."""
    return wandb_names.note(section, name)


def test_wandb_and_its_submodules_are_the_modules_of_modelyard(tmp_path: Path) -> None:
    code = """
import importlib.util, sys
before = set(sys.meta_path)
import wandb.errors, wandb.runs.run as inner
import modelyard
from wandb import Run, runs
from wandb.errors import CommError
assert wandb is modelyard and wandb.errors is modelyard.errors
assert runs is modelyard.runs and inner.Run is Run is modelyard.Run
assert CommError is modelyard.errors.CommError
assert inner.__spec__.name == inner.__name__ == "modelyard.runs.run"
assert importlib.util.find_spec("wandb.no_such_module") is None
try:
    import wandb.no_such_module
except ModuleNotFoundError as error:
    print(error)
"""
    assert python(code, tmp_path) == "No module named 'wandb.no_such_module'\n"


def test_the_package_wandb_looks_installed(tmp_path: Path) -> None:
    code = """
import importlib.metadata as metadata, importlib.util
assert importlib.util.find_spec("wandb") is not None
assert metadata.packages_distributions()["wandb"] == ["wandb"]
import wandb
assert wandb.__version__ == metadata.version("wandb")
print(metadata.version("wandb"), metadata.metadata("wandb")["Summary"])
"""
    version, _, summary = python(code, tmp_path).partition(" ")
    assert tuple(map(int, version.split("."))) >= (0, 20)
    assert summary.startswith("modelyard")


def test_what_the_program_starts_gets_wandb_too_and_nothing_else_does(tmp_path: Path) -> None:
    code = """
import multiprocessing, subprocess, sys
child = "import wandb; print(wandb.__name__)"
print(subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout)
"""
    assert python(code, tmp_path).strip() == "modelyard"
    alone = [sys.executable, "-c", "import importlib.util as u; print(u.find_spec('wandb'))"]
    assert subprocess.run(alone, cwd=tmp_path, capture_output=True, text=True).stdout == "None\n"


def test_folders_named_wandb_and_modules_of_the_script_stay_out_of_the_way(tmp_path: Path) -> None:
    (tmp_path / "wandb" / "run-20250101_000000-abcdefgh").mkdir(parents=True)
    (tmp_path / "train.py").write_text("import wandb, helper\nprint(wandb.__name__, helper.__file__)\n")
    mine = tmp_path / "lib"
    mine.mkdir()
    (mine / "helper.py").touch()
    done = execute("--", sys.executable, "train.py", cwd=tmp_path, PYTHONPATH=str(mine))
    assert done.stdout == f"modelyard {mine / 'helper.py'}\n"


def test_a_script_for_wandb_logs_its_run_and_its_model(embedded: Path) -> None:
    (embedded / "train.py").write_text("""
import wandb
with wandb.init(project="exec", config={"lr": 0.1}) as run:
    run.log({"loss": 0.5})
    open("model.bin", "w").write("weights")
    run.log_model("model.bin", name="m")
    print(run.path)
""")
    path = execute("--", sys.executable, "train.py", cwd=embedded).stdout.strip()
    run = Api().run(path)
    assert run.state == "finished"
    assert run.summary["loss"] == 0.5
    assert [artifact.name for artifact in run.logged_artifacts()] == ["m:v0"]
    (requirements,) = embedded.glob("modelyard/run-*/files/requirements.txt")
    listed = requirements.read_text().splitlines()
    assert any(line.startswith("click==") for line in listed)
    assert not any(line.startswith("wandb==") for line in listed)


def test_the_program_takes_the_place_of_the_command(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*EXEC, "--", "sh", "-c", "echo $$; exec sleep 60"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
        process.terminate()
    assert process.returncode == -signal.SIGTERM


def test_exit_codes_are_those_of_the_program_or_of_a_shell(tmp_path: Path) -> None:
    execute(sys.executable, "-c", "raise SystemExit(7)", cwd=tmp_path, code=7)
    missing = execute("--", "no-such-program", cwd=tmp_path, code=127)
    assert missing.stderr == "modelyard: there is no program no-such-program\n"
    (tmp_path / "plain.txt").touch()
    refused = execute("--", "./plain.txt", cwd=tmp_path, code=126)
    assert refused.stderr == "modelyard: ./plain.txt cannot be run: Permission denied\n"


def test_a_program_ends_with_the_pipe_it_writes_to(tmp_path: Path) -> None:
    done = execute("--", "bash", "-c", "yes | head -1; echo ${PIPESTATUS[0]}", cwd=tmp_path)
    assert done.stdout == f"y\n{128 + signal.SIGPIPE}\n"


def test_python_is_that_of_the_virtual_environment_unless_another_is_active(tmp_path: Path) -> None:
    show = ("--", "python", "-c", "import sys; print(sys.prefix)")
    unset = {"VIRTUAL_ENV": "", "CONDA_PREFIX": "", "PATH": os.defpath}
    assert execute(*show, cwd=tmp_path, **unset).stdout == f"{sys.prefix}\n"
    other = tmp_path / "other"
    other.mkdir()
    (other / "python").write_text("#!/bin/sh\necho another\n")
    (other / "python").chmod(0o755)
    active = {"VIRTUAL_ENV": str(tmp_path), "PATH": f"{other}:{os.defpath}"}
    assert execute(*show, cwd=tmp_path, **active).stdout == "another\n"


def test_an_interpreter_without_modelyard_is_named(tmp_path: Path) -> None:
    done = execute("--", sys.executable, "-S", "-c", "import wandb", cwd=tmp_path, code=1)
    assert f"modelyard is not installed for {sys.executable}" in done.stderr.splitlines()[-1]


def test_a_check_names_what_is_lacking_and_where_without_running_the_script(tmp_path: Path) -> None:
    said = check(tmp_path, """
import wandb
from wandb import no_such_name
import wandb.no_such_module

open("ran", "w")

class Trainer:
    def __init__(self):
        self.run = wandb.init(project="p")

    def step(self):
        self.run.log({"loss": 1})
        self.run.no_such_method()

def use(run: "wandb.Run | None"):
    used = run.use_artifact("m")
    used.download(); used.no_such_method()
    run.link_model("m", "M", no_such_argument=1)

with wandb.init() as run:
    run.tags, run.start_time, run.config.lr
    getattr(run, "no_such_attribute")

wandb.sweep({}, project="p")

for past in wandb.Api().runs("p"):
    print(past.summary, past.no_such_attribute)
    past.stop(), wandb.Api().reports("p"), wandb.EvalTable
""")  # fmt: skip
    reason = "neither modelyard nor W&B has such a name"
    assert said[:-1] == [
        f"3: lacking: wandb.no_such_name: {reason}",
        "4: lacking: wandb.no_such_module: modelyard has no module of this name",
        f"14: lacking: Run.no_such_method: {reason}",
        f"18: lacking: Artifact.no_such_method: {reason}",
        "19: lacking: Run.link_model(no_such_argument=): Run.link_model has no argument no_such_argument",
        f"23: lacking: Run.no_such_attribute: {reason}",
        f"25: lacking: wandb.sweep: {noted('module', 'sweep').removeprefix('raises UsageError: ')}",
        f"28: lacking: Api.run().no_such_attribute: {reason}",
        "29: lacking: Api.reports: reports are not part of modelyard: use `Api().runs`",
        "29: lacking: Api.run().stop: end the process: Ctrl-C and SIGTERM end its run as `killed`",
        "29: lacking: wandb.EvalTable: use `Table`",
    ]
    assert " names of wandb, 11 lacking" in said[-1]
    assert not (tmp_path / "ran").exists()


def test_a_check_of_a_script_that_lacks_nothing_succeeds(tmp_path: Path) -> None:
    script = """
import numpy
import wandb as w

def train(other, name):
    other.anything(); numpy.anything()
    run = w.init(project="p", anything=1)
    run.log({"loss": getattr(other, "anything")})
    run.custom = 1
    w.log({"acc": 1}); w.summary["best"] = w.config.lr
    w.run.finish()
    return getattr(w, name)
"""
    said = check(tmp_path, script, code=0)
    assert said[0] == "12: unknown: getattr(w, name): the name is computed"
    assert "0 lacking" in said[-1]
    assert said[-1].endswith("1 unknown")


def test_a_check_says_once_how_a_name_differs(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text("import wandb\nwandb.alert('a', 'b')\nwandb.alert('c', 'd')\nwandb.finish()\n")
    done = run_command("exec", "--check", str(path))
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"{path}:2: differs: wandb.alert: {noted('module', 'alert')}",
        f"{path}: 3 names of wandb, 0 lacking, 1 differs",
    ]


def test_a_check_reads_folders_and_names_files_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import wandb\nwandb.no_such_name\n")
    below = tmp_path / "below"
    below.mkdir()
    (below / "b.py").write_text("import wandb\nwandb.log({})\n")
    done = run_command("exec", "--check", str(tmp_path))
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        str(tmp_path / "a.py"), str(tmp_path / "a.py"), str(below / "b.py")
    ]  # fmt: skip
    (below / "a.py").write_text("def (")
    broken = run_command("exec", "--check", str(below))
    assert broken.returncode == 1
    assert broken.stderr.startswith(f"Error: {below / 'a.py'}:1: ")
    assert broken.stdout == f"{below / 'b.py'}: 2 names of wandb, 0 lacking\n"
    assert "none.py" in refused(1, "exec", "--check", "none.py")
