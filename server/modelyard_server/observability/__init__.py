"""Logs, metrics and spans of the server."""
