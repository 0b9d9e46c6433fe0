"""What a run records by itself: its console, its machine, and what other tools of its process log."""
