"""A certificate that a server on this machine can show."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.parts.processes import require


def certificate_for_localhost(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate of localhost and 127.0.0.1, and its private key, as PEM files."""
    program = require(shutil.which("openssl"), "openssl")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    command = [
        str(program),
        *options.split(),
        "-addext",
        names,
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key
