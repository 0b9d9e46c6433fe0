"""`python -m modelyard_server …`: the same as `modelyard server …`."""

from modelyard_server.cli import server

server(prog_name="modelyard server")
