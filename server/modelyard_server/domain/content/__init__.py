"""Uploads, manifests and commits: how bytes become versions."""
