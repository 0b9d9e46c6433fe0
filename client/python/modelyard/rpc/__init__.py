"""Talking to a server: connections, retries, calls, and the records that replies become."""
