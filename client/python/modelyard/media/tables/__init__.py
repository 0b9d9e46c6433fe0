"""Tables: their columns, the kinds of their cells, and their files."""
