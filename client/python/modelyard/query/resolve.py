"""What a reference means: a version, an artifact, a registered model or a run."""

from __future__ import annotations

from modelyard.contract import errors, refs
from modelyard.rpc import collection_calls, records, run_calls, version_calls
from modelyard.rpc.connection import Connection

_PARTS = ("", "entity", "project", "name", "version")
"""Which part of a reference a server can say is missing, in the order in which it looks them up."""


class Resolver:
    """Looks references up on a server.

    `entity` and `project` stand for what a reference leaves out. With
    `search_registry`, a reference without a project is also looked up in
    `model-registry`, after the project.
    """

    def __init__(
        self, connection: Connection, entity: str, project: str, *, search_registry: bool = False
    ) -> None:
        self._connection = connection
        self._entity = entity
        self._project = project
        self._search_registry = search_registry

    def full(self, text: str) -> str:
        """A reference with its entity and project. ValueError for a text that is no reference."""
        return str(refs.parse(text).within(self._entity, self._project))

    def candidates(self, ref: refs.Ref) -> list[refs.Ref]:
        """The full references that a reference may mean, in the order of the lookup."""
        found = [ref.within(self._entity, self._project)]
        if self._search_registry and not ref.project:
            found.append(ref.within(self._entity, refs.REGISTRY_PROJECT))
        return found

    def version(self, text: str) -> version_calls.Found:
        """The version, and the link that the reference goes through. Errors: NotFound, ValueError."""
        ref = refs.parse(text)
        refusals = []
        for candidate in self.candidates(ref):
            try:
                return version_calls.resolve(self._connection, str(candidate))
            except errors.NotFound as error:
                refusals.append(error)
        raise self._explained(ref, max(refusals, key=_specificity))

    def _explained(self, ref: refs.Ref, refusal: errors.NotFound) -> errors.NotFound:
        """The refusal, for a name without a project with a hint where registered models are."""
        if ref.project or refusal.metadata.get("missing") == "version":
            return refusal
        if self._search_registry:
            projects = " and ".join(candidate.project for candidate in self.candidates(ref))
            hint = f"(without a project, {projects} are searched)"
        else:
            hint = f"(a registered model is named {ref.within('', refs.REGISTRY_PROJECT)})"
        return errors.NotFound(f"{refusal} {hint}", metadata=refusal.metadata)

    def collection(self, text: str, what: str = "artifact or registered model") -> records.Collection:
        """The artifact or registered model of a name; an alias after it is ignored.

        Errors: NotFound, which calls it `what`; ValueError.
        """
        found = self.find_collection(text)
        if found is None:
            raise self.not_found(text, what)
        return found

    def collection_of_type(self, type_name: str, text: str) -> records.Collection:
        """As `collection`. ValueError also for one of another type."""
        found = self.collection(text)
        if found.type != type_name:
            raise ValueError(f"{found.ref} is of type {found.type!r}, not {type_name!r}")
        return found

    def find_collection(self, text: str) -> records.Collection | None:
        """The artifact or registered model of a name; None when there is none."""
        for candidate in self.candidates(refs.parse(text)):
            path = str(candidate.without_alias())
            found = None
            # Which of the two a project's name is, only the server knows; a registry holds models alone.
            if not refs.is_registry(candidate.project):
                found = collection_calls.find_artifact(self._connection, path)
            found = found or collection_calls.find_model(self._connection, path)
            if found is not None:
                return found
        return None

    def not_found(self, text: str, what: str) -> errors.NotFound:
        """The error for a reference that means nothing, with the reason that the server gives."""
        ref = refs.parse(text)
        why = ""
        try:
            self.version(str(ref.without_alias()))
        except errors.NotFound as error:
            why = error.metadata.get("why", "")
        return errors.NotFound(f"{ref}: no such {what}" + (f": {why}" if why else ""))

    def run(self, text: str) -> records.RunRecord:
        """The run at `[[entity/]project/]run_id`. Errors: NotFound, ValueError."""
        ref = refs.parse_run(text.strip("/")).within(self._entity, self._project)
        return run_calls.run_by_ref(self._connection, str(ref))


def _specificity(refusal: errors.NotFound) -> tuple[int, bool]:
    """Orders refusals by how far the lookup came, then by whether they suggest a similar name."""
    missing = refusal.metadata.get("missing", "")
    known = _PARTS.index(missing) if missing in _PARTS else 0  # servers may come to name other parts
    return known, refusal.metadata.get("why", "").endswith("?")
