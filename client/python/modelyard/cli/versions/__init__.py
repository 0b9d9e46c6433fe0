"""The commands about what surrounds a version: its lineage, and how it differs from others."""
