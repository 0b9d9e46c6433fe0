"""Runs and the processes that log to them: forks, interrupts, ends and crashes."""
