"""Values that users give, as values that are stored: numbers, text, lists and maps."""
