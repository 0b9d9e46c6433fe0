"""Registries: the projects that hold registered models, and searches over them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from modelyard.arguments import checked_calls
from modelyard.artifacts.artifact import Artifact
from modelyard.contract import refs
from modelyard.query.conditions import OF_LINKS, Condition, as_filter, as_order, both, quoted
from modelyard.query.listing import Listing, page_size
from modelyard.registry.collection import RegisteredModel, Workspace
from modelyard.rpc import collection_calls, list_calls, records


@checked_calls()
class Registry:
    """A registry. Its first registered model creates it."""

    def __init__(self, workspace: Workspace, record: records.RegistryRecord) -> None:
        self._workspace = workspace
        self._record = record

    entity = property(lambda self: self._record.entity, doc="Who owns it.")
    organization = property(lambda self: self._record.entity, doc="Same as `entity`.")
    full_name = property(lambda self: self._record.name, doc="Name of its project, with `wandb-registry-`.")

    @property
    def name(self) -> str:
        """Its name, without `wandb-registry-`."""
        return self._record.name.removeprefix(refs.REGISTRY_PREFIX)

    def create_collection(
        self,
        name: str,
        description: str | None = None,
        tags: Sequence[str] = (),
        type: str = "model",
    ) -> RegisteredModel:
        """Creates a registered model without versions. Errors: AlreadyExists, ValueError."""
        ref = f"{self.entity}/{self.full_name}/{refs.check_model_name(name)}".lstrip("/")
        return create_model(self._workspace, ref, description, tags, type)

    def collection(self, name: str) -> RegisteredModel:
        """A registered model by its name. Errors: NotFound."""
        ref = f"{self.entity}/{self.full_name}/{refs.check_model_name(name)}".lstrip("/")
        found = collection_calls.model_by_ref(self._workspace.connection, ref)
        return self._workspace.registered_model(found)

    def collections(
        self, filter: Condition = None, per_page: int = 100, order: str | None = None
    ) -> Collections:
        """Its registered models, by name unless `order` says otherwise."""
        return Collections(
            self._workspace,
            self.entity,
            [self.full_name],
            filter,
            per_page,
            order,
            count=None if filter else lambda: self._record.registered_model_count,
        )

    def versions(
        self, filter: Condition = None, per_page: int = 100, order: str | None = None
    ) -> Listing[Artifact]:
        """The links in it, newest first unless `order` says otherwise."""
        return Listing(_links(self._workspace, self.entity, self.full_name, filter, per_page, order))

    def __repr__(self) -> str:
        return f"<Registry {self.entity}/{self.full_name}>"


@checked_calls()
class Registries(Listing[Registry]):
    """Registries, by name, with searches over all of them."""

    def __init__(self, workspace: Workspace, entity: str, wanted: Condition) -> None:
        chosen = _choice(wanted)
        found = [
            each for each in collection_calls.registries(workspace.connection, entity) if chosen(each.name)
        ]
        super().__init__((Registry(workspace, each) for each in found), lambda: len(found))
        self._workspace = workspace
        self._entity = entity
        self._whole = not wanted
        self._projects = [each.name for each in found]

    def collections(
        self, filter: Condition = None, per_page: int = 100, order: str | None = None
    ) -> Collections:
        """Their registered models, by name; with a filter of registries, registry by registry."""
        projects = [""] if self._whole else self._projects
        return Collections(self._workspace, self._entity, projects, filter, per_page, order)

    def versions(
        self, filter: Condition = None, per_page: int = 100, order: str | None = None
    ) -> Listing[Artifact]:
        """The links in them, newest first within a registry unless `order` says otherwise."""

        def found() -> Iterator[Artifact]:
            for project in [""] if self._whole else self._projects:
                yield from _links(self._workspace, self._entity, project, filter, per_page, order)

        return Listing(found())


@checked_calls()
class Collections(Listing[RegisteredModel]):
    """Registered models; `len` where the server knows it."""

    def __init__(
        self,
        workspace: Workspace,
        entity: str,
        projects: Sequence[str],
        wanted: Condition,
        per_page: int,
        order: str | None,
        count: Callable[[], int] | None = None,
    ) -> None:
        condition, ordered, size = as_filter(wanted), as_order(order), page_size(per_page)

        def found() -> Iterator[RegisteredModel]:
            for project in projects:
                for record in list_calls.registered_models(
                    workspace.connection, entity, project, condition, ordered, size
                ):
                    yield workspace.registered_model(record)

        super().__init__(found(), count)

    def versions(
        self, filter: Condition = None, per_page: int = 100, order: str | None = None
    ) -> Listing[Artifact]:
        """The links of these registered models, model by model."""
        return Listing(
            version
            for model in self
            for version in model.versions(filter=filter, order=order, per_page=per_page)
        )


def create_model(
    workspace: Workspace,
    ref: str,
    description: str | None,
    tags: Iterable[str],
    type: str,
) -> RegisteredModel:
    """Creates the registered model `entity/project/name`."""
    checked = [refs.check_tag(tag) for tag in ([tags] if isinstance(tags, str) else tags)]
    made = collection_calls.create_model(workspace.connection, ref, type, description or "", checked)
    return workspace.registered_model(made)


def _links(
    workspace: Workspace,
    entity: str,
    project: str,
    wanted: Condition,
    per_page: int,
    order: str | None,
) -> Iterator[Artifact]:
    found = list_calls.links(
        workspace.connection,
        "",
        as_filter(wanted, OF_LINKS),
        as_order(order),
        page_size(per_page),
        entity=entity,
        project=project,
    )
    for link in found:
        yield workspace.artifact(link)


def _choice(wanted: Condition) -> Callable[[str], bool]:
    """A predicate for names of registries: a name, with or without `wandb-registry-`, or a pattern."""
    if not wanted:
        return lambda name: True
    names = wanted if isinstance(wanted, str) else wanted.get("name")
    if isinstance(names, str):
        full = {names, refs.REGISTRY_PREFIX + names}
        return lambda name: name in full
    pattern = names.get("$regex") if isinstance(names, dict) and set(names) == {"$regex"} else None
    if not isinstance(pattern, str):
        raise ValueError('registries are chosen by name: {"name": "…"} or {"name": {"$regex": "…"}}')
    compiled = re.compile(pattern)
    return lambda name: bool(compiled.search(name))


def tagged(tags: str | Sequence[str] | None, field: str = "tags") -> str:
    """The filter for items that have all of these tags."""
    given = [tags] if isinstance(tags, str) else tags or ()
    return both(*(f"{field} : {quoted(refs.check_tag(tag))}" for tag in given))
