"""What watches share: feeds of what is new, and the signals that there may be some."""
