"""References to objects of a real S3-compatible store."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from minio.commonconfig import ENABLED
from minio.versioningconfig import VersioningConfig

import modelyard
from modelyard import Artifact, Run, errors
from tests.parts.s3 import ACCESS_KEY, SECRET_KEY, S3Server


class Bucket:
    """A bucket to put objects into."""

    def __init__(self, server: S3Server) -> None:
        self.endpoint = server.endpoint
        self.name = server.new_bucket()
        self._client = server.client()

    def put(self, key: str, body: bytes) -> Any:
        return self._client.put_object(
            bucket_name=self.name, object_name=key, data=io.BytesIO(body), length=len(body)
        )

    def remove(self, key: str) -> None:
        self._client.remove_object(bucket_name=self.name, object_name=key)

    def keep_versions(self) -> None:
        self._client.set_bucket_versioning(bucket_name=self.name, config=VersioningConfig(ENABLED))


@pytest.fixture
def bucket(minio_server: S3Server, embedded: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_S3_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODELYARD_S3_ENDPOINT", minio_server.endpoint)
    modelyard.init(project="references-s3")
    return Bucket(minio_server)


def entries(artifact: Artifact) -> dict[str, Any]:
    return {path: (entry.ref, entry.size) for path, entry in artifact.manifest.entries.items()}


def downloaded(folder: str | Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()
    }


def log(artifact: Artifact) -> Artifact:
    run = modelyard.run
    assert isinstance(run, Run)
    return run.log_artifact(artifact)


def test_an_object_is_recorded_by_its_etag_and_fetched(bucket: Bucket, tmp_path: Path) -> None:
    etag = bucket.put("models/best model.pt", b"weights").etag
    artifact = Artifact("object", "model")
    (entry,) = artifact.add_reference(f"s3://{bucket.name}/models/best model.pt")
    assert entry.reference is not None
    assert (entry.path, entry.reference.tag, entry.size) == ("best model.pt", etag, 7)
    logged = log(artifact)
    assert logged.size == 7
    assert downloaded(logged.download(tmp_path / "out")) == {"best model.pt": b"weights"}


def test_a_prefix_expands_to_what_lies_below_it(bucket: Bucket, tmp_path: Path) -> None:
    contents = {"run/a": b"a", "run/deep/b": b"bb", "running": b"not below", "run/marker/": b""}
    for key, body in contents.items():
        bucket.put(key, body)
    for uri in (f"s3://{bucket.name}/run", f"s3://{bucket.name}/run/"):
        artifact = Artifact("prefix", "model")
        artifact.add_reference(uri, name="data")
        assert entries(artifact) == {
            "data/a": (f"s3://{bucket.name}/run/a", 1),
            "data/deep/b": (f"s3://{bucket.name}/run/deep/b", 2),
        }
    assert downloaded(log(artifact).download(tmp_path / "out")) == {"data/a": b"a", "data/deep/b": b"bb"}


def test_a_whole_bucket_is_logged_by_log_model(bucket: Bucket) -> None:
    for number in range(30):
        bucket.put(f"shard-{number:02}", b"x" * number)
    modelyard.log_model(f"s3://{bucket.name}", name="whole-bucket")
    place = modelyard.use_model("whole-bucket:latest")
    assert downloaded(place) == {f"shard-{number:02}": b"x" * number for number in range(30)}


def test_more_objects_than_max_objects_raise_and_nothing_is_added(bucket: Bucket) -> None:
    for number in range(4):
        bucket.put(f"many/{number}", b"")
    artifact = Artifact("many", "dataset")
    with pytest.raises(ValueError, match="more than 3 objects"):
        artifact.add_reference(f"s3://{bucket.name}/many", max_objects=3)
    assert not artifact.manifest.entries


def test_an_object_that_changed_is_refused_by_name(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("model", b"first")
    artifact = Artifact("changed", "model")
    artifact.add_reference(f"s3://{bucket.name}/model", name="deep/renamed")
    logged = log(artifact)
    bucket.put("model", b"other")
    with pytest.raises(errors.ReferenceChanged, match=r"'deep/renamed': s3://.*/model has changed"):
        logged.download(tmp_path / "out")
    assert downloaded(tmp_path / "out") == {}


def test_of_a_versioned_bucket_the_recorded_version_is_fetched(bucket: Bucket, tmp_path: Path) -> None:
    bucket.keep_versions()
    bucket.put("one", b"first")
    bucket.put("many/a", b"an older one")
    bucket.put("many/a", b"first of many")
    bucket.put("many/gone", b"deleted before")
    bucket.remove("many/gone")
    artifact = Artifact("versioned", "model")
    artifact.add_reference(f"s3://{bucket.name}/one")
    artifact.add_reference(f"s3://{bucket.name}/many")
    logged = log(artifact)
    bucket.put("one", b"second")
    bucket.remove("many/a")
    assert downloaded(logged.download(tmp_path / "out")) == {"one": b"first", "a": b"first of many"}


def test_an_object_that_is_gone_is_an_error_unless_allowed(
    bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.put("in/kept", b"kept")
    bucket.put("in/lost", b"lost")
    artifact = Artifact("missing", "model")
    artifact.add_reference(f"s3://{bucket.name}/in")
    logged = log(artifact)
    bucket.remove("in/lost")
    with pytest.raises(errors.ReferenceMissing, match="'lost'"):
        logged.download(tmp_path / "out")
    assert downloaded(logged.download(tmp_path / "out", allow_missing_references=True)) == {"kept": b"kept"}
    assert "'lost' is left out" in capsys.readouterr().err


@pytest.mark.parametrize("uri", ["s3://{bucket}/nothing", "s3://{bucket}-not-there/key"])
def test_what_is_not_there_cannot_be_added(bucket: Bucket, uri: str) -> None:
    with pytest.raises(ValueError, match="there is no"):
        Artifact("none", "model").add_reference(uri.format(bucket=bucket.name))


def test_without_checksum_the_store_is_not_asked(bucket: Bucket, tmp_path: Path) -> None:
    artifact = Artifact("unchecked", "model")
    artifact.add_reference(f"s3://{bucket.name}/later", checksum=False)
    logged = log(artifact)
    bucket.put("later", b"came later")
    assert downloaded(logged.download(tmp_path / "out")) == {"later": b"came later"}


def test_a_wrong_key_is_reported_with_the_error_of_the_store(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with pytest.raises(errors.Error, match=r"s3://.*/x/: the store says \w+"):
        Artifact("denied", "model").add_reference(f"s3://{bucket.name}/x/")


def test_refused_access_to_a_google_bucket_explains_its_keys(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_GS_ENDPOINT", bucket.endpoint)
    with pytest.raises(errors.Error, match=r"AccessDenied.*HMAC keys are read from GS_ACCESS_KEY_ID"):
        Artifact("stranger", "model").add_reference(f"gs://{bucket.name}/x")


def test_without_the_minio_package_the_error_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['minio'] = None\n"
        "from modelyard import Artifact\n"
        "Artifact('none', 'model').add_reference('s3://bucket/key')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert 'need the minio package: pip install "minio>=' in done.stderr


def test_a_store_that_does_not_answer_is_an_error_at_once(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_S3_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(errors.Error, match="did not answer"):
        Artifact("away", "model").add_reference(f"s3://{bucket.name}/x")


def test_google_buckets_are_asked_through_the_same_interface(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_GS_ENDPOINT", bucket.endpoint)
    monkeypatch.setenv("GS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("GS_SECRET_ACCESS_KEY", SECRET_KEY)
    bucket.put("models/a", b"google")
    artifact = Artifact("google", "model")
    artifact.add_reference(f"gs://{bucket.name}/models")
    assert entries(artifact) == {"a": (f"gs://{bucket.name}/models/a", 6)}
    assert downloaded(log(artifact).download(tmp_path / "out")) == {"a": b"google"}
