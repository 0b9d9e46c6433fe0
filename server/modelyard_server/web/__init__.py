"""HTTP: the calls of the service by Connect's protocol."""
