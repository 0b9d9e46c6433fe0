"""Random sequences of versions, aliases, links, tags and expiry times, compared with a simple model."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy.orm import Session

from modelyard import errors
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.registry import alias_history, deletes, resolve, versions
from modelyard_server.domain.registry.aliases import Change
from tests.inprocess.databases import sqlite_database
from tests.inprocess.registry import LATER, Registry, full

pytestmark = pytest.mark.slow
NAMES = st.sampled_from(["bert", "t5"])
MODELS = st.sampled_from(["Churn", "Fraud"])
ALIASES = st.sampled_from(["staging", "production"])
CONTENTS = st.sampled_from("abc")
NUMBERS = st.integers(0, 4)
TAGS = st.lists(st.sampled_from(["raw", "good"]), max_size=2, unique=True)


class CollectionState:
    """A name: what each number holds, where aliases stand, and what comes next.

    `timed` numbers have a time to live; those in `past` have expired.
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
        self.artifacts: dict[str, CollectionState] = {}
        self.models: dict[str, CollectionState] = {}

    @initialize(first=st.lists(CONTENTS, max_size=3))
    def open(self, first: list[str]) -> None:
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.registry = Registry(self.stack.enter_context(sqlite_database(folder)))
        for content in first:
            self._log("bert", content, [])

    def teardown(self) -> None:
        with self.stack:
            # Too slow for every step: these read the whole history, or fail to find each reference.
            self._unknown_references_are_not_found()
            self._tags_match_their_events()
            self._the_alias_history_ends_at_the_aliases()

    @rule(name=NAMES, content=CONTENTS, names=st.lists(ALIASES, max_size=2))
    def log(self, name: str, content: str, names: list[str]) -> None:
        self._log(name, content, names)

    def _log(self, name: str, content: str, names: list[str]) -> None:
        expected = self.artifacts.setdefault(name, CollectionState()).put(content, names)
        assert self.registry.log(name, content, names=names).number == expected

    @rule(name=NAMES, number=NUMBERS, model=MODELS, names=st.lists(ALIASES, max_size=2))
    def link(self, name: str, number: int, model: str, names: list[str]) -> None:
        if name not in self.artifacts or number not in self.artifacts[name].live:
            with pytest.raises(errors.NotFound):
                self.registry.link(f"{name}:v{number}", model, names)
            return
        self.artifacts[name].timed.discard(number)
        expected = self.models.setdefault(model, CollectionState()).put((name, number), names)
        assert self.registry.link(f"{name}:v{number}", model, names).number == expected

    @rule(name=NAMES, number=NUMBERS, anyway=st.booleans())
    def delete(self, name: str, number: int, anyway: bool) -> None:
        ref, state = f"{name}:v{number}", self.artifacts.get(name)
        links = self._links(name, number)
        if state is None or number not in state.live:
            with pytest.raises(errors.NotFound):
                self.registry.delete(ref, force=anyway)
        elif links and not anyway:
            with pytest.raises(errors.VersionLinked):
                self.registry.delete(ref)
        elif number in state.aliases.values() and not anyway:
            with pytest.raises(errors.VersionHasAliases):
                self.registry.delete(ref)
        else:
            self.registry.delete(ref, force=anyway)
            state.drop(number, max(state.live - {number}, default=None))
            for model, linked in links:
                self._unlink(model, linked)

    @rule(model=MODELS, number=NUMBERS)
    def unlink(self, model: str, number: int) -> None:
        state = self.models.get(model)
        if state is None or number not in state.held:
            with pytest.raises(errors.NotFound):
                self.registry.unlink(f"model-registry/{model}:v{number}")
        else:
            self.registry.unlink(f"model-registry/{model}:v{number}")
            self._unlink(state, number)

    @rule(
        model=MODELS,
        alias=ALIASES,
        number=st.one_of(st.none(), NUMBERS),
        expected=st.one_of(st.none(), NUMBERS),
    )
    def move(self, model: str, alias: str, number: int | None, expected: int | None) -> None:
        state, ref = self.models.get(model), f"model-registry/{model}"
        wanted = Change(
            alias, "" if number is None else f"v{number}", None if expected is None else f"v{expected}"
        )
        # The second change shows that a refused call changes nothing at all.
        changes = [wanted, Change("touched", "", None)]
        if state is None:
            with pytest.raises(errors.NotFound):
                self.registry.move(ref, *changes)
        elif expected is not None and state.aliases.get(alias) != expected:
            with pytest.raises(errors.AliasChanged):
                self.registry.move(ref, *changes)
        elif number is not None and number not in state.held:
            with pytest.raises(errors.NotFound):
                self.registry.move(ref, *changes)
        else:
            state.aliases.pop(alias, None)
            if number is not None:
                state.aliases[alias] = number
            assert self.registry.move(ref, *changes) == state.aliases

    @precondition(lambda self: self.artifacts)
    @rule(data=st.data(), tags=TAGS)
    def tag(self, data: st.DataObject, tags: list[str]) -> None:
        name, state, number = self._any_version(data)
        if number not in state.live:
            with pytest.raises(errors.NotFound):
                self._update(name, number, tags=tags)
        else:
            self._update(name, number, tags=tags)
            state.tags[number] = set(tags)

    @precondition(lambda self: self.artifacts)
    @rule(data=st.data(), over=st.booleans())
    def give_a_time(self, data: st.DataObject, over: bool) -> None:
        name, state, number = self._any_version(data)
        if number not in state.live or self._links(name, number):
            with pytest.raises((errors.NotFound, errors.VersionLinked)):
                self._update(name, number, expires_at=LATER, set_expiry=True)
        else:
            self._update(name, number, expires_at=LATER, set_expiry=True)
            state.timed.add(number)
        if over:
            self._pass_time()

    def _pass_time(self) -> None:
        self.registry.pass_time()
        for state in self.artifacts.values():
            state.past |= state.timed

    @precondition(lambda self: any(state.past for state in self.artifacts.values()))
    @rule()
    def sweep(self) -> None:
        database = self.registry.database
        for artifact in database.read(deletes.artifacts_with_expired):
            database.write(lambda session, id_=artifact: deletes.delete_expired(session, id_))
        for state in self.artifacts.values():
            newest = max(state.live, default=None)
            for number in sorted(state.past):
                state.drop(number, newest)

    def _tags_match_their_events(self) -> None:
        told: dict[tuple[str, str], set[str]] = {}
        for event in self.registry.events("p", "tag_added", "tag_removed") if self.artifacts else ():
            tags = told.setdefault((event.details["collection"], event.details["version"]), set())
            assert (event.details["tag"] in tags) == (event.type == "tag_removed")
            tags ^= {event.details["tag"]}
        for name, state in self.artifacts.items():
            for number in state.live:
                assert told.get((name, f"v{number}"), set()) == state.tags[number]

    def _the_alias_history_ends_at_the_aliases(self) -> None:
        states = [*self.artifacts.items(), *((f"model-registry/{m}", s) for m, s in self.models.items())]
        for ref, state in states:
            collection = self.registry.collection(ref)
            changes, _ = self.registry.database.read(
                lambda session, of=collection: alias_history.page(
                    session, of, alias="", at=None, page_size=1000, page_token=""
                )
            )
            stands: dict[str, str] = {}
            for change in reversed(changes):
                assert stands.get(change.alias, "") == change.previous != change.version
                stands[change.alias] = change.version
            expected = {alias: f"v{number}" for alias, number in state.aliases.items()}
            assert {alias: version for alias, version in stands.items() if version} == expected

    @invariant()
    def every_reference_resolves_as_the_model_says(self) -> None:
        if not self.artifacts:
            return

        def check(session: Session, principal: Principal) -> None:
            for ref, number in self._references().items():
                if number is not None:
                    assert resolve.version(session, principal, ref=full(ref)).version.number == number
            for model, state in self.models.items():
                for alias, at in state.aliases.items():
                    link = resolve.link(session, principal, ref=full(f"model-registry/{model}:{alias}")).link
                    assert link.number == at

        self.registry.read(check)

    def _unknown_references_are_not_found(self) -> None:
        for ref, number in self._references().items():
            if number is None:
                with pytest.raises(errors.NotFound):
                    self.registry.read(resolve.version, ref=full(ref))

    def _references(self) -> dict[str, int | None]:
        """What each reference stands for: the number of an artifact's version, or nothing."""
        found: dict[str, int | None] = {}
        for name, state in self.artifacts.items():
            numbers: dict[str, int | None] = {f"v{number}": number for number in range(state.next)}
            numbers |= {alias: state.aliases.get(alias) for alias in ("latest", "staging", "production")}
            found |= {f"{name}:{word}": n if n in state.live else None for word, n in numbers.items()}
        for model, state in self.models.items():
            for alias in ("latest", "staging", "production", "touched"):
                held = state.held.get(state.aliases.get(alias, -1))
                found[f"model-registry/{model}:{alias}"] = held[1] if isinstance(held, tuple) else None
        return found

    @invariant()
    def events_are_numbered_without_a_gap(self) -> None:
        for project in ("p", "model-registry") if self.artifacts else ():
            events = self.registry.events(project)
            assert [event.seq for event in events] == list(range(1, len(events) + 1))

    def _any_version(self, data: st.DataObject) -> tuple[str, CollectionState, int]:
        """One that is there, or was."""
        name = data.draw(st.sampled_from(sorted(self.artifacts)))
        state = self.artifacts[name]
        return name, state, data.draw(st.integers(0, state.next - 1))

    def _links(self, name: str, number: int) -> list[tuple[CollectionState, int]]:
        """The links of a version, each by its registered model and number."""
        return [
            (model, n)
            for model in self.models.values()
            for n, held in model.held.items()
            if held == (name, number)
        ]

    def _update(self, name: str, number: int, **changes: object) -> None:
        version = self.registry.read(resolve.version, ref=full(f"{name}:v{number}")).version
        self.registry.write(
            lambda session, principal: versions.update(
                session,
                principal,
                resolve.version(session, principal, id_=version.id).version,
                **changes,  # type: ignore[arg-type]  # the rules give what `update` takes
            )
        )

    def _unlink(self, state: CollectionState, number: int) -> None:
        remaining = [n for n in state.calls if n != number]
        state.drop(number, remaining[-1] if remaining else None)


TestRegistryMachine = RegistryMachine.TestCase
TestRegistryMachine.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
