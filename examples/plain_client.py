"""Upload a folder, resolve an alias, download a file: plain generated stubs, no SDK.

python plain_client.py ADDRESS KEY FOLDER NAME FILE TARGET
"""

import sys
from pathlib import Path

import grpc

from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1.model_artifact_pb2_grpc import ModelArtifactServiceStub

address, key, folder, name, file, target = sys.argv[1:]
stub = ModelArtifactServiceStub(grpc.insecure_channel(address))
metadata = [("authorization", f"Bearer {key}")] if key else []


def messages():
    yield pb.UploadModelArtifactRequest(header=pb.VersionHeader(name=name, aliases=["staging"]))
    for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
        yield pb.UploadModelArtifactRequest(path=path.relative_to(folder).as_posix())
        with path.open("rb") as source:
            while data := source.read(1 << 20):
                yield pb.UploadModelArtifactRequest(data=data)


made = stub.UploadModelArtifact(messages(), metadata=metadata)
print(f"{made.version.name}:v{made.version.number}", "new" if made.created else "had this content already")

question = pb.GetModelArtifactVersionRequest(ref=f"{name}:staging")
version = stub.GetModelArtifactVersion(question, metadata=metadata).version
with Path(target).open("wb") as out:
    wanted = pb.DownloadFileRequest(id=version.id, path=file)
    for part in stub.DownloadFile(wanted, metadata=metadata):
        out.write(part.data)
print(f"{file} of v{version.number}: {Path(target).stat().st_size} bytes")
