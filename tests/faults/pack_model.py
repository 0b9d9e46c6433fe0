"""Writer, uploaders and collectors of packs as a small state machine, and a search of all its states.

What is modelled is the argument of ARCHITECTURE.md, "Why a committed version
cannot be lost": two uploaders log versions of the same content, which is one
chunk. Any number of collectors expire uploads, delete rows that nothing refers
to, give packs up, delete their objects and copy chunks to new packs. Every
action is one transaction or one request to the store. A put or a delete that
was sent may arrive at any later time, and again. Processes stop at any step,
and a power cut loses what was not made durable. No clock is part of it: what
time allows may happen at once.

`Rules` says which of the safeguards are kept. Without one of them the search
finds the shortest way to a broken promise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

T = TypeVar("T")
MOST_PACKS = 2
NONE = -1


@dataclass(frozen=True)
class Rules:
    """The safeguards. The defaults are those of the server."""

    fence: bool = True
    """A pack becomes live only if it is `writing`."""
    random_keys: bool = True
    """Each pack has an object of its own. Otherwise equal content has the same key."""
    put_before_publish: bool = True
    """Chunk rows are made after the object is put."""
    sync_before_publish: bool = True
    """Chunk rows are made after the object is durable."""
    delete_only_trash: bool = True
    """Only objects of packs in `trash` are deleted. Otherwise those of packs without chunk rows."""
    recheck_chunks: bool = True
    """A chunk row is deleted if nothing refers to it at that moment. Otherwise, if it was so earlier."""
    recheck_packs: bool = True
    """A pack is given up if it is `writing` at that moment. Otherwise, if it was so earlier."""
    counted_numbers: bool = True
    """Numbers of versions come from a counter. Otherwise from the versions that exist."""


class Pack(NamedTuple):
    """The row of a pack. `source` is the pack that it is a copy of, `copied` how far the copy is."""

    state: str = "writing"
    source: int = NONE
    copied: str = ""


class Object(NamedTuple):
    """An object in the store: `absent`, `written` or `durable`. Requests that were sent may still arrive."""

    state: str = "absent"
    put: bool = False
    delete: bool = False


class Uploader(NamedTuple):
    """A client with its stream on the server. `version` is the number it committed."""

    step: str = "idle"
    pack: int = NONE
    upload: bool = False
    pin: bool = False
    version: int = NONE
    acknowledged: bool = False
    deleted: bool = False

    @property
    def has_version(self) -> bool:
        """Whether a version exists that it made."""
        return self.version != NONE and not self.deleted


class State(NamedTuple):
    """Database, store and processes. `chunk` is the pack that the chunk's row names."""

    packs: tuple[Pack, ...] = ()
    objects: tuple[Object, ...] = (Object(),) * MOST_PACKS
    chunk: int = NONE
    file: bool = False
    uploaders: tuple[Uploader, Uploader] = (Uploader(), Uploader())
    next_number: int = 0
    seen: frozenset[int] = frozenset()
    """What collectors remember that do not check again: packs, and NONE for the chunk."""

    @property
    def is_chunk_free(self) -> bool:
        """Whether a chunk row exists that nothing refers to, so that foreign keys let it be deleted."""
        return self.chunk != NONE and not self.file and not any(one.pin for one in self.uploaders)


Step = tuple[str, State]


def search(rules: Rules) -> tuple[set[State], list[str]]:
    """All states that can be reached, and the shortest way to one that breaks a promise, if there is any."""
    start = State()
    came_from: dict[State, tuple[State, str] | None] = {start: None}
    waiting = deque([start])
    while waiting:
        state = waiting.popleft()
        for action, following in steps(state, rules):
            if following in came_from:
                continue
            came_from[following] = (state, action)
            if broken := broken_promise(following, rules):
                return set(came_from), [*_way(came_from, following), broken]
            waiting.append(following)
    return set(came_from), []


def broken_promise(state: State, rules: Rules) -> str:
    """What is wrong in a state; empty if all promises hold."""
    for uploader in state.uploaders:
        if uploader.has_version and not (state.file and state.chunk != NONE):
            return "a committed version has lost its rows"
    if state.chunk != NONE:
        if state.packs[state.chunk].state != "live":
            return "a chunk is in a pack that is not live"
        if state.objects[_key(state.chunk, rules)].state == "absent":
            return "a chunk is in an object that is not there"
    first, second = (uploader.version for uploader in state.uploaders)
    return "a number was given twice" if NONE != first == second else ""


