"""Processes for which the modes of files hold, also where the tests run as root."""

from __future__ import annotations

import sys

_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
# The capabilities are gone after the exec. Who is not root has none to give up, and the calls fail.
_PROGRAM = f"""
import ctypes, os, sys
for capability in ({_CAP_DAC_OVERRIDE}, {_CAP_DAC_READ_SEARCH}):
    ctypes.CDLL(None).prctl({_PR_CAPBSET_DROP}, capability, 0, 0, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
MODES_HOLD = (sys.executable, "-I", "-S", "-c", _PROGRAM)
"""In front of a command: what its user's modes forbid is forbidden to root, too."""
