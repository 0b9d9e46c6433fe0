"""The commands that lead to a server."""