def steps(state: State, rules: Rules) -> Iterator[Step]:
    """Everything that may happen next, by name."""
    for index in (0, 1):
        for action, following in _uploader_steps(state, rules, index):
            yield f"uploader {index}: {action}", following
    yield from _collector_steps(state, rules)
    for index in range(len(state.packs)):
        yield from _pack_steps(state, rules, index)
    for key, found in enumerate(state.objects):
        if found.put and found.state == "absent":
            yield f"put {key} arrives", _with_object(state, key, found._replace(state="written"))
        if found.delete and found.state != "absent":
            yield f"delete {key} arrives", _with_object(state, key, found._replace(state="absent"))
    yield "power cut", _power_cut(state)


def _uploader_steps(state: State, rules: Rules, index: int) -> Iterator[Step]:
    uploader = state.uploaders[index]

    def to(step: str, **changes: object) -> State:
        return _with_uploader(state, index, uploader._replace(step=step, **changes))  # type: ignore[arg-type]  # fields by name

    if uploader.step not in {"idle", "committed", "done"}:
        yield "stops, and starts again", to("idle", pack=NONE)
    if uploader.upload:
        yield "upload expires", to(uploader.step, upload=False, pin=False)
    if uploader.has_version:
        yield "version is deleted", to(uploader.step, deleted=True)
    handler = _AT.get(uploader.step)
    if handler is not None:
        yield from handler(state, rules, index, to)


def _idle(state: State, rules: Rules, index: int, to: Callable[..., State]) -> Iterator[Step]:
    if not state.uploaders[index].upload:
        yield "opens an upload", to("idle", upload=True)
    elif state.chunk != NONE:
        yield "finds the chunk and pins it", to("stored", pin=True)
    else:
        yield "finds the chunk missing", to("missing")


def _missing(state: State, rules: Rules, index: int, to: Callable[..., State]) -> Iterator[Step]:
    if len(state.packs) < MOST_PACKS:
        pack = len(state.packs)
        yield "makes an intent row", to("intent", pack=pack)._replace(packs=(*state.packs, Pack()))


def _intent(state: State, rules: Rules, index: int, to: Callable[..., State]) -> Iterator[Step]:
    key = _key(state.uploaders[index].pack, rules)
    sent = state.objects[key]._replace(put=True)
    yield "sends the put", _with_object(to("putting"), key, sent)
    if not rules.put_before_publish:
        yield from _publish(state, rules, index, to)


def _putting(state: State, rules: Rules, index: int, to: Callable[..., State]) -> Iterator[Step]:
    key = _key(state.uploaders[index].pack, rules)
    if state.objects[key].state != "absent":
        yield "hears that the put arrived", to("written")
    yield "gives the put up", to("missing", pack=NONE)


def _written(state: State, rules: Rules, index: int, to: Callable[..., State]) -> Iterator[Step]:
    key = _key(state.uploaders[index].pack, rules)
    found = state.objects[key]
    synced = found if found.state == "absent" else found._replace(state="durable")
    yield "makes the object durable", _with_object(to("durable"), key, synced)
    if not rules.sync_before_publish:
        yield from _publish(state, rules, index, to)


def _publish(state: State, rules: Rules, index: int, to: Callable[..., State]) -> Iterator[Step]:
    uploader = state.uploaders[index]
    fenced = rules.fence and state.packs[uploader.pack].state != "writing"
    if fenced or not uploader.upload:
        yield "is refused by the fence", to("idle", pack=NONE)
        return
    following = to("stored", pin=True, pack=NONE)
    chunk = uploader.pack if state.chunk == NONE else state.chunk
    packs = _replaced(state.packs, uploader.pack, Pack("live"))
    yield "publishes the pack", following._replace(packs=packs, chunk=chunk)


def _stored(state: State, rules: Rules, index: int, to: Callable[..., State]) -> Iterator[Step]:
    uploader = state.uploaders[index]
    if not (uploader.upload and uploader.pin):
        yield "is refused the commit", to("idle")
        return
    existing = [one.version for one in state.uploaders if one.has_version]
    number = state.next_number if rules.counted_numbers else max(existing, default=NONE) + 1
    following = to("committed", version=number, upload=False, pin=False)
    yield "commits", following._replace(file=True, next_number=state.next_number + 1)


def _committed(state: State, rules: Rules, index: int, to: Callable[..., State]) -> Iterator[Step]:
    yield "gets the reply, or that of a repetition", to("done", acknowledged=True)


_AT: dict[str, Callable[[State, Rules, int, Callable[..., State]], Iterator[Step]]] = {
    "idle": _idle,
    "missing": _missing,
    "intent": _intent,
    "putting": _putting,
    "written": _written,
    "durable": _publish,
    "stored": _stored,
    "committed": _committed,
}


