"""Who calls, and what they may enter."""
