"""Bad headers, paths, digests, sizes and ranges: what makes versions and files, and what reads them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tests.wire.bad_input.cases import Case, of_values
from tests.wire.bad_input.values import (
    ALIASES,
    CHUNK_DIGESTS,
    DIGESTS,
    IDS,
    NAMES,
    PATHS,
    SIZES,
    SOME_NAMES,
    SOME_PATHS,
    TAGS,
    VALUES,
    nested,
)

COMMIT = "ModelArtifactService/CommitModelArtifact"
KNOWN = "ModelArtifactService/CommitEqualContent"
SIMPLE = "ModelArtifactService/UploadModelArtifact"
DOWNLOAD = "ModelArtifactService/DownloadFile"
DOWNLOAD_MANY = "ModelArtifactService/DownloadFiles"
SEND = "UploadService/UploadChunks"
FIND = "UploadService/FindMissingChunks"

HEADER = {"project": "$project", "name": "fresh"}
TO_COMMIT = {"upload_id": "$upload", "header": HEADER}
CHUNK = {"digest": b"\1" * 32, "size_bytes": 10}
FILE = {"path": "w", "size_bytes": 10, "chunks": [CHUNK]}
MAP = {"k": {"int_value": 1}}


def headers() -> Iterator[Case]:
    """Headers of new versions, by each of the three methods that take one."""
    bases = {COMMIT: TO_COMMIT, SIMPLE: {"header": HEADER}, KNOWN: {"header": HEADER, "open_upload": True}}
    for method, base in bases.items():
        yield from of_values(method, "header.name", {**NAMES, "empty": ""}, base=base)
        yield from of_values(method, "header.aliases[0]", ALIASES, base=base)
        for field in ("project", "entity", "type"):
            yield from of_values(method, f"header.{field}", SOME_NAMES, base=base)
    yield from of_values(COMMIT, "header.tags[0]", TAGS, base=TO_COMMIT)
    yield from of_values(
        COMMIT, "header.tags", {"101": [f"t{number}" for number in range(101)]}, base=TO_COMMIT
    )
    yield from of_values(
        COMMIT, "header.description", {"65,537 bytes": "x" * 65_537, "U+0000": "\0"}, base=TO_COMMIT
    )
    yield from of_values(COMMIT, "header.run_id", IDS, base=TO_COMMIT)
    yield from of_values(COMMIT, "header.base_version_id", IDS, base=TO_COMMIT)
    yield from of_values(COMMIT, "header.digest", DIGESTS, base=TO_COMMIT)
    yield from of_values(
        COMMIT, "header.history_step", {"negative": -1, "beyond 2^53": 2**53 + 1}, base=TO_COMMIT
    )
    yield from of_values(
        COMMIT,
        "header.ttl",
        {
            "negative": {"seconds": -1},
            "zero": {"seconds": 0},
            "ten thousand years": {"seconds": 315_576_000_001},
        },
        base=TO_COMMIT,
    )
    yield from metadata()


def metadata() -> Iterator[Case]:
    """Metadata of versions."""
    method = COMMIT
    for kind, value in (VALUES | {"infinity": {"double_value": float("inf")}}).items():
        base = {**TO_COMMIT, "header": {**HEADER, "metadata": {"k": value}}}
        place = "header.metadata.k" + "[0]" * 20 * (kind == "21 levels")
        yield Case(f"{method} header.metadata: {kind}", method, (base,), "INVALID_FIELD", place)
    keys = {"a key too long": "k" * 1025, "a key with U+0000": "a\0b"}
    for kind, key in keys.items():
        base = {**TO_COMMIT, "header": {**HEADER, "metadata": {key: {"int_value": 1}}}}
        yield Case(f"{method} header.metadata: {kind}", method, (base,), "INVALID_FIELD", "header.metadata")
    many = {f"k{number}": {"int_value": 1} for number in range(101)}
    long = {f"k{number}": {"string_value": "x" * 900_000} for number in range(2)}
    for kind, entries in {
        "101 keys": many,
        "1.8 MB": long,
        "20 levels below the map": {"k": nested(20)},
    }.items():
        base = {**TO_COMMIT, "header": {**HEADER, "metadata": entries}}
        place = "header.metadata" + (".k" + "[0]" * 19 if kind.startswith("20") else "")
        yield Case(f"{method} header.metadata: {kind}", method, (base,), "INVALID_FIELD", place)


def paths() -> Iterator[Case]:
    """Paths, by each method that takes them."""
    file = {"size_bytes": 10, "chunks": [CHUNK]}
    yield from of_values(COMMIT, "entries[0].path", PATHS, base={**TO_COMMIT, "entries": [file]})
    known = {"header": HEADER, "entries": [{"size_bytes": 0, "digest": "ab" * 32}]}
    yield from of_values(KNOWN, "entries[0].path", SOME_PATHS, base=known)
    for kind, path in PATHS.items():
        requests = ({"header": HEADER}, {"path": path, "data": b"x"})
        yield Case(f"{SIMPLE} path: {kind}", SIMPLE, requests, "INVALID_FIELD", "path")
    run_file = {"run_id": "$run", "upload_id": "$upload", "entries": [file]}
    yield from of_values("RunFileService/CommitRunFiles", "entries[0].path", SOME_PATHS, base=run_file)
    header = {"header": {"run_id": "$run", "path": ""}}
    yield from of_values("RunFileService/UploadRunFile", "header.path", PATHS, base=header)
    yield from of_values("RunFileService/DeleteRunFiles", "paths[0]", SOME_PATHS, base={"run_id": "$run"})
    base = {**TO_COMMIT, "header": {**HEADER, "base_version_id": "$version"}}
    yield from of_values(COMMIT, "header.removed_paths[0]", SOME_PATHS, base=base)
    pairs = {
        "twice": ("a", "a"),
        "a folder that is a file": ("a/b", "a"),
        "a file that is a folder": ("a", "a/b/c"),
    }
    for kind, both in pairs.items():
        field = "entries[1].path" if kind == "twice" else "entries.path"
        entries = [{"path": path} for path in both]
        yield Case(f"{COMMIT} {kind}", COMMIT, ({**TO_COMMIT, "entries": entries},), "INVALID_FIELD", field)
        apart = ({**TO_COMMIT, "entries": entries[:1]}, {"entries": entries[1:]})
        yield Case(f"{COMMIT} {kind}, in two messages", COMMIT, apart, "INVALID_FIELD", field)


def entries() -> Iterator[Case]:
    """Sizes, digests, chunks and references of manifests."""
    base = {**TO_COMMIT, "entries": [FILE]}
    yield from of_values(COMMIT, "entries[0].size_bytes", SIZES, base=base)
    yield from of_values(
        COMMIT,
        "entries[0].size_bytes",
        {"another than that of the chunks": 9},
        base=base,
        named="entries.size_bytes",
    )
    yield from of_values(COMMIT, "entries[0].digest", DIGESTS, base=base)
    yield from of_values(
        COMMIT, "entries[0].digest", {"of something else": "ab" * 32}, base=base, named="entries.digest"
    )
    yield from of_values(COMMIT, "entries[0].sha256", DIGESTS, base=base)
    yield from of_values(
        COMMIT, "entries[0].chunks[0].digest", CHUNK_DIGESTS, base={**base, "entries": [FILE]}
    )
    sizes = {"zero": 0, "beyond 2 MiB": 2**21 + 1, "the most": 2**32 - 1}
    yield from of_values(COMMIT, "entries[0].chunks[0].size_bytes", sizes, base=base)
    yield from of_values(COMMIT, "header.digest", {"of something else": "ab" * 32}, base=base)
    yield from of_values(
        COMMIT,
        "entries[0].continued",
        {"of a file never begun": True},
        base={**TO_COMMIT, "entries": [{"path": "a"}]},
    )
    uris = {
        "without scheme": "no-scheme",
        "too long": "s3://" + "x" * 2048,
        "U+0000": "s3://a\0b",
        "a line break": "s3://a\nb",
    }
    reference = {**TO_COMMIT, "entries": [{"path": "a"}]}
    yield from of_values(COMMIT, "entries[0].reference_uri", uris, base=reference)
    tagged = {**TO_COMMIT, "entries": [{"path": "a", "reference_uri": "s3://b/k"}]}
    yield from of_values(
        COMMIT, "entries[0].reference_tag", {"too long": "x" * 513, "U+0000": "\0"}, base=tagged
    )
    yield from of_values(COMMIT, "entries[0].size_bytes", {"of a reference, negative": -1}, base=tagged)
    yield Case(f"{COMMIT} without header", COMMIT, ({"upload_id": "$upload"},), "INVALID_FIELD", "header")
    yield Case(
        f"{COMMIT} with two headers", COMMIT, (TO_COMMIT, {"header": HEADER}), "INVALID_FIELD", "header"
    )
    yield Case(f"{COMMIT} of nothing", COMMIT, (), "INVALID_FIELD", "header")
    yield Case(f"{SIMPLE} of nothing", SIMPLE, (), "INVALID_FIELD", "header")
    yield Case(f"{COMMIT} of chunks never sent", COMMIT, (base,), "CHUNKS_MISSING", "")
    yield from of_values(COMMIT, "upload_id", IDS, base=base)
    unknown = {"unknown": "0190a8e0-0000-7000-8000-000000000000"}
    yield from of_values(COMMIT, "upload_id", unknown, base=base, reason="UPLOAD_EXPIRED", named="")
    yield from of_values(COMMIT, "header.run_id", unknown, base=TO_COMMIT, reason="NOT_FOUND", named="")
    yield from of_values(
        COMMIT, "header.base_version_id", unknown, base=TO_COMMIT, reason="NOT_FOUND", named=""
    )


def uploads() -> Iterator[Case]:
    """Questions for chunks, and chunks."""
    asked = {"upload_id": "$upload", "chunks": [CHUNK]}
    yield from of_values(FIND, "chunks[0].digest", CHUNK_DIGESTS, base=asked)
    sizes = {"zero": 0, "beyond 2 MiB": 2**21 + 1, "the most": 2**32 - 1}
    yield from of_values(FIND, "chunks[0].size_bytes", sizes, base=asked)
    yield from of_values(FIND, "chunks", {"10,001": [CHUNK] * 10_001}, base=asked)
    for method in (FIND, SEND, "UploadService/DeleteUpload"):
        yield from of_values(method, "upload_id", {**IDS, "empty": ""})
    for field in ("project", "entity"):
        yield from of_values("UploadService/CreateUpload", field, NAMES)
    sent = {"upload_id": "$upload", "chunks": [CHUNK], "data": bytes(10)}
    yield from of_values(SEND, "chunks[0].digest", CHUNK_DIGESTS, base=sent)
    yield from of_values(SEND, "chunks[0].size_bytes", {"zero": 0, "beyond 2 MiB": 2**21 + 1}, base=sent)
    yield from of_values(
        SEND, "data", {"too short": bytes(9), "too long": bytes(11), "empty": b""}, base=sent
    )
    yield Case(f"{SEND} bytes of another digest", SEND, (sent,), "DIGEST_MISMATCH", "chunks[0]")
    yield Case(f"{SEND} two ids", SEND, ({"upload_id": "$upload"}, sent), "INVALID_FIELD", "upload_id")


def ranges() -> Iterator[Case]:
    """Ranges of downloads; the file has 10 bytes."""
    one = {"id": "$version", "path": "w"}
    many = {"version_id": "$version", "ranges": [{"path": "w"}]}
    of_run = {"run_id": "$run", "path": "f"}
    places = {
        "offset": {"negative": -1, "the least": -(2**63), "behind the end": 11, "the most": 2**63 - 1},
        "length": {"negative": -1, "the least": -(2**63)},
    }
    for field, values in places.items():
        yield from of_values(DOWNLOAD, field, values, base=one)
        yield from of_values(DOWNLOAD_MANY, f"ranges[0].{field}", values, base=many)
        yield from of_values("RunFileService/DownloadRunFile", field, values, base=of_run)
    yield from of_values(DOWNLOAD_MANY, "ranges", {"10,001": [{"path": "w"}] * 10_001}, base=many)
    unknown = {kind: path for kind, path in SOME_PATHS.items() if path}
    yield from of_values(DOWNLOAD, "path", unknown, base=one, reason="NOT_FOUND", named="")
    yield from of_values(DOWNLOAD_MANY, "ranges[0].path", unknown, base=many, reason="NOT_FOUND", named="")
    yield from of_values(
        "RunFileService/DownloadRunFile", "path", unknown, base=of_run, reason="NOT_FOUND", named=""
    )
    prefix = {"U+0000": "a\0b"}
    yield from of_values(
        "ModelArtifactService/ListModelArtifactFiles", "path_prefix", prefix, base={"id": "$version"}
    )
    yield from of_values(
        "ModelArtifactService/HashModelArtifactFiles", "path_prefix", prefix, base={"id": "$version"}
    )
    yield from of_values("RunFileService/ListRunFiles", "path_prefix", prefix, base={"run_id": "$run"})


def run_files() -> Iterator[Case]:
    """Files of runs."""
    commit, upload = "RunFileService/CommitRunFiles", "RunFileService/UploadRunFile"
    base = {"run_id": "$run", "upload_id": "$upload", "entries": [FILE]}
    yield from of_values(commit, "upload_id", IDS, base=base)
    yield from of_values(commit, "entries[0].size_bytes", SIZES, base=base)
    yield from of_values(commit, "entries[0].digest", DIGESTS, base=base)
    yield from of_values(commit, "entries[0].sha256", DIGESTS, base=base)
    yield from of_values(commit, "media_types", {"of another path": {"b": "text/plain"}}, base=base)
    types = {"U+0000": {"w": "a\0b"}, "a line break": {"w": "a\nb"}, "too long": {"w": "x" * 129}}
    yield from of_values(commit, "media_types", types, base=base, named="media_types[w]")
    header = {"header": {"run_id": "$run", "path": "p"}}
    yield from of_values(upload, "header.sha256", DIGESTS, base=header)
    kinds = {"U+0000": "a\0b", "a line break": "a\nb", "too long": "x" * 129}
    yield from of_values(upload, "header.media_type", kinds, base=header)
    yield from of_values(upload, "header.run_id", IDS, base=header)
    yield Case(f"{commit} of chunks never sent", commit, (base,), "CHUNKS_MISSING", "")
    wrong = ({"header": {"run_id": "$run", "path": "p", "sha256": "ab" * 32}}, {"data": b"x"})
    yield Case(f"{upload} bytes of another digest", upload, wrong, "DIGEST_MISMATCH", "header.sha256")


CASES = list(itertools.chain(headers(), paths(), entries(), uploads(), ranges(), run_files()))
