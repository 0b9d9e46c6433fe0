"""Versions, aliases, links, tags and times, step by step, against a simple model that fits on a page."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import update
from sqlalchemy.orm import Session

from modelyard import errors
from modelyard_server.db.tables import ArtifactVersion
from modelyard_server.domain.registry import alias_history, deletes, version_details, versions
from modelyard_server.domain.registry.aliases import Change
from tests.rules.on_databases import ENTITY, Yard, full, sqlite_database

NAMES = st.sampled_from(["bert", "t5"])
MODELS = st.sampled_from(["Churn", "Fraud"])
ALIASES = st.sampled_from(["staging", "production"])
CONTENTS = st.sampled_from("abc")
NUMBERS = st.integers(0, 4)
TAGS = st.lists(st.sampled_from(["raw", "good"]), max_size=2, unique=True)
LATER = 1 << 60
"""A time, in microseconds since 1970, that no test lives to see."""


class Shelf:
    """A name: what each number holds, where aliases stand, and what comes next.

    `timed` numbers have a time to live; it is over for those that are `past`.
    """

    def __init__(self) -> None:
        self.next = 0
        self.held: dict[int, object] = {}
        self.aliases: dict[str, int] = {}
        self.calls: list[int] = []
        self.tags: dict[int, set[str]] = {}
        self.timed: set[int] = set()
        self.past: set[int] = set()

    @property
    def live(self) -> set[int]:
        return self.held.keys() - self.past

    def put(self, content: object, aliases: list[str]) -> int:
        number = next((n for n in sorted(self.live) if self.held[n] == content), self.next)
        if number == self.next:
            self.next += 1
            self.held[number], self.tags[number] = content, set()
        self.timed.discard(number)
        self.calls = [n for n in self.calls if n != number] + [number]
        for alias in ["latest", *aliases]:
            self.aliases[alias] = number
        return number

    def drop(self, number: int, newest: int | None) -> None:
        del self.held[number], self.tags[number]
        self.timed.discard(number)
        self.past.discard(number)
        self.calls = [n for n in self.calls if n != number]
        kept = {alias: n for alias, n in self.aliases.items() if n != number}
        if self.aliases.get("latest") == number and newest is not None:
            kept["latest"] = newest
        self.aliases = kept


class RegistryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.artifacts: dict[str, Shelf] = {}
        self.models: dict[str, Shelf] = {}

    @initialize(first=st.lists(CONTENTS, max_size=3))
    def open(self, first: list[str]) -> None:
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.yard = Yard(self.stack.enter_context(sqlite_database(folder)))
        for content in first:
            self._log("bert", content, [])

    def teardown(self) -> None:
        with self.stack:
            # These replay all that was told: once, at the end, is enough.
            self._tags_are_what_their_events_say()
            self._the_history_of_aliases_ends_where_they_stand()

    @rule(name=NAMES, content=CONTENTS, names=st.lists(ALIASES, max_size=2))
    def log(self, name: str, content: str, names: list[str]) -> None:
        self._log(name, content, names)

    def _log(self, name: str, content: str, names: list[str]) -> None:
        expected = self.artifacts.setdefault(name, Shelf()).put(content, names)
        assert self.yard.log(name, content, names=names).number == expected

    @rule(name=NAMES, number=NUMBERS, model=MODELS, names=st.lists(ALIASES, max_size=2))
    def link(self, name: str, number: int, model: str, names: list[str]) -> None:
        if name not in self.artifacts or number not in self.artifacts[name].live:
            with pytest.raises(errors.NotFound):
                self.yard.link(f"{name}:v{number}", model, names)
            return
        self.artifacts[name].timed.discard(number)
        expected = self.models.setdefault(model, Shelf()).put((name, number), names)
        assert self.yard.link(f"{name}:v{number}", model, names).number == expected

    @rule(name=NAMES, number=NUMBERS, anyway=st.booleans())
    def delete(self, name: str, number: int, anyway: bool) -> None:
        ref, shelf = f"{name}:v{number}", self.artifacts.get(name)
        links = self._links(name, number)
        if shelf is None or number not in shelf.live:
            with pytest.raises(errors.NotFound):
                self.yard.delete(ref, delete_aliases=anyway)
        elif links and not anyway:
            with pytest.raises(errors.VersionLinked):
                self.yard.delete(ref)
        elif number in shelf.aliases.values() and not anyway:
            with pytest.raises(errors.VersionHasAliases):
                self.yard.delete(ref)
        else:
            self.yard.delete(ref, delete_aliases=anyway)
            shelf.drop(number, max(shelf.live - {number}, default=None))
            for model, linked in links:
                self._unlink(model, linked)

    @rule(model=MODELS, number=NUMBERS)
    def unlink(self, model: str, number: int) -> None:
        shelf = self.models.get(model)
        if shelf is None or number not in shelf.held:
            with pytest.raises(errors.NotFound):
                self.yard.unlink(f"model-registry/{model}:v{number}")
        else:
            self.yard.unlink(f"model-registry/{model}:v{number}")
            self._unlink(shelf, number)

    @rule(
        model=MODELS,
        alias=ALIASES,
        number=st.one_of(st.none(), NUMBERS),
        expected=st.one_of(st.none(), NUMBERS),
    )
    def move(self, model: str, alias: str, number: int | None, expected: int | None) -> None:
        shelf, ref = self.models.get(model), f"model-registry/{model}"
        wanted = Change(
            alias, "" if number is None else f"v{number}", None if expected is None else f"v{expected}"
        )
        # The second change shows that a refused call changes nothing at all.
        changes = [wanted, Change("touched", "", None)]
        if shelf is None:
            with pytest.raises(errors.NotFound):
                self.yard.move(ref, *changes)
        elif expected is not None and shelf.aliases.get(alias) != expected:
            with pytest.raises(errors.AliasChanged):
                self.yard.move(ref, *changes)
        elif number is not None and number not in shelf.held:
            with pytest.raises(errors.NotFound):
                self.yard.move(ref, *changes)
        else:
            shelf.aliases.pop(alias, None)
            if number is not None:
                shelf.aliases[alias] = number
            assert self.yard.move(ref, *changes) == shelf.aliases

    @precondition(lambda self: self.artifacts)
    @rule(data=st.data(), tags=TAGS)
    def tag(self, data: st.DataObject, tags: list[str]) -> None:
        name, shelf, number = self._any_version(data)
        if number not in shelf.live:
            with pytest.raises(errors.NotFound):
                self._update(name, number, tags=tags)
        else:
            self._update(name, number, tags=tags)
            shelf.tags[number] = set(tags)

    @precondition(lambda self: self.artifacts)
    @rule(data=st.data(), over=st.booleans())
    def give_a_time(self, data: st.DataObject, over: bool) -> None:
        name, shelf, number = self._any_version(data)
        if number not in shelf.live or self._links(name, number):
            with pytest.raises((errors.NotFound, errors.VersionLinked)):
                self._update(name, number, expires_at=LATER, set_expiry=True)
        else:
            self._update(name, number, expires_at=LATER, set_expiry=True)
            shelf.timed.add(number)
        if over:
            self._pass_time()

    def _pass_time(self) -> None:
        def pass_(session: Session) -> None:
            timed = update(ArtifactVersion).where(ArtifactVersion.expires_at.is_not(None))
            session.execute(timed.values(expires_at=1))

        self.yard.database.write(pass_)
        for shelf in self.artifacts.values():
            shelf.past |= shelf.timed

    @precondition(lambda self: any(shelf.past for shelf in self.artifacts.values()))
    @rule()
    def sweep(self) -> None:
        database = self.yard.database
        for artifact in database.read(deletes.artifacts_past_time):
            database.write(lambda session, id_=artifact: deletes.delete_past_time(session, id_))
        for shelf in self.artifacts.values():
            newest = max(shelf.live, default=None)
            for number in sorted(shelf.past):
                shelf.drop(number, newest)

    def _tags_are_what_their_events_say(self) -> None:
        told: dict[tuple[str, str], set[str]] = {}
        for event in self.yard.events("p", "tag_added", "tag_removed") if self.artifacts else ():
            tags = told.setdefault((event.details["collection"], event.details["version"]), set())
            assert (event.details["tag"] in tags) == (event.type == "tag_removed")
            tags ^= {event.details["tag"]}
        for name, shelf in self.artifacts.items():
            for number in shelf.live:
                assert told.get((name, f"v{number}"), set()) == shelf.tags[number]

    def _the_history_of_aliases_ends_where_they_stand(self) -> None:
        shelves = [*self.artifacts.items(), *((f"model-registry/{m}", s) for m, s in self.models.items())]
        for ref, shelf in shelves:
            collection = self.yard.collection(ref)
            changes, _ = self.yard.database.read(
                lambda session, of=collection: alias_history.page(
                    session, of, alias="", at=None, page_size=1000, page_token=""
                )
            )
            stands: dict[str, str] = {}
            for change in reversed(changes):
                assert stands.get(change.alias, "") == change.previous != change.version
                stands[change.alias] = change.version
            expected = {alias: f"v{number}" for alias, number in shelf.aliases.items()}
            assert {alias: version for alias, version in stands.items() if version} == expected

    @invariant()
    def every_reference_resolves_as_the_model_says(self) -> None:
        for name, shelf in self.artifacts.items():
            for number in range(shelf.next):
                self._check(f"{name}:v{number}", number if number in shelf.live else None)
            for alias in ("latest", "staging", "production"):
                at = shelf.aliases.get(alias)
                self._check(f"{name}:{alias}", at if at in shelf.live else None)
        for model, shelf in self.models.items():
            for alias in ("latest", "staging", "production", "touched"):
                at = shelf.aliases.get(alias)
                held = None if at is None else shelf.held[at]
                self._check(f"model-registry/{model}:{alias}", held[1] if isinstance(held, tuple) else None)
                if at is not None:
                    link = self.yard.read(
                        version_details.link_of, f"{ENTITY}/model-registry/{model}:{alias}"
                    ).link
                    assert link.number == at

    @invariant()
    def events_are_numbered_without_a_gap(self) -> None:
        for project in ("p", "model-registry") if self.artifacts else ():
            events = self.yard.events(project)
            assert [event.seq for event in events] == list(range(1, len(events) + 1))

    def _check(self, ref: str, number: int | None) -> None:
        if number is None:
            with pytest.raises(errors.NotFound):
                self.yard.read(versions.resolve, full(ref))
        else:
            assert self.yard.number(ref) == number

    def _any_version(self, data: st.DataObject) -> tuple[str, Shelf, int]:
        """One that is there, or was."""
        name = data.draw(st.sampled_from(sorted(self.artifacts)))
        shelf = self.artifacts[name]
        return name, shelf, data.draw(st.integers(0, shelf.next - 1))

    def _links(self, name: str, number: int) -> list[tuple[Shelf, int]]:
        """The links of a version, each by its registered model and number."""
        return [
            (model, n)
            for model in self.models.values()
            for n, held in model.held.items()
            if held == (name, number)
        ]

    def _update(self, name: str, number: int, **changes: object) -> None:
        version = self.yard.read(versions.resolve, full(f"{name}:v{number}")).version
        self.yard.write(
            lambda session, principal: versions.update(
                session,
                principal,
                versions.get(session, principal, version.id),
                **changes,  # type: ignore[arg-type]  # the rules give what `update` takes
            )
        )

    def _unlink(self, shelf: Shelf, number: int) -> None:
        remaining = [n for n in shelf.calls if n != number]
        shelf.drop(number, remaining[-1] if remaining else None)


TestRegistryMachine = RegistryMachine.TestCase
TestRegistryMachine.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
