"""The server as a process, and parts of it that tests drive directly."""
