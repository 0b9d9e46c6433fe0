"""The pipeline's methods for Connect: those whose request is one message."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import Message

from modelyard.contract import errors
from modelyard_server.rpc.dispatch import statuses
from modelyard_server.rpc.dispatch.pipeline import Endpoint, Pipeline, refused
from modelyard_server.web.connect import Call, Method, ReceiveRequest, SendReply
from modelyard_server.web.connect_messages import CallFailed

_OFFERED = "/modelyard.v1."


def of(pipeline: Pipeline) -> Mapping[str, Method]:
    """The methods by their paths, such as `/modelyard.v1.RunService/GetRun`.

    Those with a stream of requests are left out: they need HTTP/2. So is LocalService, which is for
    processes that share the server's disk.
    """
    return {
        name: _method(pipeline, endpoint)
        for name, endpoint in pipeline.endpoints.items()
        if name.startswith(_OFFERED) and endpoint.method is not None and not endpoint.client_streams
    }


def _method(pipeline: Pipeline, endpoint: Endpoint) -> Method:
    async def serve(call: Call, receive: ReceiveRequest, send: SendReply) -> None:
        try:
            caller = await pipeline.admit(endpoint.name, call.headers, call.session)
            request = await _received(endpoint, call, receive)
            if endpoint.server_streams:
                await call.begin()  # so that the client of a watch knows at once that it watches
                await pipeline.stream(endpoint, caller, request, send)
            else:
                await send(await pipeline.unary(endpoint, caller, request))
        except errors.CommError as error:
            raise CallFailed(statuses.status_of(error)) from error

    return Method(endpoint.request, endpoint.reply, endpoint.server_streams, serve)


async def _received(endpoint: Endpoint, call: Call, receive: ReceiveRequest) -> bytes | Message:
    """The request. One that cannot be read is recorded as a call that was refused."""
    try:
        return await receive()
    except errors.CommError as error:
        raise refused(endpoint.name, call.headers, error) from None