def _collector_steps(state: State, rules: Rules) -> Iterator[Step]:
    """What a collector does with rows of files and chunks."""
    if state.file and not any(one.has_version for one in state.uploaders):
        yield "collector: deletes the file", state._replace(file=False)
    if rules.recheck_chunks:
        if state.is_chunk_free:
            yield "collector: deletes the chunk", state._replace(chunk=NONE)
        return
    if state.is_chunk_free and NONE not in state.seen:
        yield "collector: sees that the chunk is free", state._replace(seen=state.seen | {NONE})
    if NONE in state.seen and state.chunk != NONE:
        yield "collector: deletes the chunk", state._replace(chunk=NONE, seen=state.seen - {NONE})


def _pack_steps(state: State, rules: Rules, index: int) -> Iterator[Step]:
    """What a collector does with a pack."""
    pack, key = state.packs[index], _key(index, rules)
    found = state.objects[key]
    if pack.state == "live" and state.chunk != index:
        yield f"collector: empty pack {index} to trash", _with_pack(state, index, pack, "trash")
    yield from _abandon(state, rules, index)
    deletable = pack.state == "trash" if rules.delete_only_trash else state.chunk != index
    if deletable and not found.delete:
        yield f"collector: deletes object {key}", _with_object(state, key, found._replace(delete=True))
    if pack.state == "trash" and found.delete and found.state == "absent":
        yield f"collector: pack {index} is gone", _with_pack(state, index, pack, "gone")
    if state.chunk == index and len(state.packs) < MOST_PACKS:
        yield (
            f"collector: begins a copy of pack {index}",
            state._replace(packs=(*state.packs, Pack(source=index))),
        )
    if pack.source != NONE and pack.state != "live":
        yield from _copy(state, rules, index)


def _abandon(state: State, rules: Rules, index: int) -> Iterator[Step]:
    pack = state.packs[index]
    if rules.recheck_packs:
        if pack.state == "writing":
            yield f"collector: gives pack {index} up", _with_pack(state, index, pack, "trash")
        return
    if pack.state == "writing" and index not in state.seen:
        yield f"collector: sees that pack {index} is old", state._replace(seen=state.seen | {index})
    if index in state.seen and pack.state in {"writing", "live"}:
        yield f"collector: gives pack {index} up", _with_pack(state, index, pack, "trash")


def _copy(state: State, rules: Rules, index: int) -> Iterator[Step]:
    """The next step of a copy; the collector that makes it may stop before."""
    pack, key = state.packs[index], _key(index, rules)
    found = state.objects[key]
    if pack.copied == "" and state.objects[_key(pack.source, rules)].state != "absent":
        written = "written" if found.state == "absent" else found.state
        sent = _with_object(state, key, found._replace(state=written, put=True))
        yield f"copier: puts pack {index}", _with_pack(sent, index, pack._replace(copied="written"))
    elif pack.copied == "written":
        synced = found if found.state == "absent" else found._replace(state="durable")
        following = _with_object(state, key, synced)
        yield (
            f"copier: makes pack {index} durable",
            _with_pack(following, index, pack._replace(copied="durable")),
        )
    elif pack.copied == "durable" and (pack.state == "writing" or not rules.fence):
        following = _with_pack(state, index, Pack("live"))
        chunk = index if state.chunk == pack.source else state.chunk
        yield f"copier: publishes pack {index}", following._replace(chunk=chunk)


def _power_cut(state: State) -> State:
    """All processes stop, and objects that were not durable are lost."""
    objects = tuple(one._replace(state="absent") if one.state == "written" else one for one in state.objects)
    uploaders = tuple(
        one if one.step in {"committed", "done"} else one._replace(step="idle", pack=NONE)
        for one in state.uploaders
    )
    packs = tuple(pack._replace(source=NONE, copied="") for pack in state.packs)
    return state._replace(objects=objects, uploaders=(uploaders[0], uploaders[1]), packs=packs)


def _key(pack: int, rules: Rules) -> int:
    """The key of a pack's object."""
    return pack if rules.random_keys else 0


def _with_pack(state: State, index: int, pack: Pack, to: str = "") -> State:
    return state._replace(packs=_replaced(state.packs, index, pack._replace(state=to) if to else pack))


def _with_object(state: State, key: int, found: Object) -> State:
    return state._replace(objects=_replaced(state.objects, key, found))


def _with_uploader(state: State, index: int, uploader: Uploader) -> State:
    first, second = state.uploaders
    return state._replace(uploaders=(uploader, second) if index == 0 else (first, uploader))


def _replaced(items: tuple[T, ...], index: int, item: T) -> tuple[T, ...]:
    return (*items[:index], item, *items[index + 1 :])


def _way(came_from: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    """The names of the steps that lead to a state."""
    names: list[str] = []
    while (before := came_from[state]) is not None:
        state, name = before
        names.append(name)
    return names[::-1]
