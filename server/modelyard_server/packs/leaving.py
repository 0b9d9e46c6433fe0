"""Streams that broke and whose last packs are still being sealed, by their upload."""

from __future__ import annotations

import asyncio

WAIT_SECONDS = 10.0


class Leaving:
    """Lets a question about an upload wait for what a broken stream of it has left behind."""

    def __init__(self) -> None:
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}

    def add(self, upload: str, task: asyncio.Task[None]) -> None:
        """Notes a task that seals packs of the upload, until it ends."""
        tasks = self._tasks.setdefault(upload, set())
        tasks.add(task)

        def forget(done: asyncio.Task[None]) -> None:
            tasks.discard(done)
            if not tasks and self._tasks.get(upload) is tasks:
                del self._tasks[upload]

        task.add_done_callback(forget)

    def __contains__(self, upload: str) -> bool:
        """Whether something of the upload is still being sealed; from any thread."""
        return upload in self._tasks

    async def gone(self, upload: str) -> None:
        """Waits until nothing is, for 10 s at most: the store may be slow or away."""
        tasks = self._tasks.get(upload)
        if tasks:
            await asyncio.wait(set(tasks), timeout=WAIT_SECONDS)
            self._tasks.pop(upload, None)
