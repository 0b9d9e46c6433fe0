"""RegisteredModelService: registered models and their links."""

from __future__ import annotations

from modelyard.v1 import registered_model_pb2 as pb
from modelyard_server.db.tables import Collection, Link
from modelyard_server.domain.access.authorize import Action
from modelyard_server.domain.registry import (
    collection_lists,
    collections,
    deletes,
    link_lists,
    registered_models,
    resolve,
)
from modelyard_server.rpc.dispatch.call import Call
from modelyard_server.rpc.wire import arguments, pages
from modelyard_server.rpc.wire.convert_artifacts import link_message, model_message


class RegisteredModelServicer:
    """RegisteredModelService."""

    def ListRegistries(self, request: pb.ListRegistriesRequest, call: Call) -> pb.ListRegistriesResponse:
        counts, token = collection_lists.registries(
            call.session,
            call.principal,
            request.entity,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        entity = request.entity or call.principal.entity
        return pb.ListRegistriesResponse(
            registries=[
                pb.Registry(entity=entity, name=name, registered_model_count=count) for name, count in counts
            ],
            next_page_token=token,
        )

    def CreateRegisteredModel(
        self, request: pb.CreateRegisteredModelRequest, call: Call
    ) -> pb.CreateRegisteredModelResponse:
        wanted = request.registered_model
        row = registered_models.create(
            call.session,
            call.principal,
            entity=wanted.entity,
            project=wanted.project,
            name=wanted.name,
            type_=wanted.type,
            description=wanted.description,
            tags=wanted.tags,
        )
        return pb.CreateRegisteredModelResponse(registered_model=_shown(call, row))

    def GetRegisteredModel(
        self, request: pb.GetRegisteredModelRequest, call: Call
    ) -> pb.GetRegisteredModelResponse:
        arguments.selector(request)
        row = resolve.collection(call.session, call.principal, "model", id_=request.id, ref=request.ref)
        return pb.GetRegisteredModelResponse(registered_model=_shown(call, row))

    def ListRegisteredModels(
        self, request: pb.ListRegisteredModelsRequest, call: Call
    ) -> pb.ListRegisteredModelsResponse:
        def page(size: int) -> tuple[list[pb.RegisteredModel], str]:
            views, token = collection_lists.page(
                call.session,
                call.principal,
                "model",
                entity=request.entity,
                project=request.project,
                filter_=request.filter,
                order_by=request.order_by,
                page_size=size,
                page_token=request.page_token,
            )
            return [model_message(view) for view in views], token

        found, token = pages.fitting(page, request.page_size)
        return pb.ListRegisteredModelsResponse(registered_models=found, next_page_token=token)

    def UpdateRegisteredModel(
        self, request: pb.UpdateRegisteredModelRequest, call: Call
    ) -> pb.UpdateRegisteredModelResponse:
        wanted = request.registered_model
        mask = arguments.masked(request.update_mask, ("name", "description", "tags"))
        id_ = arguments.required("registered_model.id", wanted.id)
        row = resolve.collection(
            call.session,
            call.principal,
            "model",
            id_=id_,
            field="registered_model.id",
            action=Action.WRITE,
            lock=True,
        )
        collections.change(
            call.session,
            call.principal,
            row,
            name=wanted.name if "name" in mask else None,
            description=wanted.description if "description" in mask else None,
            tags=wanted.tags if "tags" in mask else None,
            etag=wanted.etag,
            prefix="registered_model.",
        )
        return pb.UpdateRegisteredModelResponse(registered_model=_shown(call, row))

    def DeleteRegisteredModel(
        self, request: pb.DeleteRegisteredModelRequest, call: Call
    ) -> pb.DeleteRegisteredModelResponse:
        id_ = arguments.required("id", request.id)
        row = resolve.collection(call.session, call.principal, "model", id_=id_, action=Action.DELETE)
        deletes.delete_model(call.session, call.principal, row, force=request.force)
        return pb.DeleteRegisteredModelResponse()

    def LinkModelArtifactVersion(
        self, request: pb.LinkModelArtifactVersionRequest, call: Call
    ) -> pb.LinkModelArtifactVersionResponse:
        arguments.selector(request)
        arguments.selector(request, "target")
        found = resolve.version(
            call.session, call.principal, id_=request.id, ref=request.ref, action=Action.DOWNLOAD
        )
        link, created = registered_models.link(
            call.session, call.principal, found.version, _target(call, request), request.aliases
        )
        return pb.LinkModelArtifactVersionResponse(version=_shown_link(call, link), created=created)

    def GetRegisteredModelVersion(
        self, request: pb.GetRegisteredModelVersionRequest, call: Call
    ) -> pb.GetRegisteredModelVersionResponse:
        arguments.selector(request)
        view = resolve.link(call.session, call.principal, id_=request.id, ref=request.ref, alone=True)
        return pb.GetRegisteredModelVersionResponse(version=link_message(view))

    def ListRegisteredModelVersions(
        self, request: pb.ListRegisteredModelVersionsRequest, call: Call
    ) -> pb.ListRegisteredModelVersionsResponse:
        model = None
        if selector := arguments.selector(request, optional=True):
            arguments.alone(selector, entity=request.entity, project=request.project)
            model = resolve.collection(call.session, call.principal, "model", id_=request.id, ref=request.ref)

        def page(size: int) -> tuple[list[pb.RegisteredModelVersion], str]:
            links, token = link_lists.page(
                call.session,
                call.principal,
                model,
                entity=request.entity,
                project=request.project,
                filter_=request.filter,
                order_by=request.order_by,
                page_size=size,
                page_token=request.page_token,
            )
            views = registered_models.describe(call.session, call.principal, links)
            return [link_message(view) for view in views], token

        found, token = pages.fitting(page, request.page_size)
        return pb.ListRegisteredModelVersionsResponse(versions=found, next_page_token=token)

    def DeleteRegisteredModelVersion(
        self, request: pb.DeleteRegisteredModelVersionRequest, call: Call
    ) -> pb.DeleteRegisteredModelVersionResponse:
        id_ = arguments.required("id", request.id)
        found = resolve.link(call.session, call.principal, id_=id_, action=Action.DELETE)
        deletes.delete_link(call.session, call.principal, found.link, force=request.force)
        return pb.DeleteRegisteredModelVersionResponse()


def _target(call: Call, request: pb.LinkModelArtifactVersionRequest) -> str | Collection:
    """The ref of the registered model to link into, or the one with the id, which is not locked yet."""
    if request.target_ref:
        return request.target_ref
    return resolve.collection(
        call.session, call.principal, "model", id_=request.target_id, field="target_id", action=Action.WRITE
    )


def _shown(call: Call, row: Collection) -> pb.RegisteredModel:
    return model_message(collections.describe(call.session, [row])[0])


def _shown_link(call: Call, link: Link) -> pb.RegisteredModelVersion:
    return link_message(registered_models.describe(call.session, call.principal, [link])[0])
