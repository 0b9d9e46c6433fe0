"""A session of the SDK and one of plain stubs, for `lowest.sh`: takes a folder and the versions to expect."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc

import modelyard
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import model_artifact_pb2_grpc as services

_MIB = 1 << 20


def main(folder: Path, versions: Path) -> None:
    """Raises when anything is not as it should be."""
    check_versions(versions)
    weights = folder / "weights.bin"
    weights.write_bytes(os.urandom(3 * _MIB + 17))
    log_and_link(weights)
    use(weights)
    check_errors()
    with grpc.insecure_channel(os.environ["MODELYARD_URL"].removeprefix("grpc://")) as channel:
        plain_stubs(services.ModelArtifactServiceStub(channel), os.urandom(2 * _MIB + 5))


def check_versions(versions: Path) -> None:
    """The oldest packages are the ones that are installed, and the server is not."""
    for line in versions.read_text().split():
        name, _, lowest = line.partition("==")
        installed = importlib.metadata.version(name)
        assert f"{installed}.0".startswith(f"{lowest}."), f"{name} {installed} is installed, not {lowest}"
    assert importlib.util.find_spec("modelyard_server") is not None  # same wheel, without what it needs
    for absent in ("sqlalchemy", "minio", "grpc_health"):
        assert importlib.util.find_spec(absent) is None, f"{absent} is installed, but belongs to the server"


def log_and_link(weights: Path) -> None:
    """A run with metrics, a model of it, and a link."""
    with modelyard.init(project="lowest", config={"rate": 0.1}) as run:
        for step in range(5):
            run.log({"loss": 1 / (step + 1)})
        run.log_model(str(weights), name="weights", aliases=["best"])
        linked = run.link_model(str(weights), "Lowest", name="weights", aliases=["production"])
        assert linked is not None
        assert linked.version == "v0"
        assert "production" in linked.aliases


def use(weights: Path) -> None:
    """Another run takes the model by the link's alias."""
    with modelyard.init(project="lowest-use") as run:
        path = run.use_model("model-registry/Lowest:production")
        assert Path(path).read_bytes() == weights.read_bytes()


def check_errors() -> None:
    """A refusal arrives as its class: grpcio-status reads it."""
    with modelyard.init(project="lowest-use") as run:
        try:
            run.use_model("nothing:latest")
        except ValueError as error:
            refusal: Exception = error
        else:
            raise AssertionError("a name that does not exist was found")
    assert isinstance(refusal, modelyard.errors.CommError), repr(refusal)


def plain_stubs(artifacts: services.ModelArtifactServiceStub, content: bytes) -> None:
    """Up, resolved and down without the SDK."""

    def messages() -> Iterator[pb.UploadModelArtifactRequest]:
        header = pb.VersionHeader(project="lowest", name="plain", aliases=["staging"])
        yield pb.UploadModelArtifactRequest(header=header)
        yield pb.UploadModelArtifactRequest(path="plain.bin", data=content[:_MIB])
        for start in range(_MIB, len(content), _MIB):
            yield pb.UploadModelArtifactRequest(data=content[start : start + _MIB])

    made = artifacts.UploadModelArtifact(messages())
    assert made.created
    ask = pb.GetModelArtifactVersionRequest(ref="lowest/plain:staging")
    version = artifacts.GetModelArtifactVersion(ask).version
    assert version.id == made.version.id
    parts = artifacts.DownloadFile(pb.DownloadFileRequest(id=version.id, path="plain.bin"))
    assert b"".join(part.data for part in parts) == content


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
    print("the SDK and the plain stubs work on the lowest versions")
