"""Every error of modelyard, on both sides of the wire.

The server raises these classes and sends `code` and `reason` of the class as a
status; the client raises the same class again.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from typing import ClassVar


class Error(Exception):
    """Base of all errors of modelyard."""


class UsageError(Error):
    """A call that is not possible in the present state, such as `log` after `finish`."""


class UnsupportedError(UsageError):
    """A feature of another tracker that modelyard does not have was asked for."""


class ConfigError(Error):
    """A configuration value that may not be changed, or cannot be read."""


class WaitTimeoutError(Error):
    """The time that `Artifact.wait` was given has passed. It is not raised: a logged version is committed."""


class ArtifactStatusError(AttributeError):
    """A member that the artifact does not have in its present state."""


class ArtifactNotLoggedError(ArtifactStatusError):
    """A member that only a logged version has was asked of a draft."""


class ArtifactFinalizedError(ArtifactStatusError):
    """An attempt to change the content of a logged version."""


class LocalFileError(Error, OSError, ValueError):
    """A file or folder cannot be logged as it is; nothing was logged.

    It cannot be read, is no regular file, is a link that leads nowhere, or has
    a name that a version cannot hold. The message names it.
    """


class ReferenceMissing(Error, FileNotFoundError, ValueError):
    """The object that a reference points at does not exist."""


class ReferenceChanged(Error, ValueError):
    """The object that a reference points at has changed since it was recorded."""


class LocalDiskFull(Error, OSError):
    """A disk of this machine has too little room; what was partly written is removed.

    `path` is where, `needed` and `free` are in bytes; `free` is None where it is not known.
    """

    def __init__(self, message: str, path: str = "", needed: int = 0, free: int | None = None) -> None:
        super().__init__(errno.ENOSPC, message)
        self.args = (message, path, needed, free)
        self.path, self.needed, self.free = path, needed, free

    def __str__(self) -> str:
        return str(self.args[0])


class ReplyInvalid(Error):
    """A reply, or a record kept of one, violates the protocol; nothing of it was used."""


class CommError(Error):
    """The server refused a call or could not be reached.

    `reason` is one of the published reasons; `violations` are pairs of field
    and description where the request was invalid; `metadata` names what the
    error is about; `retry_delay` is in seconds, None where a retry does not help.
    """

    code: ClassVar[int] = 13
    reason: ClassVar[str] = "INTERNAL"
    retry_after: ClassVar[float | None] = None
    """Default `retry_delay`, in seconds; None for errors that a retry does not help."""

    def __init__(
        self,
        message: str,
        *,
        violations: Sequence[tuple[str, str]] = (),
        metadata: Mapping[str, str] | None = None,
        retry_delay: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})
        self.retry_delay = self.retry_after if retry_delay is None else retry_delay

    def __str__(self) -> str:
        return self.message


class InternalError(CommError):
    """An unexpected error in the server; its log has the details under `metadata["incident"]`."""


class ServerStopping(CommError):
    """The server is shutting down, or the connection was cut. The same call may be repeated."""

    code = 14
    reason = "SERVER_STOPPING"
    retry_after = 0.5


class TLSFailed(CommError):
    """A certificate is not trusted, or only one side uses TLS. Nothing was sent."""

    code = 14
    reason = "TLS_FAILED"


class StoreUnavailable(CommError):
    """The object store did not answer. Repeat the call."""

    code = 14
    reason = "STORE_UNAVAILABLE"
    retry_after = 1.0


class DatabaseUnavailable(CommError):
    """The database did not answer. Repeat the call."""

    code = 14
    reason = "DATABASE_UNAVAILABLE"
    retry_after = 1.0


class DeadlineExceeded(CommError):
    """The deadline of the call passed; it may have taken effect."""

    code = 4
    reason = "DEADLINE_EXCEEDED"


class DiskFull(CommError):
    """The server's disk is full. Reads still work."""

    code = 8
    reason = "DISK_FULL"


class QuotaExceeded(CommError):
    """A limit on size or number was reached."""

    code = 8
    reason = "QUOTA_EXCEEDED"

    @classmethod
    def of(cls, field: str, description: str) -> QuotaExceeded:
        """The error for one field, by its path in the request."""
        return cls(f"{field}: {description}", violations=[(field, description)])


class TooManyStreams(CommError):
    """The server, or the caller, has the maximum number of streams open."""

    code = 8
    reason = "TOO_MANY_STREAMS"
    retry_after = 1.0


class StreamStalled(CommError):
    """The client sent or read nothing for too long. Repeat the call from its last position."""

    code = 10
    reason = "STREAM_STALLED"
    retry_after = 1.0


