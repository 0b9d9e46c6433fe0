"""`python -m modelyard_server …`: the same as `modelyard server …`."""

from modelyard.host import printing
from modelyard_server.cli import server

printing.run_process(lambda: server(prog_name="modelyard server"))
