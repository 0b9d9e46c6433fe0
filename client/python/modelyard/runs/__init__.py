"""Runs: the API of training code, and the thread that sends their rows."""
