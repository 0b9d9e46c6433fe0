"""Runs: what training code holds, and what brings its rows to the server."""
