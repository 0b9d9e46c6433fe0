"""`Project`: what an entity has under one name; and `User`, whom keys are made for."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from modelyard.arguments import checked_calls
from modelyard.host import notebook
from modelyard.query import page_addresses
from modelyard.query.conditions import Condition, as_filter, as_order
from modelyard.query.listing import Listing, page_size
from modelyard.registry.artifact_type import ArtifactType
from modelyard.registry.collection import ArtifactCollection, Workspace
from modelyard.rpc import collection_calls, list_calls, project_calls, records


class User:
    """A principal: whom API keys are made for. It has no email and no profile here."""

    def __init__(self, record: records.PrincipalRecord) -> None:
        self._record = record

    id = property(lambda self: self._record.id, doc="Global id; empty where it is not known.")
    username = property(lambda self: self._record.name, doc="Its name, unique in its entity.")
    name = property(lambda self: self._record.name, doc="Same as `username`.")
    entity = property(lambda self: self._record.entity, doc="The entity that it belongs to.")
    teams = property(lambda self: [self._record.entity], doc="The entity that it belongs to, in a list.")
    email = property(lambda self: "", doc="Empty: not kept.")

    @property
    def created_at(self) -> str | None:
        """When its first key was made: ISO 8601, UTC; None: not known."""
        moment: datetime.datetime | None = self._record.create_time
        return moment.isoformat() if moment else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, User) and self._record.id == other._record.id

    def __hash__(self) -> int:
        return hash(self._record.id)

    def __repr__(self) -> str:
        return f"<User {self.username} of {self.entity}>"


@checked_calls()
class Project:
    """A project as the server had it when it was read."""

    def __init__(self, workspace: Workspace, record: records.ProjectRecord) -> None:
        self._workspace = workspace
        self._record = record

    name = property(lambda self: self._record.name, doc="Its name, unique in its entity.")
    entity = property(lambda self: self._record.entity, doc="Who owns it.")
    id = property(lambda self: self._record.path, doc="Same as the path, as text: `entity/project`.")
    path = property(lambda self: [self._record.entity, self._record.name], doc="`[entity, project]`.")
    url = property(
        lambda self: page_addresses.of_project(self._workspace.connection, self._record.path),
        doc="Where the page shows it; without a page the command that lists it.",
    )
    created_by = property(lambda self: self._record.created_by, doc="Who made it.")
    created_at = property(lambda self: self._record.create_time.isoformat(), doc="ISO 8601, UTC.")
    last_activity_at = property(
        lambda self: self._record.last_activity_time.isoformat(),
        doc="Its newest event, or the last call of a run that goes on: ISO 8601, UTC.",
    )
    run_count = property(lambda self: self._record.run_count, doc="Number of its runs.")
    running_run_count = property(lambda self: self._record.running_run_count, doc="Of them, those that run.")
    artifact_count = property(lambda self: self._record.artifact_count, doc="Number of its artifacts.")
    registered_model_count = property(
        lambda self: self._record.registered_model_count, doc="Number of its registered models."
    )

    @property
    def owner(self) -> User:
        """Who made it."""
        named = project_calls.principals(self._workspace.connection, self.entity)
        unknown = records.PrincipalRecord("", self.entity, self.created_by, None)
        return User(next((each for each in named if each.name == self.created_by), unknown))

    def artifacts_types(self, per_page: int = 50) -> list[ArtifactType]:
        """The types of its artifacts, by name."""
        found = collection_calls.types(self._workspace.connection, self.entity, self.name)
        return [
            ArtifactType(self._workspace, self.entity, self.name, type_name, count)
            for type_name, count in found.items()
        ]

    def collections(
        self, filters: Condition = None, order: str | None = None, per_page: int = 50
    ) -> Listing[ArtifactCollection]:
        """Its artifacts, by name unless `order` says otherwise; `len` works without `filters`."""
        condition, ordered, size = as_filter(filters), as_order(order), page_size(per_page)

        def found() -> Iterator[ArtifactCollection]:
            connection = self._workspace.connection
            for record in list_calls.artifacts(connection, self.entity, self.name, condition, ordered, size):
                yield self._workspace.collection(record)

        return Listing(found(), None if filters else lambda: self.artifact_count)

    def sweeps(self, per_page: int = 50) -> list[str]:
        """Empty: there are no sweeps."""
        return []

    def display(self, height: int = 420, hidden: bool = False) -> bool:
        """Shows it: in a notebook below the cell, elsewhere a line on stderr. Whether in a notebook."""
        notebook.say([f"Project {self._record.path}: {self.url}"], self._repr_html_())
        return notebook.is_active()

    def to_html(self, height: int = 420, hidden: bool = False) -> str:
        """As notebooks show it."""
        return self._repr_html_()

    def _repr_html_(self) -> str:
        """As notebooks show it."""
        rows = {
            "Runs": self.run_count,
            "Artifacts": self.artifact_count,
            "Registered models": self.registered_model_count,
            "Last activity": self.last_activity_at,
        }
        return notebook.card(f"Project {self._record.path}", rows, shown_by=self.url)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Project) and self._record.path == other._record.path

    def __hash__(self) -> int:
        return hash(self._record.path)

    def __repr__(self) -> str:
        return f"<Project {self._record.path}>"
