"""Entries that point at bytes kept elsewhere: one module for each kind of store."""
