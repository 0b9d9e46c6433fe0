"""A model from training to use: trained, logged, linked, promoted, and used by another process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import modelyard

HERE = Path(__file__).resolve().parent
MODEL = "model-registry/Moons"


def say(text: str) -> None:
    """Prints a heading, flushed so that it precedes the output of the programs."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def run(program: str, folder: str) -> None:
    """Runs a program in a process of its own, in another folder."""
    subprocess.run([sys.executable, str(HERE / program)], cwd=folder, check=True)


def command() -> str:
    """Returns how to call `modelyard` from here: its virtual environment may not be active."""
    own = Path(sys.executable).parent / "modelyard"
    found = shutil.which("modelyard")
    return "modelyard" if found and Path(found).samefile(own) else os.path.relpath(own)


def promote() -> None:
    """Moves `staging` to `production` on the same version: both aliases in one step, or none."""
    candidate = modelyard.Api().artifact(f"{MODEL}:staging")
    candidate.aliases.remove("staging")
    candidate.aliases.append("production")
    candidate.save()
    names = ", ".join(candidate.aliases)
    print(f"{candidate.qualified_name} is {candidate.source_qualified_name}; aliases: {names}")


def show_page() -> None:
    """Prints a link to the model's page. The server on this machine begins to serve its page with it."""
    done = subprocess.run([command(), "open", MODEL, "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)
        return
    say("See it in a browser; the link works once, within a minute:")
    print(f"  {json.loads(done.stdout)['url']}")
    print(f"  {f'{command()} open {MODEL}':60} # another link, at any time")


def main() -> None:
    """The demo, step by step."""
    with tempfile.TemporaryDirectory() as training, tempfile.TemporaryDirectory() as service:
        say("1. Train a model and log it. No server is configured, so modelyard starts its own.")
        run("train.py", training)
        say('2. It was linked into the registered model "Moons" as `staging`. Promote it to `production`.')
        promote()
        say("3. Another process, in another folder, uses it by name and alias.")
        run("predict.py", service)
    say("Commands to try:")
    for arguments, what in (
        ("ls", "list artifacts and registered models"),
        (f"show {MODEL}:production", "the version, its source and the run that made it"),
        (f"use {MODEL}:production", "download it"),
    ):
        print(f"  {f'{command()} {arguments}':60} # {what}")
    show_page()


if __name__ == "__main__":
    main()
