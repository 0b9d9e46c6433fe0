"""RunConsoleService: what runs wrote to their consoles."""

from __future__ import annotations

from modelyard.v1 import run_console_pb2 as pb
from modelyard_server.domain.runs import console
from modelyard_server.domain.runs.console import Wanted
from modelyard_server.rpc.dispatch.call import Call, prepared_by
from modelyard_server.rpc.wire import arguments, console_lines, pages


class RunConsoleServicer:
    """RunConsoleService; the rules are in `domain/runs/console.py`."""

    @prepared_by(lambda _, request: console_lines.parse(request))
    def LogConsoleLines(self, request: pb.LogConsoleLinesRequest, call: Call) -> pb.LogConsoleLinesResponse:
        is_new = console.log(
            call.session,
            call.principal,
            request.run_id,
            call.prepared,
            attempt=arguments.optional(request, "attempt"),
            late=request.late,
        )
        return pb.LogConsoleLinesResponse(duplicate=not is_new)

    def ListConsoleLines(
        self, request: pb.ListConsoleLinesRequest, call: Call
    ) -> pb.ListConsoleLinesResponse:
        wanted = Wanted(
            request.text,
            console_lines.check_stream("stream", request.stream),
            request.process if request.HasField("process") else None,
        )

        def page(size: int) -> tuple[list[pb.ConsoleLine], str]:
            lines, token = console.page(
                call.session,
                call.principal,
                request.run_id,
                wanted,
                attempt=arguments.optional(request, "attempt"),
                from_end=request.from_end,
                page_size=size,
                page_token=request.page_token,
            )
            return [console_lines.message(line) for line in lines], token

        found, token = pages.fitting(page, request.page_size)
        return pb.ListConsoleLinesResponse(
            lines=found[::-1] if request.from_end else found, next_page_token=token
        )
