"""Runs as `Api` finds them: their rows, files, console and attempts."""
