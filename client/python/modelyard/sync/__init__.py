"""Sends what the spools of runs hold to the server: while a run goes on, and later."""
