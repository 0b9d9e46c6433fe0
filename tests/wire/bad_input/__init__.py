"""Bad input over the wire: tables of requests, each with the refusal that it gets."""
