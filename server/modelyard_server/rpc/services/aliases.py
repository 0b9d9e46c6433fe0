"""AliasService: the aliases of artifacts and registered models."""

from __future__ import annotations

from modelyard.contract import errors
from modelyard.v1 import alias_pb2 as pb
from modelyard_server.db.tables import Collection
from modelyard_server.domain.access.authorize import Action
from modelyard_server.domain.registry import alias_history, aliases, resolve
from modelyard_server.domain.registry.aliases import Change
from modelyard_server.rpc.dispatch.call import Call
from modelyard_server.rpc.wire import arguments
from modelyard_server.rpc.wire.convert import timestamp


class AliasServicer:
    """AliasService."""

    def UpdateAliases(self, request: pb.UpdateAliasesRequest, call: Call) -> pb.UpdateAliasesResponse:
        changes = [_change(f"updates[{index}]", update) for index, update in enumerate(request.updates)]
        row = _collection(call, request, lock=True)
        positions = aliases.update(call.session, call.principal, row, changes)
        return pb.UpdateAliasesResponse(
            aliases=[
                pb.AliasPosition(alias=alias, version=f"v{spot.number}") for alias, spot in positions.items()
            ]
        )

    def ListAliasChanges(
        self, request: pb.ListAliasChangesRequest, call: Call
    ) -> pb.ListAliasChangesResponse:
        at = arguments.microseconds("at_time", request.at_time) if request.HasField("at_time") else None
        changes, token = alias_history.page(
            call.session,
            _collection(call, request),
            alias=request.alias,
            at=at,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        shown = [
            pb.AliasChange(
                alias=change.alias,
                previous_version=change.previous,
                version=change.version,
                principal=change.principal,
                create_time=timestamp(change.time),
                sequence=change.sequence,
            )
            for change in changes
        ]
        return pb.ListAliasChangesResponse(changes=shown, next_page_token=token)


def _collection(
    call: Call, request: pb.UpdateAliasesRequest | pb.ListAliasChangesRequest, *, lock: bool = False
) -> Collection:
    """The artifact or registered model whose aliases a request is about."""
    arguments.selector(request)
    return resolve.collection(
        call.session,
        call.principal,
        None,
        id_=request.id,
        ref=request.ref,
        action=Action.PROMOTE if lock else Action.READ,
        lock=lock,
    )


def _change(where: str, update: pb.AliasUpdate) -> Change:
    """A change of an alias. Raises InvalidField unless it sets exactly one of `version` and `remove`."""
    if not update.version and not update.remove:
        raise errors.InvalidField.of(
            f"{where}.{update.WhichOneof('change') or 'change'}", "must be set: a version, or remove"
        )
    expected = update.expected_version if update.HasField("expected_version") else None
    return Change(update.alias, update.version, expected)
