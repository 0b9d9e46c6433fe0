"""Requests about projects and principals. Imports gRPC and Protobuf, so import it when needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelyard.rpc import validation
from modelyard.rpc.connection import Connection
from modelyard.rpc.list_calls import PAGE_SIZE, pages
from modelyard.rpc.messages import time_of
from modelyard.rpc.records import PrincipalRecord, ProjectRecord
from modelyard.v1 import project_pb2 as pb
from modelyard.v1 import server_pb2


def project(connection: Connection, entity: str, name: str) -> ProjectRecord:
    """A project of an entity. Errors: NotFound."""
    reply = connection.projects.GetProject(pb.GetProjectRequest(entity=entity, name=name))
    return _project(reply.project)


def projects(
    connection: Connection, entity: str, condition: str = "", order: str = "", page_size: int = PAGE_SIZE
) -> Iterator[ProjectRecord]:
    """The projects of an entity, by name unless `order` says otherwise."""
    request = pb.ListProjectsRequest(entity=entity, filter=condition, order_by=order, page_size=page_size)
    for page in pages(connection.projects.ListProjects, request):
        yield from map(_project, page.projects)


def create(connection: Connection, entity: str, name: str) -> ProjectRecord:
    """Makes a project. Errors: AlreadyExists, NotAllowed, InvalidField."""
    wanted = pb.Project(entity=entity, name=name)
    return _project(connection.projects.CreateProject(pb.CreateProjectRequest(project=wanted)).project)


def principals(connection: Connection, entity: str) -> Iterator[PrincipalRecord]:
    """The principals of an entity, by name. Errors: NotFound."""
    request = pb.ListPrincipalsRequest(entity=entity, page_size=PAGE_SIZE)
    for page in pages(connection.projects.ListPrincipals, request):
        for each in page.principals:
            yield PrincipalRecord(each.id, each.entity, each.name, time_of(each.create_time))


def caller(connection: Connection) -> PrincipalRecord:
    """Whom the server takes the caller for; when it was made is not known."""
    found = connection.server.GetCaller(server_pb2.GetCallerRequest()).caller
    return PrincipalRecord(found.principal_id, found.entity, found.principal, None)


def _project(message: Any) -> ProjectRecord:
    found = ProjectRecord(
        entity=message.entity,
        name=message.name,
        create_time=time_of(message.create_time),
        created_by=message.created_by,
        run_count=message.run_count,
        running_run_count=message.running_run_count,
        artifact_count=message.artifact_count,
        registered_model_count=message.registered_model_count,
        last_activity_time=time_of(message.last_activity_time),
    )
    return validation.check_project(found)
