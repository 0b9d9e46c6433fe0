"""The handlers of each service."""
