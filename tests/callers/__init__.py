"""Callers of the service: stubs, the SDK, commands, watches, crowds."""
