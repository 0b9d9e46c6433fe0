"""The S3 client's own way to put a file into a bucket and to get it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import urllib3
from minio import Minio
from minio.credentials import EnvAWSProvider

from tests.bench.workers.orders import obey, seconds

_made: dict[str, Minio] = {}


def _client(endpoint: str) -> Minio:
    if endpoint not in _made:
        _made[endpoint] = Minio(
            endpoint=endpoint,
            credentials=EnvAWSProvider(),
            secure=False,
            region="us-east-1",
            http_client=urllib3.PoolManager(maxsize=8),
        )
    return _made[endpoint]


def make_bucket(endpoint: str, bucket: str) -> None:
    """An empty bucket."""
    _client(endpoint).make_bucket(bucket_name=bucket)


def log(endpoint: str, bucket: str, path: str) -> dict[str, Any]:
    """Puts a file into the bucket."""
    made = Path(path).name
    client = _client(endpoint)
    taken = seconds(lambda: client.fput_object(bucket_name=bucket, object_name=made, file_path=path))
    return {"seconds": taken, "made": made}


def use(endpoint: str, bucket: str, made: str, into: str) -> dict[str, Any]:
    """Gets a file from the bucket."""
    path = str(Path(into) / made)
    client = _client(endpoint)
    taken = seconds(lambda: client.fget_object(bucket_name=bucket, object_name=made, file_path=path))
    return {"seconds": taken, "path": path}


if __name__ == "__main__":
    obey({"make_bucket": make_bucket, "log": log, "use": use})
