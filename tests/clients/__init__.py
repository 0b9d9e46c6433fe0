"""Callers of the service: stubs, the SDK, commands, watches, many clients at once."""
