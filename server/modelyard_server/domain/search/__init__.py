"""Filters, orderings and pages."""
