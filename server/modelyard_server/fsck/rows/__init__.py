"""Checks of rows: each a function of a scan, which sees one state of the database."""
