"""Connect's own conformance runner against the adapter that serves HTTP."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

from tests.parts.processes import built, parts_folder

CLAIMED = """
features:
  versions: [HTTP_VERSION_1]
  protocols: [PROTOCOL_CONNECT]
  codecs: [CODEC_PROTO, CODEC_JSON]
  compressions: [COMPRESSION_IDENTITY, COMPRESSION_GZIP]
  stream_types: [STREAM_TYPE_UNARY, STREAM_TYPE_SERVER_STREAM]
  supports_h2c: false
  supports_tls: true
  supports_tls_client_certs: false
  supports_connect_get: false
  supports_message_receive_limit: false
"""
"""What `docs/calling.md` says of the HTTP port."""
FEWEST_CASES = 500
"""The runner has 564 for what is claimed; far fewer would mean that it did not understand the claim."""


def test_the_adapter_conforms_to_what_it_claims(tmp_path: Path) -> None:
    runner = built("connectconformance")
    claim = tmp_path / "claim.yaml"
    claim.write_text(CLAIMED)
    env = os.environ | {"MODELYARD_CONFORMANCE_SCHEMA": str(_schema(tmp_path))}
    server = [sys.executable, "-m", "tests.http.conformance_server"]
    done = subprocess.run(
        [runner, "--mode", "server", "--conf", str(claim), "--", *server],
        capture_output=True,
        text=True,
        env=env,
        timeout=200,
    )
    counts = re.search(r"(\d+) passed, (\d+) failed", done.stdout + done.stderr)
    assert counts, done.stdout[-3000:] + done.stderr[-3000:]
    assert (done.returncode, counts[2]) == (0, "0"), done.stdout[-3000:]
    assert int(counts[1]) > FEWEST_CASES


def _schema(folder: Path) -> Path:
    """The descriptors of the runner's protos."""
    target, protos = folder / "schema.binpb", parts_folder().parent / "conformance-protos"
    included = Path(grpc_tools.__file__).parent / "_proto"
    files = [str(path) for path in protos.glob("connectrpc/conformance/v1/*.proto")]
    options = ["-I", str(protos), "-I", str(included), "--include_imports", f"--descriptor_set_out={target}"]
    assert protoc.main(["protoc", *options, *files]) == 0
    return target
