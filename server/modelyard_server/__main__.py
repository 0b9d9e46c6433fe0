"""`python -m modelyard_server …`: the same as `modelyard server …`."""

from modelyard.contract import streams
from modelyard_server.cli import server

streams.run_process(lambda: server(prog_name="modelyard server"))
