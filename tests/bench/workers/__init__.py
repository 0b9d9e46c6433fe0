"""The processes that do the measured work, one for each side; they take orders on standard input."""
