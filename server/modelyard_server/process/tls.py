"""Checks of the server's certificate and key: readable, matching, and valid now."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

from modelyard_server.settings import StartError

SOON_SECONDS = 14 * 86_400
"""How long before it expires a certificate causes a warning."""


def check(certificate: Path | None, key: Path | None) -> str:
    """Returns a warning about the certificate's dates; empty where there is none.

    Raises StartError for files that cannot be used.
    """
    if certificate is None or key is None:
        return ""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # gRPC supports only keys without a password. The empty one keeps OpenSSL from prompting for it.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if "MISMATCH" in (error.reason or ""):
            raise StartError(f"--tls-key {key} is not the key of --tls-cert {certificate}") from error
        raise StartError(
            f"--tls-cert {certificate} and --tls-key {key} cannot be used ({error.reason or error}): "
            "both are PEM files, the key without a password"
        ) from error
    except OSError as error:
        raise StartError(
            f"the TLS certificate or key cannot be read: {error.strerror or error} ({certificate}, {key})"
        ) from error
    return _dates(context, certificate)


def _dates(served: ssl.SSLContext, certificate: Path) -> str:
    """The warning about dates, from the point of view of a client that trusts exactly this certificate."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trusting.load_verify_locations(cafile=certificate)
    try:
        shown = _shake_hands(served, trusting)
    except ssl.SSLCertVerificationError as error:
        return f"clients refuse --tls-cert {certificate}: {error.verify_message}; renew it and start again"
    left = ssl.cert_time_to_seconds(str(shown["notAfter"])) - time.time()
    if left < SOON_SECONDS:
        return f"--tls-cert {certificate} expires in {left / 86_400:.1f} days ({shown['notAfter']})"
    return ""


def _shake_hands(served: ssl.SSLContext, trusting: ssl.SSLContext) -> dict[str, object]:
    """The certificate that a client receives, by a handshake in memory."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = served.wrap_bio(up, down, server_side=True)
    client = trusting.wrap_bio(down, up)
    for _ in range(4):  # each side sends at most two messages
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
        if client.version() and client.getpeercert():
            break
    return dict(client.getpeercert() or {})
