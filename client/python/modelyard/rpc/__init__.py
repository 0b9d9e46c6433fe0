"""Calls to a server: connections, retries, requests, and records of replies."""
