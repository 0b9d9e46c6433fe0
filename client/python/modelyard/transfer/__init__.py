"""Moves bytes between local files and the server."""
