"""ServerService: what this server is and what it accepts."""

from __future__ import annotations

from collections.abc import Callable, Collection

from modelyard.contract import chunking, limits
from modelyard.v1 import server_pb2 as pb
from modelyard_server.domain.content.manifests import Limits
from modelyard_server.release import VERSION
from modelyard_server.rpc.dispatch.call import Call

ALGORITHM = "FAST_CDC_2020"


class ServerServicer:
    """Answers from what the server was started with; reads nothing. `web_url` is its page's address."""

    def __init__(
        self, of_versions: Limits, services: Collection[str], web_url: Callable[[], str] = str
    ) -> None:
        self._web_url = web_url
        self._services = sorted(services)
        self._limits = _limits(of_versions)

    def GetServerInfo(self, request: pb.GetServerInfoRequest, call: Call) -> pb.GetServerInfoResponse:
        return pb.GetServerInfoResponse(
            version=VERSION,
            services=self._services,
            limits=self._limits,
            chunking=pb.ChunkingParameters(
                algorithm=ALGORITHM,
                average_bytes=chunking.AVERAGE_BYTES,
                minimum_bytes=chunking.MINIMUM_BYTES,
                maximum_bytes=chunking.MAXIMUM_BYTES,
                normalization=chunking.NORMALIZATION,
                seed=chunking.SEED,
            ),
            web_url=self._web_url(),
        )

    def GetCaller(self, request: pb.GetCallerRequest, call: Call) -> pb.GetCallerResponse:
        who = call.principal
        return pb.GetCallerResponse(
            caller=pb.Caller(principal_id=who.id, principal=who.name, entity=who.entity)
        )


def _limits(of_versions: Limits) -> pb.ServerLimits:
    return pb.ServerLimits(
        message_bytes=limits.MESSAGE_BYTES,
        plain_upload_data_bytes=limits.PLAIN_UPLOAD_DATA_BYTES,
        upload_data_bytes=limits.UPLOAD_MESSAGE_DATA_BYTES,
        chunks_per_call=limits.CHUNKS_PER_CALL,
        ranges_per_call=limits.RANGES_PER_CALL,
        equal_content_entries=limits.EQUAL_CONTENT_ENTRIES,
        page_items=limits.PAGE_ITEMS,
        manifest_page_entries=limits.MANIFEST_PAGE_ENTRIES,
        metric_batch_bytes=limits.METRIC_BATCH_BYTES,
        metric_batch_rows=limits.METRIC_BATCH_ROWS,
        version_files=of_versions.files,
        version_chunks=of_versions.chunks,
        version_bytes=of_versions.size,
    )
