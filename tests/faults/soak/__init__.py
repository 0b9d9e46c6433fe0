"""Kills and outages of everything at random, while clients log, link, use and delete."""
