"""EventService: what changed in a project, in order."""

from __future__ import annotations

from modelyard import errors
from modelyard.v1 import event_pb2 as pb
from modelyard.v1 import event_pb2_grpc
from modelyard_server.db.tables import Event
from modelyard_server.domain import events, owners, paging
from modelyard_server.rpc import convert
from modelyard_server.rpc.call import Call

DEFAULT_SIZE = 100


class EventServicer(event_pb2_grpc.EventServiceServicer):
    """Events over the wire; the rules are in `domain.events`."""

    def ListEvents(self, request: pb.ListEventsRequest, call: Call) -> pb.ListEventsResponse:
        if request.after_sequence < 0:
            raise errors.InvalidField.of("after_sequence", "is negative; 0 means from the first event")
        size = paging.check_size(request.page_size, default=DEFAULT_SIZE)
        project = owners.find_project(call.session, call.principal, request.entity, request.project)
        entity = owners.entity_of(call.session, project).name
        found, last = events.after(call.session, project, request.after_sequence, size, request.filter)
        shown = [_message(event, entity, project.name) for event in found]
        return pb.ListEventsResponse(events=shown, last_sequence=last)


def _message(event: Event, entity: str, project: str) -> pb.Event:
    # Details are stored under the names that the message's fields have.
    return pb.Event(
        sequence=event.seq,
        type=pb.EventType.Value(f"EVENT_TYPE_{event.type.upper()}"),
        time=convert.timestamp(event.time),
        principal=event.principal,
        entity=entity,
        project=project,
        collection_id=event.collection_id or "",
        **event.details,
    )
