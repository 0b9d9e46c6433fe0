"""The byte budget that uploads share: first come, first served, and every byte is returned."""

from __future__ import annotations

import asyncio

from modelyard_server.packs.budget import ByteBudget

WAIT = 20.0


def test_the_budget_is_given_first_come_first_served() -> None:
    async def test() -> None:
        budget, served = ByteBudget(10), list[str]()

        async def want(name: str, size: int) -> None:
            await budget.acquire(size)
            served.append(name)

        await budget.acquire(8)
        tasks = [asyncio.create_task(want(name, size)) for name, size in [("a", 6), ("b", 1), ("c", 9)]]
        await asyncio.sleep(0)
        assert served == []
        assert not budget.try_acquire(1)
        budget.release(8)
        await asyncio.gather(*tasks[:2])
        assert served == ["a", "b"]
        tasks[2].cancel()
        await asyncio.wait(tasks)
        assert budget.try_acquire(3)
        budget.release(10)
        assert budget.free == budget.total

    asyncio.run(test())


def test_a_cancelled_waiter_does_not_block_those_behind_it() -> None:
    async def test() -> None:
        budget = ByteBudget(10)
        await budget.acquire(8)
        large, small = (asyncio.create_task(budget.acquire(size)) for size in (5, 2))
        await asyncio.sleep(0)
        large.cancel()
        await asyncio.wait_for(small, WAIT)
        granted = asyncio.create_task(budget.acquire(4))
        await asyncio.sleep(0)
        budget.release(10)
        granted.cancel()
        await asyncio.wait([granted])
        assert budget.free == budget.total

    asyncio.run(test())
