"""The measurements of runs: what logging costs, and how fast runs are read."""
