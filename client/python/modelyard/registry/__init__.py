"""Handles of collections and registries, the history of aliases, and events."""
