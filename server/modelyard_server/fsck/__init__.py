"""The checker: compares database and store, and names what is damaged.

It shares the tables and the interface of the stores with the server, and none of
the rules, so that a mistake in a rule is not repeated here. It computes digests
itself. It runs beside servers and writes nothing, unless it is asked to quarantine.
"""
