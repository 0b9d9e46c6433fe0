"""`ArtifactType`: a type of a project's artifacts."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.arguments import checked_calls
from modelyard.query.conditions import Condition, as_filter, as_order, both, quoted
from modelyard.query.listing import Listing, page_size
from modelyard.registry.collection import ArtifactCollection, Workspace
from modelyard.rpc import collection_calls, list_calls


@checked_calls()
class ArtifactType:
    """A type of a project's artifacts, such as `model` or `dataset`."""

    def __init__(self, workspace: Workspace, entity: str, project: str, name: str, count: int | None) -> None:
        self._workspace = workspace
        self._count = count
        self.entity = entity
        self.project = project
        self.name = name
        """Its name."""

    def collections(
        self, per_page: int = 50, filter: Condition = None, order: str | None = None
    ) -> Listing[ArtifactCollection]:
        """The artifacts of this type, by name; `len` works without `filter`."""
        found = self._collections(as_filter(filter), as_order(order), page_size(per_page))
        return Listing(found, None if filter else self._number)

    def collection(self, name: str) -> ArtifactCollection:
        """An artifact of this type by its name. Errors: NotFound; ValueError for another type."""
        ref = f"{self.entity}/{self.project}/{name}".lstrip("/")
        return self._workspace.collection(self._workspace.resolver().collection_of_type(self.name, ref))

    def _collections(self, condition: str, order: str, size: int) -> Iterator[ArtifactCollection]:
        connection = self._workspace.connection
        wanted = both(f"type = {quoted(self.name)}", condition)
        for record in list_calls.artifacts(connection, self.entity, self.project, wanted, order, size):
            yield self._workspace.collection(record)

    def _number(self) -> int:
        if self._count is None:
            found = collection_calls.types(self._workspace.connection, self.entity, self.project)
            self._count = found.get(self.name, 0)
        return self._count

    def __repr__(self) -> str:
        return f"<ArtifactType {self.name}>"
