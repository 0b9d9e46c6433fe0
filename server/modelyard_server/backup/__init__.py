"""Backups of data folders, holds for other backups, and what follows a restore."""
