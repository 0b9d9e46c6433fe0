"""The commands about runs: `modelyard run …` and `modelyard history`."""
