"""`s3://` and `gs://`, through the `minio` package.

Tags are ETags, with the version if there is one. Google's store is used through its
S3-compatible interface, with HMAC keys.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from modelyard.contract import errors
from modelyard.references.store import Body, Target, changed, limited

_VERSION = "?versionId="
_ADDRESS = re.compile(r"[A-Za-z0-9]+://(?P<bucket>[^/?]+)/?(?P<key>.*?)(?:\?versionId=(?P<version>[^?&]+))?")
_AWS = "https://s3.amazonaws.com"
_ENDPOINTS = {
    "s3": (("MODELYARD_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL"), _AWS),
    "gs": (("MODELYARD_GS_ENDPOINT",), "https://storage.googleapis.com"),
}
_KEYS = {
    "s3": "keys are read from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the AWS files or the role",
    "gs": "HMAC keys are read from GS_ACCESS_KEY_ID and GS_SECRET_ACCESS_KEY",
}
_MISSING = {"NoSuchKey", "NoSuchBucket", "NoSuchVersion", "NoSuchObject"}
_CONNECT_SECONDS, _READ_SECONDS, _METADATA_SECONDS = 10.0, 60.0, 1.0


class Address(NamedTuple):
    """`scheme://bucket/key[?versionId=…]`; an empty key means the whole bucket."""

    bucket: str
    key: str
    version: str

    @classmethod
    def parse(cls, uri: str) -> Address:
        """ValueError for what is not of this form."""
        match = _ADDRESS.fullmatch(uri)
        if match is None:
            raise ValueError(f"{uri!r} is not of the form {uri.partition('://')[0]}://bucket/key")
        return cls(match["bucket"], match["key"], match["version"] or "")


class Buckets:
    """Objects of an S3-compatible store."""

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme

    def name_of(self, uri: str) -> str:
        """The last part of the key, or the bucket."""
        address = Address.parse(uri)
        return address.key.rstrip("/").rpartition("/")[2] or address.bucket

    def find(self, uri: str, limit: int) -> Iterable[Target]:
        """The object of this key; if there is none, all objects below the key as if it were a folder."""
        address = Address.parse(uri)
        client = _client(self._scheme)
        with _explained(uri):
            if address.key and not address.key.endswith("/"):
                found = _stat(client, address)
                if found is not None:
                    tag = _tag(found.etag, address.version or found.version_id)
                    return [Target("", self._uri(address.bucket, address.key), found.size, tag)]
            targets = list(limited(self._below(client, address), limit, uri))
        if not targets:
            raise errors.ReferenceMissing(f"there is no object at {uri}, and none below it")
        return targets

    def _below(self, client: Any, address: Address) -> Iterator[Target]:
        prefix = address.key.rstrip("/") + "/" if address.key else ""
        for found in client.list_objects(
            bucket_name=address.bucket,
            prefix=prefix,
            recursive=True,
            include_version=_is_versioned(client, address.bucket),
        ):
            key = found.object_name
            # Keys that end with `/` are placeholders for folders, made by consoles.
            if key.endswith("/") or found.is_delete_marker or found.is_latest == "false":
                continue
            tag = _tag(found.etag, found.version_id)
            yield Target(key[len(prefix) :], self._uri(address.bucket, key), found.size, tag)

    def _uri(self, bucket: str, key: str) -> str:
        return f"{self._scheme}://{bucket}/{key}"

    @contextmanager
    def opened(self, uri: str, tag: str) -> Iterator[Body]:
        """Opens the object, in the recorded version if any; the ETag of the reply is checked."""
        address = Address.parse(uri)
        etag, _, version = tag.partition(_VERSION)
        with _explained(uri):
            response = _client(self._scheme).get_object(
                bucket_name=address.bucket,
                object_name=address.key,
                version_id=version or address.version or None,
            )
            try:
                found = response.headers.get("ETag", "").strip('"')
                if etag and found != etag:
                    raise changed(uri, f"ETag {etag}", found)
                yield _Reply(response)
            finally:
                response.close()
                response.release_conn()


class _Reply:
    def __init__(self, response: Any) -> None:
        self._response = response
        length = response.headers.get("Content-Length", "")
        self.size = int(length) if length.isdigit() else None

    def read(self, size: int) -> bytes:
        data: bytes = self._response.read(size, decode_content=False)
        return data


class _Credentials:
    """The credential providers of minio in their usual order; none is needed for public buckets."""

    def __init__(self, *, google: bool) -> None:
        import urllib3
        from minio.credentials import (
            AWSConfigProvider,
            ChainedProvider,
            EnvAWSProvider,
            EnvMinioProvider,
            IamAwsProvider,
            StaticProvider,
        )

        key, secret = os.environ.get("GS_ACCESS_KEY_ID"), os.environ.get("GS_SECRET_ACCESS_KEY")
        if google:
            self._chain = StaticProvider(key, secret) if key and secret else None
            return
        # Outside of that cloud the address does not answer: do not wait for it.
        pool = urllib3.PoolManager(timeout=_METADATA_SECONDS, retries=False)
        self._chain = ChainedProvider(
            [EnvAWSProvider(), EnvMinioProvider(), AWSConfigProvider(), IamAwsProvider(http_client=pool)]
        )

    def retrieve(self) -> Any:
        """Credentials to sign with; None for anonymous requests."""
        import urllib3

        if self._chain is not None:
            try:
                return self._chain.retrieve()
            except (ValueError, OSError, urllib3.exceptions.HTTPError):
                self._chain = None
        return None


_clients: dict[tuple[object, ...], Any] = {}


def _client(scheme: str) -> Any:
    """A client for the environment as it is now, one for each process and setting."""
    names, default = _ENDPOINTS[scheme]
    endpoint = next((os.environ[name] for name in names if os.environ.get(name)), default)
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    identity = [os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "GS_ACCESS_KEY_ID")]
    key = (os.getpid(), scheme, endpoint, region, *identity)
    if key not in _clients:
        _clients[key] = _new_client(scheme, endpoint, region if endpoint == _AWS else region or "us-east-1")
    return _clients[key]


def _new_client(scheme: str, endpoint: str, region: str | None) -> Any:
    try:
        import certifi
        import urllib3
        from minio import Minio
    except ImportError:
        raise errors.UsageError(
            f'references to {scheme}:// need the minio package: pip install "minio>=7.2.18,!=7.2.19,<8"'
        ) from None
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError(f"the endpoint {endpoint!r} is not of the form http://host:port")
    pool = urllib3.PoolManager(
        maxsize=16,
        timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
        retries=urllib3.Retry(
            total=4, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504], raise_on_status=False
        ),
        cert_reqs="CERT_REQUIRED",
        ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
    )
    return Minio(
        endpoint=parts.netloc,
        secure=parts.scheme == "https",
        region=region,
        credentials=_Credentials(google=scheme == "gs"),
        http_client=pool,
    )


def _stat(client: Any, address: Address) -> Any:
    """The metadata of an object; None if there is no such key."""
    from minio.error import S3Error

    try:
        return client.stat_object(
            bucket_name=address.bucket, object_name=address.key, version_id=address.version or None
        )
    except S3Error as error:
        if error.code not in _MISSING or address.version:
            raise
        return None


def _is_versioned(client: Any, bucket: str) -> bool:
    from minio.error import S3Error

    try:
        return bool(client.get_bucket_versioning(bucket_name=bucket).status == "Enabled")
    except S3Error:
        return False  # reading the bucket's settings may not be allowed: record the ETag only


def _tag(etag: str | None, version: str | None) -> str:
    """`ETAG`, or `ETAG?versionId=ID`."""
    plain = (etag or "").strip('"')
    return f"{plain}{_VERSION}{version}" if version and version != "null" else plain


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Translates errors of minio and urllib3; ConnectionError where a retry may help."""
    import urllib3
    from minio.error import MinioException, S3Error

    try:
        yield
    except S3Error as error:
        if error.code in _MISSING:
            raise errors.ReferenceMissing(f"there is nothing at {uri} ({error.code})") from None
        hint = f"; {_KEYS[uri[:2].lower()]}" if error.code == "AccessDenied" else ""
        raise errors.Error(f"{uri}: the store says {error.code}: {error.message}{hint}") from None
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        raise ConnectionError(f"{uri}: the store did not answer ({error})") from error
