"""Principals, keys, and the rights of callers."""
