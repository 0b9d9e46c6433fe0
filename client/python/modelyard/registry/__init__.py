"""Collections, registries, lineage and events, as users hold them."""
