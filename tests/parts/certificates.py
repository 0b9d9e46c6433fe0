"""Certificates for servers and clients on this machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.parts.processes import require

_LOCALHOST = "DNS:localhost,IP:127.0.0.1"


def certificate_for_localhost(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate of localhost and 127.0.0.1, and its private key, as PEM files."""
    return certificate(folder, "cert")


def certificate(
    folder: Path, name: str, *, names: str = _LOCALHOST, days: int = 30, password: str = ""
) -> tuple[Path, Path]:
    """A self-signed certificate and its private key, as PEM files. With negative `days` it has expired."""
    shown, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    request, extensions = folder / f"{name}.csr", folder / f"{name}.ext"
    extensions.write_text(f"subjectAltName={names}\n")
    lock = ["-passout", f"pass:{password}"] if password else ["-nodes"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    _openssl("req", *curve, *lock, "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request))
    sign = ["-signkey", str(key), "-passin", f"pass:{password}", "-extfile", str(extensions)]
    _openssl("x509", "-req", "-in", str(request), *sign, "-days", str(days), "-out", str(shown))
    return shown, key


def _openssl(*arguments: str) -> None:
    program = require(shutil.which("openssl"), "openssl")
    subprocess.run([str(program), *arguments], check=True, capture_output=True)
