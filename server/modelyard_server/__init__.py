"""The modelyard server."""
