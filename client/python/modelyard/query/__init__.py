"""Filters, orderings and lists, as Python code writes them."""
