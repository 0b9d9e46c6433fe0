"""Tests that break a whole system, again and again, while clients work on it."""
