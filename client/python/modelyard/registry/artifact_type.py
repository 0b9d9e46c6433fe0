"""The types of a project's artifacts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelyard.arguments import checked_calls
from modelyard.query.conditions import Condition, as_filter, as_order, both, quoted
from modelyard.query.listing import Listing, page_size

if TYPE_CHECKING:
    from modelyard.api import Api
    from modelyard.registry.collection import ArtifactCollection


@checked_calls()
class ArtifactType:
    """A type of a project's artifacts, such as `model` or `dataset`."""

    def __init__(self, api: Api, entity: str, project: str, name: str, count: int | None) -> None:
        self._api = api
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
        return self._api.artifact_collection(self.name, ref)

    def _collections(self, condition: str, order: str, size: int) -> Iterator[ArtifactCollection]:
        from modelyard.registry.collection import as_collection
        from modelyard.rpc import list_calls

        connection = self._api._connection
        wanted = both(f"type = {quoted(self.name)}", condition)
        for record in list_calls.artifacts(connection, self.entity, self.project, wanted, order, size):
            yield as_collection(connection, self._api.settings, record)

    def _number(self) -> int:
        from modelyard.rpc import collection_calls as calls

        if self._count is None:
            found = calls.types(self._api._connection, self.entity, self.project)
            self._count = found.get(self.name, 0)
        return self._count

    def __repr__(self) -> str:
        return f"<ArtifactType {self.name}>"
