"""`Api`: finds versions, registered models, runs and events, without a run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from modelyard import util, wandb_names
from modelyard.arguments import checked, checked_calls
from modelyard.artifacts import active_run, cached_use
from modelyard.artifacts.artifact import Artifact
from modelyard.configuration.settings import current
from modelyard.contract import errors, refs
from modelyard.host import notebook, terminal
from modelyard.public_runs.public_run import PublicRun
from modelyard.public_runs.runs import Runs
from modelyard.query.conditions import Condition, as_filter, as_order, both
from modelyard.query.listing import Listing, page_size
from modelyard.query.run_search import RunSearch
from modelyard.registry.artifact_type import ArtifactType
from modelyard.registry.collection import ArtifactCollection, RegisteredModel
from modelyard.registry.events import Events
from modelyard.registry.project import Project, User
from modelyard.registry.registry import Collections, Registries, Registry, create_model, tagged
from modelyard.rpc import collection_calls, list_calls, project_calls, records, run_calls
from modelyard.rpc.login import server_info
from modelyard.runs.run import Run
from modelyard.workspace import Workspace

_NO_KEY = "local"
"""`api_key` of a process that has none: the embedded server asks for none, and others may ask for none."""
_LONG_PATH = 4
"""Parts of `entity/project/runs/run_id`."""


def __getattr__(name: str) -> str:
    if name != "api_key":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Libraries take None for a user who is not logged in, and log nothing then.
    return current().api_key or _NO_KEY


@checked
def restore(
    name: str, run_path: str | None = None, replace: bool = False, root: str | os.PathLike[str] | None = None
) -> TextIO | None:
    """Downloads a file of a run and opens it for reading; see `Run.restore`.

    `run_path` is needed where no run is active; the file goes to the working folder then.
    """
    active = active_run.active()
    if isinstance(active, Run):
        return active.restore(name, run_path, replace, root)
    if run_path is None:
        raise ValueError("restore: run_path is needed before modelyard.init()")
    return Api().run(run_path)._restore(name, os.fspath(root or "."), replace=replace)


@checked_calls()
class Api:
    """Finds versions, registered models and runs. `overrides` may name `entity`, `project` and `base_url`.

    Lists are lazy: pages of `per_page` items are fetched as they are needed. A
    `filter` is text (docs/searching.md) or nested dicts; an `order` is a field,
    with `-` in front or ` desc` after it for descending order.
    """

    def __init__(
        self,
        overrides: Mapping[str, Any] | None = None,
        timeout: int | None = None,
        api_key: str | None = None,
    ) -> None:
        self.settings = current({**(overrides or {}), **({"api_key": api_key} if api_key else {})})

    if not TYPE_CHECKING:  # for type checkers, a missing name is an error

        def __getattr__(self, name: str) -> NoReturn:
            raise wandb_names.missing("Api", "Api", name)

    def __repr__(self) -> str:
        return f"<Api of {self._place}>"

    def _repr_html_(self) -> str:
        """As notebooks show it."""
        rows = {"Server": self._place, "Entity": self.settings.entity, "Project": self.settings.project}
        return notebook.card("modelyard", rows, shown_by="modelyard ls")

    @property
    def _place(self) -> str:
        """The address of the server, or the data folder of the embedded one."""
        return self.settings.url or f"data in {self.settings.data_root}"

    @property
    def default_entity(self) -> str:
        """The entity of references without one: that of the settings, else that of the key."""
        return self.settings.entity or str(self.viewer.entity)

    @property
    def _workspace(self) -> Workspace:
        return Workspace(self.settings)  # at each call: users may change the settings

    # Versions.

    def artifact(self, name: str, type: str | None = None) -> Artifact:
        """A version: `[[entity/]project/]name[:alias|:vN]`. Errors: NotFound; ValueError for another type.

        While the server cannot be reached, a `name:vN` that was downloaded before comes from the cache.
        """
        workspace = self._workspace
        resolver = workspace.resolver()
        kept = cached_use.find_unreachable(workspace, resolver.full(name))
        version, link = (kept, None) if kept else resolver.version(name)
        if type is not None and version.type != type:
            raise ValueError(f"{name} is of type {version.type!r}, not {type!r}")
        return workspace.artifact(version, link)

    def artifact_exists(self, name: str, type: str | None = None) -> bool:
        """Whether there is such a version."""
        try:
            found = self.artifact(name)
        except errors.NotFound:
            return False
        return type is None or found.type == type

    def artifacts(
        self,
        type_name: str,
        name: str,
        per_page: int = 50,
        tags: str | Sequence[str] | None = None,
        order: str | None = None,
        filter: Condition = None,
    ) -> Listing[Artifact]:
        """The versions of a name, newest first; with `tags` only those that have all of them.

        `len` works without `tags` and `filter`. Errors: NotFound; ValueError for another type.
        """
        found = self.artifact_collection(type_name, name)
        # The tags of a link are those of its source.
        field = "tags" if found.is_sequence() else "source.tags"
        condition = both(tagged(tags, field), as_filter(filter, found._names))
        return found.versions(condition, order, per_page)

    artifact_versions = artifacts

    def versions(
        self,
        path: str | None = None,
        filter: Condition = None,
        order: str | None = None,
        per_page: int = 50,
    ) -> Listing[Artifact]:
        """Searches the versions of `[entity/]project`; without `path` those of the whole entity."""
        entity, project = self._project_of(path, default="")
        workspace = self._workspace
        found = list_calls.versions(
            workspace.connection,
            "",
            as_filter(filter),
            as_order(order),
            page_size(per_page),
            entity=entity,
            project=project,
        )
        return Listing(workspace.artifact(version) for version in found)

    # Collections.

    def artifact_types(self, project: str | None = None) -> list[ArtifactType]:
        """The types of a project's artifacts, by name."""
        entity, where = self._project_of(project)
        workspace = self._workspace
        found = collection_calls.types(workspace.connection, entity, where)
        return [workspace.artifact_type(entity, where, name, count) for name, count in found.items()]

    def artifact_type(self, type_name: str, project: str | None = None) -> ArtifactType:
        """A type of a project's artifacts. Errors: NotFound."""
        for found in self.artifact_types(project):
            if found.name == type_name:
                return found
        entity, where = self._project_of(project)
        raise errors.NotFound(f"no artifact of type {type_name!r} in {f'{entity}/{where}'.lstrip('/')}")

    def artifact_collections(
        self,
        project_name: str,
        type_name: str,
        per_page: int = 50,
        filter: Condition = None,
        order: str | None = None,
    ) -> Listing[ArtifactCollection]:
        """The artifacts of a type in `[entity/]project`, by name; `len` works without `filter`."""
        found = self._workspace.artifact_type(*self._project_of(project_name), type_name)
        return found.collections(per_page, filter, order)

    def artifact_collection(self, type_name: str, name: str) -> ArtifactCollection:
        """An artifact or registered model: `[[entity/]project/]name`.

        Errors: NotFound; ValueError for another type.
        """
        workspace = self._workspace
        return workspace.collection(workspace.resolver().collection_of_type(type_name, name))

    def artifact_collection_exists(self, name: str, type: str) -> bool:
        """Whether there is such an artifact or registered model of this type."""
        try:
            self.artifact_collection(type, name)
        except (errors.NotFound, ValueError):
            return False
        return True

    # Registered models.

    def registries(self, organization: str | None = None, filter: Condition = None) -> Registries:
        """The registries of an entity (default: yours), by name.

        `registries().collections(filter).versions(filter)` searches in them.
        """
        return Registries(self._workspace, organization or self._entity, filter)

    def registry(self, name: str = refs.REGISTRY_PROJECT, organization: str | None = None) -> Registry:
        """A registry: `model-registry`, or `<r>` for `wandb-registry-<r>`. Its first model creates it."""
        full = name if refs.is_registry(name) else refs.REGISTRY_PREFIX + name
        refs.check_owner(full, "registry")
        for known in self.registries(organization):
            if known.full_name == full:
                return known
        record = records.RegistryRecord(organization or self._entity, full, 0)
        return self._workspace.registry(record)

    def registered_model(self, name: str) -> RegisteredModel:
        """A registered model: `[[entity/]registry/]name`; default: `model-registry`. Errors: NotFound."""
        workspace = self._workspace
        ref = refs.link_target(name, self._entity)
        return workspace.registered_model(collection_calls.model_by_ref(workspace.connection, ref))

    def registered_models(
        self,
        registry: str | None = None,
        filter: Condition = None,
        order: str | None = None,
        per_page: int = 50,
    ) -> Collections:
        """The registered models of `[entity/]registry`, without it of the whole entity; by name."""
        entity, project = self._project_of(registry, default="")
        return Collections(self._workspace, entity, [project], filter, per_page, order)

    def create_registered_model(
        self,
        name: str,
        description: str | None = None,
        tags: Sequence[str] = (),
        type: str = "model",
    ) -> RegisteredModel:
        """Creates a registered model without versions; `name` as in `registered_model`.

        `description` is its card, in Markdown. Errors: AlreadyExists, ValueError.
        """
        ref = refs.link_target(name, self._entity)
        return create_model(self._workspace, ref, description, tags, type)

    def create_registry(
        self,
        name: str,
        visibility: str | None = None,
        organization: str | None = None,
        description: str | None = None,
        artifact_types: Sequence[str] | None = None,
    ) -> Registry:
        """Creates the registry `wandb-registry-<name>` without registered models.

        `visibility`, `description` and `artifact_types` have no effect: a registry is open to the
        keys of its entity, and takes every type. Errors: AlreadyExists, ValueError.
        """
        if visibility is not None or description is not None or artifact_types is not None:
            terminal.termlog(
                "create_registry: visibility, description and artifact_types accepted and ignored",
                repeat=False,
            )
        full = name if refs.is_registry(name) else refs.REGISTRY_PREFIX + name
        made = project_calls.create(self._workspace.connection, organization or self._entity, full)
        return self._workspace.registry(records.RegistryRecord(made.entity, made.name, 0))

    # Projects and users.

    def project(self, name: str, entity: str | None = None) -> Project:
        """A project: `name` of `entity` (default: yours), or `entity/name`. Errors: NotFound."""
        owner, where = self._project_of(name)
        found = project_calls.project(self._workspace.connection, entity or owner, where)
        return self._workspace.project(found)

    def projects(
        self,
        entity: str | None = None,
        per_page: int = 200,
        filter: Condition = None,
        order: str | None = None,
    ) -> Listing[Project]:
        """The projects of an entity (default: yours), registries too, by name unless `order` says otherwise.

        `filter` and `order` know `name`, `created_at` and, in filters, `created_by`. Errors: NotFound.
        """
        workspace, owner = self._workspace, entity or self._entity
        condition, ordered, size = as_filter(filter), as_order(order), page_size(per_page)
        found = project_calls.projects(workspace.connection, owner, condition, ordered, size)
        return Listing(map(workspace.project, found))

    def create_project(self, name: str, entity: str | None = None) -> None:
        """Makes a project, and its entity; one that exists stays as it is. Errors: NotAllowed, ValueError."""
        owner, where = self._project_of(name)
        with suppress(errors.AlreadyExists):
            project_calls.create(self._workspace.connection, entity or owner, where)

    @property
    def viewer(self) -> User:
        """Whom the server takes you for. Without keys, the one who everybody is there."""
        return User(project_calls.caller(self._workspace.connection))

    def user(self, username_or_email: str) -> User | None:
        """The principal of that name in your entity, or of an email with that name; None without one."""
        name = username_or_email.partition("@")[0]
        return next((found for found in self.users(name) if found.username == name), None)

    def users(self, username_or_email: str) -> list[User]:
        """The principals of your entity whose names contain a text, by name; you are one of them."""
        connection = self._workspace.connection
        you = project_calls.caller(connection)
        others = project_calls.principals(connection, you.entity)
        text = username_or_email.partition("@")[0]
        found = {each.id: each for each in (*others, you) if text in each.name}
        return [User(each) for each in sorted(found.values(), key=lambda each: each.name)]

    def from_path(self, path: str) -> Project | PublicRun:
        """The project `[entity/]project`, or the run `entity/project/[runs/]run_id`.

        Errors: NotFound; UsageError for sweeps and reports, which are not part of modelyard.
        """
        parts = path.strip("/ ").split("/")
        if len(parts) <= 2:
            return self.project("/".join(parts))
        if len(parts) > _LONG_PATH or (len(parts) == _LONG_PATH and not parts[2].startswith("run")):
            raise errors.UsageError(
                f"Invalid path {path!r}: expected [entity/]project or entity/project/[runs/]run_id; there "
                "are no sweeps and reports"
            )
        return self.run(f"{parts[0]}/{parts[1]}/{parts[-1]}")

    def flush(self) -> None:
        """Does nothing: every call asks the server."""

    # Runs and events.

    def create_run(
        self, *, run_id: str | None = None, project: str | None = None, entity: str | None = None
    ) -> PublicRun:
        """Makes a run that no program logs to; `modelyard.init(id=…, resume="must")` goes on with it.

        Its state is `running` until it is resumed and finished, or silent for five minutes.
        Errors: AlreadyExists, ValueError.
        """
        owner, where = self._project_of(project)
        record = run_calls.create_run(
            self._workspace.connection, entity or owner, where, run_id or util.generate_id()
        )
        return self._workspace.run(record)

    def run(self, path: str) -> PublicRun:
        """A run: `[[entity/]project/]run_id`, or `entity/project/runs/run_id`. Errors: NotFound."""
        workspace = self._workspace
        parts = path.strip("/ ").split("/")
        if len(parts) == _LONG_PATH and parts[2] == "runs":
            del parts[2]
        return workspace.run(workspace.resolver().run("/".join(parts)))

    def runs(
        self,
        path: str | None = None,
        filters: Condition = None,
        order: str | None = "+created_at",
        per_page: int = 50,
        include_sweeps: bool = True,
        lazy: bool = True,
    ) -> Runs:
        """The runs of `[entity/]project`, oldest first unless `order` says otherwise.

        `filters` may have all operators that scripts for W&B use (docs/searching.md): what
        the server cannot express, such as `$regex`, is checked here. With `lazy`, config,
        summary and metadata are read when they are used first: once for all runs of a page,
        and from then on with the pages. `include_sweeps` is accepted. Errors: ValueError for
        unknown fields and operators.
        """
        entity, project = self._project_of(path, default=self.settings.project or "")
        workspace = self._workspace
        where = (entity, project)
        found = RunSearch(workspace.connection, where, filters, order, page_size(per_page), lazy=lazy)

        def count() -> int:
            # `list(runs)` asks for the length too: the first page is needed anyway, and often the only one.
            known = found.count() if listing else 0
            return sum(1 for _ in listing) if known is None else known

        listing = Runs(map(workspace.run, found), count)
        return listing

    def server_info(self) -> records.ServerInfo:
        """The server's release, limits and services, and whom it takes the caller for."""
        return server_info(self._workspace.connection)

    def events(
        self,
        project: str,
        after: int | Mapping[str, Any] | None = 0,
        follow: bool = False,
        filter: Condition = None,
    ) -> Events:
        """The events of `[entity/]project` after a sequence number, in order.

        Without `follow` the iteration ends with the newest event. With it, it waits
        for more, also for a project that does not exist yet, and reconnects when the
        connection was lost; `after=None` then means from now on. `entity/` follows
        every project of an entity; `after` is then 0, None, or the `positions` of an
        earlier iteration. Errors: NotFound.
        """
        if project.endswith("/"):
            entity, where = refs.check_owner(project[:-1], "entity"), ""
        else:
            entity, where = self._project_of(project)
        return Events(
            self._workspace.connection, entity, where, after=after, follow=follow, condition=as_filter(filter)
        )

    @property
    def _entity(self) -> str:
        return self.settings.entity or ""

    def _project_of(self, path: str | None, default: str | None = None) -> tuple[str, str]:
        """Entity and project of `[entity/]project`, with the settings' defaults."""
        if default is None:
            default = self.settings.project or refs.DEFAULT_PROJECT
        parts = (path or "").strip("/").split("/")
        if len(parts) > 2:
            raise ValueError(f"{path!r}: expected [entity/]project")
        entity, project = ["", *parts][-2:]
        for name, what in ((entity, "entity"), (project, "project")):
            if name:
                refs.check_owner(name, what)
        return entity or self._entity, project or default
