"""ModelArtifactService as a whole: the standard methods, the commits, the downloads."""

from __future__ import annotations

from concurrent.futures import Executor

from modelyard_server.domain.content.manifests import Limits
from modelyard_server.packs.confirmed import ConfirmedPacks
from modelyard_server.packs.writer import PackWriter
from modelyard_server.rpc.dispatch.stream_limits import StreamLimits
from modelyard_server.rpc.dispatch.stream_memory import Memory
from modelyard_server.rpc.services.artifacts import ModelArtifactMethods
from modelyard_server.rpc.services.commits import CommitMethods
from modelyard_server.rpc.services.downloads import DownloadMethods


class ModelArtifactServicer(CommitMethods, DownloadMethods, ModelArtifactMethods):
    """What `app` puts on the server."""

    def __init__(
        self,
        writer: PackWriter,
        packs: ConfirmedPacks,
        hashing: Executor,
        reading: Executor,
        streams: StreamLimits,
        memory: Memory,
        limits: Limits,
    ) -> None:
        CommitMethods.__init__(self, writer, hashing, streams, memory.windows, limits)
        DownloadMethods.__init__(self, packs, reading, streams.download, memory.read_ahead)
