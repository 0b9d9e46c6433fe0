"""Classifies errors of calls that reached no server: temporary or permanent, and the most informative."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import grpc

from modelyard.configuration.addresses import Endpoint
from modelyard.contract import errors
from modelyard.host import forking

ASK_SECONDS = 2.0
"""Seconds to probe one address."""
_MOST_ADDRESSES = 4
_REFUSED = "Connection refused"
_NO_HTTP2 = "missing selected ALPN property"
_CLOSED = ("Socket closed", "Connection reset", "Broken pipe", "Unwrap failed")
_UNTRUSTED = re.compile(r"CERTIFICATE_VERIFY_FAILED:? ?([^:]*)")
_ALERT = re.compile(r"ALERT_([A-Z_]+)", re.IGNORECASE)
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What a client of HTTP/2 sends first: the preface, and an empty frame of settings."""
_FRAME_HEAD = 9
_SETTINGS = 4
_PASSING = re.compile(r"HTTP/1\.[01] (429|502|503|504)\b")
"""How a balancer without a server answers."""

OpenChannel = Callable[[Endpoint, Sequence[tuple[str, Any]]], grpc.Channel]


def explain(endpoint: Endpoint, told: str, open_channel: OpenChannel) -> errors.CommError:
    """The error of a call that reached no server; `told` is gRPC's description.

    TLSFailed, or Unimplemented where no gRPC server answers, if retrying cannot help;
    else ServerStopping. gRPC describes the last address that it tried: if that one only
    refused, the others are probed too.
    """
    texts = [told]
    if _REFUSED in told:
        texts += _told_by_each(endpoint, open_channel)
    return choose(endpoint, texts)


def choose(endpoint: Endpoint, texts: Sequence[str]) -> errors.CommError:
    """The most informative of gRPC's errors for an endpoint's addresses."""
    for text in texts:
        reason = _final(endpoint, text)
        if reason:
            return errors.TLSFailed(f"the modelyard server at {endpoint} cannot be used: {reason}")
        reason = _other_protocol(endpoint, text)
        if reason:
            return errors.Unimplemented(f"no gRPC server is at {endpoint}: {reason}. Check host and port")
    text = next((text for text in texts if _REFUSED not in text), texts[0])
    return errors.ServerStopping(f"the modelyard server at {endpoint} cannot be reached ({text})")


def _final(endpoint: Endpoint, text: str) -> str:
    """The permanent error; empty if it may be temporary."""
    trust = "MODELYARD_CA_CERTS=FILE trusts the authority that issued it"
    untrusted = _UNTRUSTED.search(text)
    if untrusted:
        return f"its certificate is not trusted: {untrusted[1].strip() or 'verification failed'}. {trust}"
    if "Hostname Verification Check failed" in text or "not in peer certificate" in text:
        return f"its certificate is not for {endpoint.host}: use a name that is in the certificate"
    if "WRONG_VERSION_NUMBER" in text:
        return "it does not speak TLS: use grpc:// or http://, if the way to it is safe"
    if any(closed in text for closed in _CLOSED):
        return _after_closing(endpoint)
    alert = _ALERT.search(text)
    if alert:
        return _of_alert(alert[1])
    return ""


def _after_closing(endpoint: Endpoint) -> str:
    """Why the server closed the connection at once, if TLS is the reason."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        endpoint.certificates.load_own(context)
        port = int(endpoint.target.rpartition(":")[2])
        with (
            socket.create_connection((endpoint.host, port), timeout=ASK_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=endpoint.host) as wrapped,
        ):
            if endpoint.tls:
                wrapped.recv(1)  # with TLS 1.3 an error of the client's certificate is reported here
    except ssl.SSLError as error:
        alert = _ALERT.search(error.reason or "")
        return _of_alert(alert[1]) if alert and endpoint.tls else ""
    except (OSError, ValueError):
        return ""
    return "" if endpoint.tls else "it speaks TLS: use grpcs:// or https://"


def _other_protocol(endpoint: Endpoint, text: str) -> str:
    """What else the server speaks; empty if that is not known or may be temporary."""
    if endpoint.tls:
        return "it speaks TLS without HTTP/2" if _NO_HTTP2 in text else ""
    if _REFUSED in text:
        return ""
    try:
        port = int(endpoint.target.rpartition(":")[2])
        with socket.create_connection((endpoint.host, port), timeout=ASK_SECONDS) as plain:
            plain.sendall(_HELLO)
            told = plain.recv(64)
    except (OSError, ValueError):
        return ""
    if len(told) < _FRAME_HEAD or told[3] == _SETTINGS:
        return ""
    shown = told.decode(errors="replace").splitlines()[0]
    return "" if _PASSING.match(shown) else f"it answers with {shown!r}"


def _of_alert(name: str) -> str:
    said = name.lower().replace("_", " ")
    return (
        f"it refuses our side of TLS ({said}). Servers that ask for a client certificate are shown that of "
        "MODELYARD_CLIENT_CERT and MODELYARD_CLIENT_KEY"
    )


def _told_by_each(endpoint: Endpoint, open_channel: OpenChannel) -> list[str]:
    """gRPC's error for each address of the host, if there are several."""
    port = endpoint.target.rpartition(":")[2]
    try:
        found = socket.getaddrinfo(endpoint.host, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    # gRPC's resolver has two addresses of localhost, whatever the system's has.
    known = ["127.0.0.1", "::1"] if endpoint.host == "localhost" else []
    addresses = list(dict.fromkeys((*known, *(str(entry[4][0]) for entry in found))))[:_MOST_ADDRESSES]
    return [told_by(endpoint, address, open_channel) for address in addresses if len(addresses) > 1]


def told_by(endpoint: Endpoint, address: str, open_channel: OpenChannel) -> str:
    """gRPC's error for one address of an endpoint."""
    port = endpoint.target.rpartition(":")[2]
    shown = f"[{address}]" if ":" in address else address
    options = [("grpc.ssl_target_name_override", endpoint.host)] if endpoint.tls else []
    with forking.running(), open_channel(replace(endpoint, target=f"{shown}:{port}"), options) as channel:
        try:
            channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=ASK_SECONDS)
        except grpc.RpcError as failure:
            return str(failure.details())
    return _REFUSED  # it answers now: there is no error
