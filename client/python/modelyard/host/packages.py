"""The Python packages that a program can import."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress

_OWN = os.path.dirname(os.path.dirname(__file__)) + os.sep
_INFO = re.compile(r"(.+?)-([^-]+)(?:-py[\d.]+)?\.(?:dist|egg)-info", re.IGNORECASE)


def installed() -> list[str]:
    """`name==version` of each package, by name.

    Read from the names of their folders: opening the metadata of hundreds of packages
    takes a second.
    """
    found: dict[str, str] = {}
    for folder in dict.fromkeys(sys.path):
        if folder.startswith(_OWN):  # the metadata of the module that `modelyard exec` puts on the path
            continue
        with suppress(OSError), os.scandir(folder or ".") as entries:
            for entry in entries:
                match = _INFO.fullmatch(entry.name)
                if match:
                    name, version = match.groups()
                    found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return [f"{name}=={version}" for name, version in sorted(found.items())]
