"""The rules on databases without a server, and what fills those databases."""
