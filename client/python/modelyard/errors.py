"""Every error of modelyard, under the name that scripts import it by."""

from __future__ import annotations

from modelyard.contract.errors import *  # noqa: F403  # each one
