"""Filters, orders, lazy lists, references and lineage."""
