"""The server as a process: start, sockets, workers, background work, shutdown."""
