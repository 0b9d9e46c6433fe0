"""TLS certificates: those that the SDK trusts, and its own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.contract import errors


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files; empty where not set.

    Without `ca` the authorities of SSL_CERT_FILE are trusted, else the public ones
    of gRPC (or of GRPC_DEFAULT_SSL_ROOTS_FILE_PATH). `cert` and `key` are the
    client's own, for servers and balancers that ask for one; `key` may be in the
    file of `cert`.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""

    def credentials(self) -> Any:
        """gRPC's channel credentials. ConfigError for files that cannot be used."""
        import grpc

        if self.key and not self.cert:
            raise errors.ConfigError("MODELYARD_CLIENT_KEY goes with MODELYARD_CLIENT_CERT: set both")
        trusted = self._trusted()
        if not self.cert:
            return grpc.ssl_channel_credentials(trusted)
        certificate = _read("MODELYARD_CLIENT_CERT", self.cert)
        key = _read("MODELYARD_CLIENT_KEY", self.key or self.cert)
        _check("MODELYARD_CLIENT_CERT and MODELYARD_CLIENT_KEY", self.load_own)
        return grpc.ssl_channel_credentials(trusted, key, certificate)

    def load_own(self, context: Any) -> None:
        """Loads the client's certificate, if any, into an `ssl.SSLContext`. Errors: SSLError."""
        if self.cert:
            # gRPC supports keys without a password only, so do not prompt.
            context.load_cert_chain(self.cert, self.key or None, password="")

    def _trusted(self) -> bytes | None:
        name, path = "MODELYARD_CA_CERTS", self.ca
        if not path and not os.environ.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"):
            name, path = "SSL_CERT_FILE", os.environ.get("SSL_CERT_FILE", "")
        if not path:
            return None
        content = _read(name, path)
        _check(name, lambda context: context.load_verify_locations(cadata=content.decode("ascii", "ignore")))
        return content


PUBLIC = Certificates()
"""No files: public authorities are trusted, and there is no client certificate."""


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise errors.ConfigError(f"{name}: {path} cannot be read: {error.strerror or error}") from error


def _check(name: str, load: Any) -> None:
    import ssl  # slow to import, and needed only where certificates are set

    try:
        load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", "") or str(error)
        hint = (
            "certificate and key do not belong together"
            if "MISMATCH" in reason
            else f"not a usable PEM file ({reason})"
        )
        raise errors.ConfigError(f"{name}: {hint}") from error
