"""`import wandb` gives modelyard, in a program that `modelyard exec` runs."""

import sys

try:
    from modelyard.stand_in import modules
except ModuleNotFoundError as error:
    if error.name != "modelyard":
        raise
    raise ModuleNotFoundError(
        f"modelyard exec: modelyard is not installed for {sys.executable}; install it there, "
        "or run the Python that has it",
        name="modelyard",
    ) from None

modules.replace(__name__)
