"""How fast modelyard is beside MLflow and beside what the machine can do.

`python -m tests.bench [--quick] [names…]` measures; nothing here is a test. Both sides of
a comparison are run in turn, A B A B, in one run on one machine, and the ratio of their
medians is what counts: absolute figures change from machine to machine and by the minute.
"""
