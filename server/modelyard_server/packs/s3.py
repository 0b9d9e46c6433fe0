"""Packs as objects of an S3-compatible store, through the `minio` client."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import certifi
import urllib3
from minio import Minio
from minio.credentials import (
    AWSConfigProvider,
    ChainedProvider,
    EnvAWSProvider,
    EnvMinioProvider,
    IamAwsProvider,
)
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from minio.helpers import check_bucket_name

from modelyard.contract import errors
from modelyard_server.packs.store import OpenPack, PackInfo, PackMissing, PackStore, RangeSource, StoreRefused

_CONNECT_SECONDS = 5.0
_READ_SECONDS = 60.0
_CONNECTIONS = 128  # a running download uses one or two
_PART_MINIMUM = 5 << 20
_STORE_ID_BYTES = 100  # more than the longest id
_DEFAULT_REGION = "us-east-1"
_AWS = "https://s3.amazonaws.com"
_TEMPORARY = {408, 429}
_FULL = {"XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded"}


class S3Store(PackStore):
    """A store in an existing bucket, under a prefix."""

    holds_bytes = True

    def __init__(self, client: Minio, bucket: str, prefix: str = "") -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    @classmethod
    def from_url(cls, url: str) -> S3Store:
        """Returns the store of `s3://bucket[/prefix][?endpoint=http://host:port][&region=name]`.

        Raises ValueError for anything else.
        """
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc or parts.fragment:
            raise ValueError("expected s3://bucket[/prefix]?endpoint=…, without credentials")
        if unknown := options.keys() - {"endpoint", "region"}:
            raise ValueError(f"unknown option of an S3 store: {', '.join(sorted(unknown))}")
        check_bucket_name(parts.netloc)
        endpoint = options.get("endpoint", _AWS)
        region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        return cls(_client(endpoint, region), parts.netloc, parts.path.strip("/"))

    def make_bucket(self) -> bool:
        """Creates the bucket if it is missing; returns whether it did. Errors: StoreUnavailable."""
        with self.translate_errors("bucket"):
            if self._client.bucket_exists(bucket_name=self._bucket):
                return False
            try:
                self._client.make_bucket(bucket_name=self._bucket)
            except S3Error as error:
                if error.code == "BucketAlreadyOwnedByYou":  # another process created it first
                    return False
                raise
        return True

    def open(self) -> OpenPack:
        return _S3Pack(self)

    def store_id(self) -> str | None:
        try:
            return _S3Range(self, "store-id", 0, _STORE_ID_BYTES).read(_STORE_ID_BYTES).decode().strip()
        except PackMissing:
            return None

    def put_object(self, key: str, parts: list[bytes | memoryview]) -> None:
        """Stores the concatenated parts by one request, whose hash the server checks."""
        size = sum(len(part) for part in parts)
        with self.translate_errors(key):
            self._client.put_object(
                bucket_name=self._bucket,
                object_name=self._prefix + key,
                data=_Body(parts),
                length=size,
                part_size=max(size, _PART_MINIMUM),
            )

    def _open_range(self, key: str, offset: int, length: int) -> RangeSource:
        return _S3Range(self, key, offset, length)

    def get(self, key: str, offset: int, length: int) -> Any:
        """Requests a range; returns the response with its body unread, or None if the pack ends before it.

        Errors: those of minio, see `translate_errors`.
        """
        try:
            return self._client.get_object(
                bucket_name=self._bucket, object_name=self._prefix + key, offset=offset, length=length
            )
        except S3Error as error:
            if error.code == "InvalidRange":
                return None
            raise

    def _stat(self, key: str) -> PackInfo:
        with self.translate_errors(key):
            try:
                found = self._client.stat_object(bucket_name=self._bucket, object_name=self._prefix + key)
            except S3Error as error:
                # The reply to HEAD has no body, so a missing bucket looks like a missing pack.
                if error.code == "NoSuchKey" and not self._client.bucket_exists(bucket_name=self._bucket):
                    raise self._no_bucket() from error
                raise
        return PackInfo(key, found.size, found.last_modified)

    def _delete(self, key: str) -> None:
        try:
            with self.translate_errors(key):
                self._client.remove_object(bucket_name=self._bucket, object_name=self._prefix + key)
        except PackMissing:  # some stores report this, others do not
            return

    def _list(self, prefix: str, after: str) -> Iterator[PackInfo]:
        with self.translate_errors(prefix):
            for found in self._client.list_objects(
                bucket_name=self._bucket,
                prefix=self._prefix + prefix,
                recursive=True,
                start_after=self._prefix + after if after else None,
            ):
                yield PackInfo(found.object_name[len(self._prefix) :], found.size, found.last_modified)

    def _put_small(self, key: str, data: bytes) -> None:
        self.put_object(key, [data])

    def _write_store_id(self, store_id: str) -> None:
        self._put_small("store-id", store_id.encode() + b"\n")

    def _no_bucket(self) -> StoreRefused:
        return StoreRefused(f"the object store has no bucket {self._bucket!r}")

    @contextmanager
    def translate_errors(self, key: str) -> Iterator[None]:
        """Turns errors of minio into errors of the store. Only NoSuchKey means that a pack is absent."""
        try:
            yield
        except S3Error as error:
            raise self._refused(error, key) from error
        except (ServerError, InvalidResponseError) as error:
            raise errors.StoreUnavailable("the object store's answer is not valid S3") from error
        except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
            raise errors.StoreUnavailable("the object store did not answer") from error

    def _refused(self, error: S3Error, key: str) -> errors.CommError:
        if error.code == "NoSuchKey":
            return PackMissing(key)
        if error.code == "NoSuchBucket":
            return self._no_bucket()
        if error.code in _FULL:
            return errors.DiskFull("the object store is full")
        answered = getattr(error.response, "status", 0)
        if 400 <= answered < 500 and answered not in _TEMPORARY:
            return StoreRefused(f"the object store refused: {error.code}")
        return errors.StoreUnavailable(f"the object store refused: {error.code}")


class _S3Range:
    """A range of an object, streamed from one response, which is requested again where it breaks."""

    def __init__(self, store: S3Store, key: str, offset: int, length: int) -> None:
        self._store = store
        self._key = key
        self._at = offset
        self._end = offset + length
        self._response: Any = None

    def read(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size and (data := self._read_some(size)):
            parts.append(data)
            size -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()
            response.release_conn()

    def _read_some(self, size: int) -> bytes:
        """Returns up to `size` bytes; none only at the end of the pack."""
        with self._store.translate_errors(self._key):
            if self._response is not None:
                try:
                    return self._read_response(size)
                except (urllib3.exceptions.HTTPError, OSError):
                    # A store may close a connection that is read slowly: request the rest.
                    self.close()
            self._response = self._store.get(self._key, self._at, self._end - self._at)
            if self._response is None:
                return b""
            if self._response.status != 206:
                self.close()
                raise errors.StoreUnavailable("the object store does not support range requests")
            try:
                return self._read_response(size)
            except BaseException:
                self.close()
                raise

    def _read_response(self, size: int) -> bytes:
        # If the connection breaks, this read returns what was received; the next one raises.
        data: bytes = self._response.read(size, decode_content=False)
        self._at += len(data)
        return data


class _S3Pack(OpenPack):
    """Keeps the appended parts in memory until `put` sends them in one request."""

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self._parts: list[bytes | memoryview] | None = []

    def discard(self) -> None:
        self._parts = None

    def _append(self, data: bytes | memoryview) -> None:
        self._require_open().append(data)

    def _put(self, key: str) -> None:
        parts = self._require_open()
        self._parts = None
        self._store.put_object(key, parts)

    def _require_open(self) -> list[bytes | memoryview]:
        if self._parts is None:
            raise ValueError("the pack was already put or discarded")
        return self._parts


class _Body:
    """The body of a PUT, over parts. minio reads it in one call, since it needs one `bytes` object."""

    def __init__(self, parts: list[bytes | memoryview]) -> None:
        self._parts = parts

    def read(self, size: int) -> bytes:
        """Returns all bytes and releases the parts; `size` is never less than their total."""
        body = b"".join(self._parts)
        self._parts.clear()
        return body


class _Credentials:
    """The credential providers of minio in their usual order, with an error that says what to do."""

    def __init__(self) -> None:
        providers = [EnvAWSProvider(), EnvMinioProvider(), AWSConfigProvider(), IamAwsProvider()]
        self._chain = ChainedProvider(providers)

    def retrieve(self) -> Any:
        """Returns credentials from the first provider that has any."""
        try:
            return self._chain.retrieve()
        except ValueError as error:
            raise StoreRefused(
                "no credentials for the object store: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from error


def _client(endpoint: str, region: str | None) -> Minio:
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path.strip("/"):
        raise ValueError(f"the endpoint {endpoint!r} is not of the form http://host:port")
    pool = urllib3.PoolManager(
        maxsize=_CONNECTIONS,
        timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
        # An unreachable store is reported after at most two connect timeouts. A PUT may be
        # repeated: keys are written once, so it stores the same bytes again.
        retries=urllib3.Retry(
            total=3,
            connect=1,
            read=1,
            status=2,
            backoff_factor=0.2,
            status_forcelist=[500, 502, 503, 504],
            raise_on_status=False,
        ),
        cert_reqs="CERT_REQUIRED",
        ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
    )
    return Minio(
        endpoint=parts.netloc,
        secure=parts.scheme == "https",
        # AWS reports a bucket's region; other stores mostly have a single region, of any name.
        region=region or (None if endpoint == _AWS else _DEFAULT_REGION),
        credentials=_Credentials(),
        http_client=pool,
    )
