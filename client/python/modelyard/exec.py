"""`python -m modelyard.exec` is `modelyard exec`."""

from __future__ import annotations

import sys

from modelyard.cli import main

if __name__ == "__main__":
    main(["exec", *sys.argv[1:]])
