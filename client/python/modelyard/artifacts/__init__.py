"""Artifacts as users hold them: drafts before they are logged, versions afterwards."""
