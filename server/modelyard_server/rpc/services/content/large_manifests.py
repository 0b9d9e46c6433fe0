"""Stores large manifests ahead of their commits, in transactions between which others can write."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server import failpoints
from modelyard_server.db.ids import new_id
from modelyard_server.domain.content import staging
from modelyard_server.domain.content.manifests import Manifest
from modelyard_server.rpc.dispatch.call import StreamCall

T = TypeVar("T")


async def stage(
    call: StreamCall, threads: Executor, upload_id: str, manifest: Manifest, base_id: str = ""
) -> str:
    """Stores a large manifest; returns the id of the staged entries.

    Returns an empty id for a small manifest, which the commit itself stores, and for an
    upload that has ended. `base_id` is the version of kept files.
    """
    if not staging.is_large(manifest):
        return ""
    staged = new_id()
    parts = await in_thread(threads, manifest, lambda: list(staging.parts(manifest)))
    clear = functools.partial(staging.clear, principal=call.principal, upload_id=upload_id)
    try:
        await _until_done(call, clear)
        for part in parts:
            store = functools.partial(
                staging.store,
                principal=call.principal,
                upload_id=upload_id,
                commit_id=staged,
                part=part,
                base_id=base_id,
            )
            await _until_done(call, store)
            failpoints.hit("commit.staged")
    except errors.UploadExpired:
        return ""
    return staged


async def in_thread(threads: Executor, manifest: Manifest, work: Callable[[], T]) -> T:
    """The result of work on a manifest; on a thread where the manifest is large."""
    if not staging.is_large(manifest):
        return work()
    return await asyncio.get_running_loop().run_in_executor(threads, work)


async def _until_done(call: StreamCall, step: Callable[[Session], bool]) -> None:
    """Runs a step until it returns True, each time in a transaction."""
    while not await call.write(step):
        pass