class RateLimited(CommError):
    """Too many calls at once. Repeat the call after the delay that the error states."""

    code = 8
    reason = "RATE_LIMITED"
    retry_after = 1.0


class UploadExpired(CommError):
    """The upload ended or expired. Create a new one and ask which chunks are missing."""

    code = 9
    reason = "UPLOAD_EXPIRED"


class ChunksMissing(CommError):
    """The manifest has chunks that the upload does not hold, or files that the entity does not have."""

    code = 9
    reason = "CHUNKS_MISSING"


class FileNotTaken(CommError):
    """The server cannot read a local file in the stated state. Send its bytes instead."""

    code = 9
    reason = "FILE_NOT_TAKEN"


class RetryTransaction(CommError):
    """Concurrent transactions changed the same rows too often. Repeat the call."""

    code = 10
    reason = "RETRY_TRANSACTION"
    retry_after = 0.1


class AliasChanged(CommError):
    """An alias points at another version than the caller expected."""

    code = 10
    reason = "ALIAS_CHANGED"


class EtagMismatch(CommError):
    """The object was changed after its `etag` was read. Read it again before you repeat the update."""

    code = 10
    reason = "ETAG_MISMATCH"


class DigestMismatch(CommError, ValueError):
    """Received bytes do not match the digest stated for them."""

    code = 3
    reason = "DIGEST_MISMATCH"


class ChunkCorrupt(CommError):
    """Stored bytes are lost or do not match their digest. Log the same content again to replace them."""

    code = 15
    reason = "CHUNK_CORRUPT"


class RequestIdReused(CommError, ValueError):
    """The `request_id` was used before, for a different request."""

    code = 3
    reason = "REQUEST_ID_REUSED"


class AuthenticationError(CommError):
    """The API key is missing or not valid."""

    code = 16
    reason = "KEY_INVALID"


class KeyMissing(AuthenticationError):
    """The server requires an API key and none was sent."""

    reason = "KEY_MISSING"


class KeyInvalid(AuthenticationError):
    """The API key is unknown or was revoked."""

    reason = "KEY_INVALID"


class NotAllowed(CommError):
    """The caller has no right to do this, such as writing to that entity."""

    code = 7
    reason = "NOT_ALLOWED"


class NotFound(CommError, ValueError):
    """No such name, id, alias or version."""

    code = 5
    reason = "NOT_FOUND"


class AlreadyExists(CommError, ValueError):
    """The name is taken."""

    code = 6
    reason = "ALREADY_EXISTS"


class TypeMismatch(CommError, ValueError):
    """The name belongs to an artifact of another type or kind."""

    code = 9
    reason = "TYPE_MISMATCH"


class VersionLinked(CommError):
    """A linked version is not deleted and does not expire; the error names the links."""

    code = 9
    reason = "VERSION_LINKED"


class VersionHasAliases(CommError):
    """A version, a link, or what holds them cannot be deleted while it has aliases."""

    code = 9
    reason = "VERSION_HAS_ALIASES"


class RunFinished(CommError):
    """The run has ended and was not resumed: it takes no more rows."""

    code = 9
    reason = "RUN_FINISHED"


class InvalidField(CommError, ValueError):
    """A field of the request is malformed or beyond its limits; the error names the field."""

    code = 3
    reason = "INVALID_FIELD"

    @classmethod
    def of(cls, field: str, description: str) -> InvalidField:
        """The error for one field, by its path in the request."""
        return cls(f"{field}: {description}", violations=[(field, description)])


class InvalidPageToken(CommError, ValueError):
    """The page token does not belong to this query."""

    code = 3
    reason = "INVALID_PAGE_TOKEN"


class InvalidFilter(CommError, ValueError):
    """The filter is invalid; the message has the position."""

    code = 3
    reason = "INVALID_FILTER"


class InvalidMask(CommError, ValueError):
    """A mask names a field that cannot be changed, or read."""

    code = 3
    reason = "INVALID_MASK"


class Unimplemented(CommError):
    """The server does not know this method: it is older than the client."""

    code = 12
    reason = "UNIMPLEMENTED"


def _by_reason(base: type[CommError]) -> dict[str, type[CommError]]:
    found = {base.reason: base} if base is not CommError else {}
    for sub in base.__subclasses__():
        found |= _by_reason(sub)
    return found


BY_REASON: Mapping[str, type[CommError]] = _by_reason(CommError)
"""The published table: reason → class, whose `code` is the gRPC status."""

CLIENT_REASONS = frozenset({"DEADLINE_EXCEEDED", "TLS_FAILED"})
"""Reasons of failures that only the client sees; the others are `ErrorReason` in the protos."""
