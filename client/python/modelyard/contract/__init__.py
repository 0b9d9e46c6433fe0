"""What client and server agree on. The server may import this package; it imports nothing of modelyard."""
