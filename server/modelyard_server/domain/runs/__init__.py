"""Runs and their metrics."""
