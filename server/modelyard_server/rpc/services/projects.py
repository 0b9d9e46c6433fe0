"""ProjectService: projects with what they hold, and the principals of an entity."""

from __future__ import annotations

from modelyard.v1 import project_pb2 as pb
from modelyard_server.domain import projects
from modelyard_server.rpc.dispatch.call import Call
from modelyard_server.rpc.wire import arguments
from modelyard_server.rpc.wire.convert import timestamp


class ProjectServicer:
    """Handles what projects hold as a whole; each kind of content has its own service."""

    def CreateProject(self, request: pb.CreateProjectRequest, call: Call) -> pb.CreateProjectResponse:
        name = arguments.required("project.name", request.project.name)
        made = projects.create(call.session, call.principal, request.project.entity, name)
        return pb.CreateProjectResponse(project=_project(made))

    def GetProject(self, request: pb.GetProjectRequest, call: Call) -> pb.GetProjectResponse:
        name = arguments.required("name", request.name)
        found = projects.get(call.session, call.principal, request.entity, name)
        return pb.GetProjectResponse(project=_project(found))

    def ListProjects(self, request: pb.ListProjectsRequest, call: Call) -> pb.ListProjectsResponse:
        found, token = projects.page(
            call.session,
            call.principal,
            entity=request.entity,
            filter_=request.filter,
            order_by=request.order_by,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListProjectsResponse(projects=map(_project, found), next_page_token=token)

    def ListPrincipals(self, request: pb.ListPrincipalsRequest, call: Call) -> pb.ListPrincipalsResponse:
        found, token = projects.principals(
            call.session,
            call.principal,
            entity=request.entity,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListPrincipalsResponse(principals=map(_principal, found), next_page_token=token)


def _project(view: projects.ProjectView) -> pb.Project:
    row = view.row
    return pb.Project(
        entity=view.entity,
        name=row.name,
        create_time=timestamp(row.created_at),
        created_by=row.created_by,
        run_count=view.runs,
        running_run_count=view.running,
        artifact_count=view.artifacts,
        registered_model_count=view.registered_models,
        last_activity_time=timestamp(view.active_at),
    )


def _principal(view: projects.PrincipalView) -> pb.Principal:
    return pb.Principal(
        id=view.row.id, entity=view.entity, name=view.row.name, create_time=timestamp(view.row.created_at)
    )
