"""RunFileService: files of runs."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator, Iterable, Mapping
from concurrent.futures import Executor
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from modelyard.contract import errors, refs
from modelyard.contract.chunking import Chunk
from modelyard.contract.limits import NAME_LENGTH
from modelyard.v1 import model_artifact_pb2
from modelyard.v1 import run_file_pb2 as pb
from modelyard_server.content.cutter import Cutter
from modelyard_server.content.ingest import ChunkIngest
from modelyard_server.domain import fields
from modelyard_server.domain.access.authorize import Action
from modelyard_server.domain.content import run_files, uploads
from modelyard_server.domain.content.file_ranges import Range
from modelyard_server.domain.content.manifests import Limits, Manifest, parse_digest
from modelyard_server.domain.content.run_files import Shown
from modelyard_server.domain.runs import runs
from modelyard_server.packs.budget import ByteBudget
from modelyard_server.packs.writer import PackWriter
from modelyard_server.rpc.dispatch.call import Call, StreamCall, prepared_by, staged_by
from modelyard_server.rpc.dispatch.idempotency import RepeatableRequest, content_digest
from modelyard_server.rpc.dispatch.stream_limits import StreamLimits
from modelyard_server.rpc.services.content import large_manifests
from modelyard_server.rpc.services.content.downloads import DownloadMethods
from modelyard_server.rpc.wire import arguments, convert, pages

COMMITTED_FILES = 10_000
UPLOAD = "/modelyard.v1.RunFileService/UploadRunFile"
_TYPES = mimetypes.MimeTypes()  # those of Python, whatever the machine has


class _Files(NamedTuple):
    """The checked files of a CommitRunFilesRequest, and the media type of each."""

    manifest: Manifest
    media_types: Mapping[str, str]


class RunFileServicer:
    """RunFileService; the rules are in `domain/content/run_files.py`."""

    def __init__(
        self,
        writer: PackWriter,
        hashing: Executor,
        downloads: DownloadMethods,
        streams: StreamLimits,
        windows: ByteBudget,
        limits: Limits,
    ) -> None:
        self._writer = writer
        self._hashing = hashing
        self._downloads = downloads
        self._streams = streams
        self._windows = windows
        self._limits = limits

    @staged_by(lambda servicer, request, files, call: servicer._stage(request, files, call))
    @prepared_by(lambda servicer, request: servicer._files(request))
    def CommitRunFiles(self, request: pb.CommitRunFilesRequest, call: Call) -> pb.CommitRunFilesResponse:
        files: _Files = call.prepared
        at = run_files.commit(
            call.session,
            call.principal,
            request.run_id,
            fields.parse_id("upload_id", request.upload_id),
            files.manifest,
            files.media_types,
            attempt=arguments.optional(request, "attempt"),
            staged=call.staged,
        )
        return pb.CommitRunFilesResponse(file_count=run_files.count(call.session, at))

    async def UploadRunFile(
        self, stream: AsyncIterator[pb.UploadRunFileRequest], call: StreamCall
    ) -> pb.UploadRunFileResponse:
        self._streams.upload.enter(call.principal)
        first = await anext(stream, None)
        if first is None or not first.HasField("header"):
            raise errors.InvalidField.of("header", "the first message must have it")
        header = first.header
        fields.check("header.path", refs.check_manifest_path, header.path)
        if header.sha256:
            parse_digest("header.sha256", header.sha256)
        media_type = _media_type("header.media_type", header.path, header.media_type)

        def open_upload(session: Session) -> tuple[str, int]:
            view = runs.find(
                session,
                call.principal,
                header.run_id,
                action=Action.WRITE,
                name="header.run_id",
                attempt=arguments.optional(header, "attempt"),
            )
            upload = uploads.create(session, call.principal, view.entity, view.project)
            return upload.id, upload.entity_id

        upload_id, entity_id = await call.write(open_upload)
        ingest = ChunkIngest(call, self._writer, upload_id, entity_id)
        try:
            cutter = Cutter(ingest, self._hashing, self._windows, self._limits)
            begin = model_artifact_pb2.UploadModelArtifactRequest(path=header.path)
            manifest = await cutter.consume(begin, _data(stream))
            return await self._commit(call, first, upload_id, manifest, media_type)
        finally:
            # After a broken call, a repetition has to find the chunks that had arrived.
            await ingest.settled()
            await call.write(lambda session: uploads.delete(session, call.principal, upload_id))

    def ListRunFiles(self, request: pb.ListRunFilesRequest, call: Call) -> pb.ListRunFilesResponse:
        def page(size: int) -> tuple[list[pb.RunFile], str]:
            found, token = run_files.page(
                call.session,
                call.principal,
                request.run_id,
                attempt=arguments.optional(request, "attempt"),
                path_prefix=request.path_prefix,
                page_size=size,
                page_token=request.page_token,
            )
            return [_message(shown) for shown in found], token

        files, token = pages.fitting(page, request.page_size)
        return pb.ListRunFilesResponse(files=files, next_page_token=token)

    async def DownloadRunFile(
        self, request: pb.DownloadRunFileRequest, call: StreamCall
    ) -> AsyncIterator[Any]:  # encoded messages
        self._streams.download.enter(call.principal)
        wanted = Range(request.path, request.offset, arguments.optional(request, "length"))
        attempt = arguments.optional(request, "attempt")
        shown, info = await call.read(
            lambda session: run_files.readable(session, call.principal, request.run_id, attempt, wanted)
        )
        yield pb.DownloadRunFileResponse(file=_message(shown))
        field = pb.DownloadRunFileResponse.DATA_FIELD_NUMBER
        # Clients that use plain stubs do not verify chunks, so this method does.
        async for message in self._downloads.send(call, {wanted.path: info}, [wanted], field, verify=True):
            yield message

    async def DownloadRunFiles(
        self, request: pb.DownloadRunFilesRequest, call: StreamCall
    ) -> AsyncIterator[Any]:  # encoded messages
        self._streams.download.enter(call.principal)
        attempt = arguments.optional(request, "attempt")
        found = await call.read(
            lambda session: run_files.many(session, call.principal, request.run_id, attempt, request.paths)
        )
        yield pb.DownloadRunFilesResponse(files=map(_message, found))
        infos = {shown.path: run_files.info(shown) for shown in found}
        wanted = [Range(shown.path) for shown in found]
        field = pb.DownloadRunFilesResponse.DATA_FIELD_NUMBER
        async for message in self._downloads.send(call, infos, wanted, field, verify=True):
            yield message

    def DeleteRunFiles(self, request: pb.DeleteRunFilesRequest, call: Call) -> pb.DeleteRunFilesResponse:
        removed = run_files.remove(
            call.session,
            call.principal,
            request.run_id,
            request.paths,
            attempt=arguments.optional(request, "attempt"),
        )
        return pb.DeleteRunFilesResponse(deleted_count=removed)

    async def _commit(
        self,
        call: StreamCall,
        first: pb.UploadRunFileRequest,
        upload_id: str,
        manifest: Manifest,
        media_type: str,
    ) -> pb.UploadRunFileResponse:
        """Commits an uploaded file, or returns the stored reply of a repeated request."""
        header = first.header
        (file,) = manifest.files.values()
        if header.sha256 and file.sha256 != bytes.fromhex(header.sha256):
            raise errors.DigestMismatch(
                f"{header.path!r} does not have the SHA-256 stated for it",
                violations=[("header.sha256", "is not that of the bytes")],
            )
        content = content_digest(header, manifest.finish(None))
        request = RepeatableRequest(call.principal, UPLOAD, first.request_id, content)
        staged = await large_manifests.stage(call, self._hashing, upload_id, manifest)

        def rule(session: Session) -> pb.UploadRunFileResponse:
            stored = request.begin(session)
            if stored is not None:
                return pb.UploadRunFileResponse.FromString(stored)
            at = run_files.commit(
                session,
                call.principal,
                header.run_id,
                upload_id,
                manifest,
                {header.path: media_type},
                attempt=arguments.optional(header, "attempt"),
                staged=staged,
                field="header.path",
            )
            shown = run_files.find(session, at, header.path)
            assert shown is not None
            reply = pb.UploadRunFileResponse(file=_message(shown))
            request.finish(session, reply.SerializeToString())
            return reply

        return await call.write(rule)

    async def _stage(self, request: pb.CommitRunFilesRequest, files: _Files, call: StreamCall) -> str:
        """Stores a large manifest ahead of its commit."""
        upload_id = fields.parse_id("upload_id", request.upload_id)
        return await large_manifests.stage(call, self._hashing, upload_id, files.manifest)

    def _files(self, request: pb.CommitRunFilesRequest) -> _Files:
        if not 1 <= len(request.entries) <= COMMITTED_FILES:
            raise errors.InvalidField.of(
                "entries", f"has {len(request.entries):,} entries; expected 1 to {COMMITTED_FILES:,}"
            )
        manifest = Manifest(self._limits)
        for index, entry in enumerate(request.entries):
            if entry.reference_uri or entry.reference_tag:
                raise errors.InvalidField.of(f"entries[{index}].reference_uri", "a run has no references")
            chunks = [Chunk(chunk.digest, chunk.size_bytes) for chunk in entry.chunks]
            if entry.continued:
                manifest.continue_file(entry.path, chunks)
            else:
                size = arguments.optional(entry, "size_bytes")
                manifest.add_file(entry.path, chunks, size=size, digest=entry.digest, sha256=entry.sha256)
        manifest.finish(None)
        return _Files(manifest, _media_types(manifest.files, request.media_types))


async def _data(
    stream: AsyncIterator[pb.UploadRunFileRequest],
) -> AsyncIterator[model_artifact_pb2.UploadModelArtifactRequest]:
    """The messages behind the header, in the form that is cut."""
    async for message in stream:
        if message.HasField("header") or message.request_id:
            raise errors.InvalidField.of("header", "is allowed in the first message only")
        yield model_artifact_pb2.UploadModelArtifactRequest(data=message.data)
        del message  # do not hold it while its bytes are stored and the next one is awaited


def _media_types(paths: Iterable[str], given: Mapping[str, str]) -> dict[str, str]:
    found = {path: _media_type(f"media_types[{path}]", path, given.get(path, "")) for path in paths}
    for path in given:
        if path not in found:
            raise errors.InvalidField.of("media_types", f"{path[:200]!r} is not the path of an entry")
    return found


def _media_type(field: str, path: str, given: str) -> str:
    """The media type that was given, or the usual one of the path's ending; empty if there is none."""
    return fields.check(field, refs.check_text, given, limit=NAME_LENGTH) or _TYPES.guess_type(path)[0] or ""


def _message(shown: Shown) -> pb.RunFile:
    file = shown.file
    return pb.RunFile(
        path=shown.path,
        size_bytes=file.size,
        digest=file.digest.hex(),
        sha256=file.sha256.hex() if file.sha256 else "",
        media_type=shown.media_type,
        update_time=convert.timestamp(shown.updated_at),
    )
