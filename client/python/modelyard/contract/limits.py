"""Sizes, counts and lengths that the server accepts and the SDK keeps to.

A server may be set to less for files, chunks and bytes of a version; its refusal
is what counts. Lengths are in characters unless the name says bytes.
"""

from __future__ import annotations

NAME_LENGTH = 128
"""Of names, aliases, tags, run ids and request ids."""
PATH_BYTES, PATH_PARTS = 1_024, 32
"""Of a path in a version."""
URI_LENGTH, URI_TAG_LENGTH = 2_048, 512
"""Of a reference, and of the tag that its content has."""

VALUE_DEPTH = 20
"""Levels of lists and maps in a value."""
VALUE_ITEMS = 200_000
"""Elements of lists and entries of maps in a value, at all levels."""
TEXT_BYTES = 1_000_000
"""Of a text in a value, in UTF-8."""
KEY_BYTES = 1_024
"""Of the name of a metric and of a key of a map, in UTF-8."""
INT_MIN, INT_MAX = -(1 << 63), (1 << 63) - 1
MAX_STEP = 1 << 53
"""The largest step of a row: above it not every whole number is a float of its own."""
VERSION_ENTRIES = 500_000
"""Entries of a version, unless its server is set to another number."""
METADATA_KEYS = 100
"""Keys at the top of a version's metadata."""
RUN_VALUE_BYTES = 2 << 20
"""Of a value in the config, the summary or the metadata of a run, on the wire."""
RUN_MAPS_BYTES = 3 << 20
"""Of config, summary and metadata of a run together, on the wire."""

DIGEST_BYTES = 32
"""Of every digest: SHA-256."""
CONTENT_BYTES = 1 << 62
"""Of a file, a reference and a version."""

MESSAGE_BYTES = 4 << 20
"""Of a message: gRPC's default, which neither side changes."""
UPLOAD_MESSAGE_DATA_BYTES = 3 << 20
"""Of `UploadChunksRequest.data`."""
PLAIN_UPLOAD_DATA_BYTES = 2 << 20
"""Of `UploadModelArtifactRequest.data`."""
METRIC_BATCH_BYTES, METRIC_BATCH_ROWS = 3 << 20, 100_000
"""Of one MetricBatch."""
CONSOLE_BATCH_BYTES, CONSOLE_BATCH_LINES = 3 << 20, 10_000
"""Of one LogConsoleLinesRequest."""
CONSOLE_LINE_BYTES = 16 << 10
"""Of the text of a line of a console."""

PAGE_ITEMS = 1_000
"""Of a page of a listing, and of a batch of versions that are asked for by id."""
MANIFEST_PAGE_ENTRIES = 10_000
"""Of a page of ListModelArtifactFiles."""
CHUNKS_PER_CALL = 10_000
"""Of FindMissingChunks and of one message of UploadChunks."""
RANGES_PER_CALL = 10_000
"""Of DownloadFiles and LocateFiles."""
FILES_PER_CALL = 10_000
"""Of TakeFiles."""
EQUAL_CONTENT_ENTRIES = 10_000
"""Of CommitEqualContent; larger manifests are committed by CommitModelArtifact."""
REMOVED_PATHS = 10_000
"""Of `VersionHeader.removed_paths`."""
LINEAGE_DEPTH = 32
"""Steps of a lineage graph."""
