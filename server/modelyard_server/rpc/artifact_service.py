"""ModelArtifactService as a whole: the standard methods, the commits, the downloads."""

from __future__ import annotations

from concurrent.futures import Executor

from modelyard_server.domain.manifests import Limits
from modelyard_server.packs.seen import SeenPacks
from modelyard_server.packs.writer import PackWriter
from modelyard_server.rpc.commits import CommitMethods
from modelyard_server.rpc.downloads import DownloadMethods
from modelyard_server.rpc.limits import StreamLimits
from modelyard_server.rpc.memory import Memory
from modelyard_server.rpc.model_artifacts import ModelArtifactMethods


class ModelArtifactServicer(CommitMethods, DownloadMethods, ModelArtifactMethods):
    """What `app` puts on the server."""

    def __init__(
        self,
        writer: PackWriter,
        packs: SeenPacks,
        hashing: Executor,
        reading: Executor,
        streams: StreamLimits,
        memory: Memory,
        limits: Limits,
    ) -> None:
        CommitMethods.__init__(self, writer, hashing, streams, memory.windows, limits)
        DownloadMethods.__init__(self, packs, reading, streams.download, memory.read_ahead)
