"""Artifacts, registered models, versions, links and aliases."""
