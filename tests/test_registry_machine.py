"""Versions, aliases and links, step by step, against a simple model that fits on a page."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from modelyard import errors
from modelyard_server.domain import registry, versions
from modelyard_server.domain.aliases import Change
from tests.parts.yards import ENTITY, Yard, full, sqlite_database

NAMES = st.sampled_from(["bert", "t5"])
MODELS = st.sampled_from(["Churn", "Fraud"])
ALIASES = st.sampled_from(["staging", "production"])
CONTENTS = st.sampled_from("abc")
NUMBERS = st.integers(0, 4)


class Shelf:
    """A name: what each number holds, where aliases stand, and what comes next."""

    def __init__(self) -> None:
        self.next = 0
        self.held: dict[int, object] = {}
        self.aliases: dict[str, int] = {}
        self.calls: list[int] = []

    def put(self, content: object, aliases: list[str]) -> int:
        number = next((n for n, held in self.held.items() if held == content), self.next)
        if number == self.next:
            self.next += 1
            self.held[number] = content
        self.calls = [n for n in self.calls if n != number] + [number]
        for alias in ["latest", *aliases]:
            self.aliases[alias] = number
        return number

    def drop(self, number: int, newest: int | None) -> None:
        del self.held[number]
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

    @initialize()
    def open(self) -> None:
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.yard = Yard(self.stack.enter_context(sqlite_database(folder)))

    def teardown(self) -> None:
        self.stack.close()

    @rule(name=NAMES, content=CONTENTS, names=st.lists(ALIASES, max_size=2))
    def log(self, name: str, content: str, names: list[str]) -> None:
        expected = self.artifacts.setdefault(name, Shelf()).put(content, names)
        assert self.yard.log(name, content, names=names).number == expected

    @rule(name=NAMES, number=NUMBERS, model=MODELS, names=st.lists(ALIASES, max_size=2))
    def link(self, name: str, number: int, model: str, names: list[str]) -> None:
        if name not in self.artifacts or number not in self.artifacts[name].held:
            with pytest.raises(errors.NotFound):
                self.yard.link(f"{name}:v{number}", model, names)
            return
        expected = self.models.setdefault(model, Shelf()).put((name, number), names)
        assert self.yard.link(f"{name}:v{number}", model, names).number == expected

    @rule(name=NAMES, number=NUMBERS, anyway=st.booleans())
    def delete(self, name: str, number: int, anyway: bool) -> None:
        ref, shelf = f"{name}:v{number}", self.artifacts.get(name)
        links = [
            (model, n)
            for model in self.models.values()
            for n, held in model.held.items()
            if held == (name, number)
        ]
        if shelf is None or number not in shelf.held:
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
            shelf.drop(number, max((n for n in shelf.held if n != number), default=None))
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

    @invariant()
    def every_reference_resolves_as_the_model_says(self) -> None:
        for name, shelf in self.artifacts.items():
            for number in range(shelf.next):
                self._check(f"{name}:v{number}", number if number in shelf.held else None)
            for alias in ("latest", "staging", "production"):
                self._check(f"{name}:{alias}", shelf.aliases.get(alias))
        for model, shelf in self.models.items():
            for alias in ("latest", "staging", "production", "touched"):
                at = shelf.aliases.get(alias)
                held = None if at is None else shelf.held[at]
                self._check(f"model-registry/{model}:{alias}", held[1] if isinstance(held, tuple) else None)
                if at is not None:
                    link = self.yard.read(registry.find_link, f"{ENTITY}/model-registry/{model}:{alias}")
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

    def _unlink(self, shelf: Shelf, number: int) -> None:
        remaining = [n for n in shelf.calls if n != number]
        shelf.drop(number, remaining[-1] if remaining else None)


TestRegistryMachine = RegistryMachine.TestCase
TestRegistryMachine.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
