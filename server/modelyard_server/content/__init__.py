"""Between the wire and the packs: cutting, storing and reading chunks."""
