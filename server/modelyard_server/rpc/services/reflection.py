"""Server reflection, v1 and v1alpha, for tools such as grpcurl that have no protos.

Both versions have the same messages on the wire, so one servicer serves both:
that of grpcio-reflection, which implements v1alpha only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_reflection.v1alpha import reflection, reflection_pb2

OLD_NAME: str = reflection.SERVICE_NAME
NAME = OLD_NAME.replace("v1alpha", "v1")
_METHOD = "ServerReflectionInfo"


class _Symbols:
    """The default descriptor pool, which finds the file of methods, fields and enum values too."""

    def __init__(self) -> None:
        self._pool: Any = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> Any:
        """Returns the file of a symbol. Raises KeyError."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            owner, _, member = symbol.rpartition(".")
            if member not in self._members(owner):
                raise
            return self._pool.FindFileContainingSymbol(owner)

    def _members(self, owner: str) -> set[str]:
        """Names of the members of a service, message or enum. Raises KeyError."""
        for find, kinds in (
            (self._pool.FindServiceByName, ("methods_by_name",)),
            (self._pool.FindMessageTypeByName, ("fields_by_name", "oneofs_by_name")),
            (self._pool.FindEnumTypeByName, ("values_by_name",)),
        ):
            try:
                found = find(owner)
            except KeyError:
                continue
            return {name for kind in kinds for name in getattr(found, kind)}
        raise KeyError(owner)


def add_to_server(server: Any, names: Sequence[str]) -> None:
    """Adds reflection of these services, and of itself."""
    _describe_new_name()
    servicer = reflection.aio.ReflectionServicer((*names, NAME, OLD_NAME), pool=_Symbols())
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(name, {_METHOD: handler}) for name in (NAME, OLD_NAME)]
    )


def _describe_new_name() -> None:
    """Adds the descriptor of v1 to the pool: that of v1alpha with another name."""
    proto = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(proto)
    text = text_format.MessageToString(proto).replace("v1alpha", "v1")
    descriptor_pool.Default().AddSerializedFile(
        text_format.Parse(text, descriptor_pb2.FileDescriptorProto()).SerializeToString()
    )
