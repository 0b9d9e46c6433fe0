"""The budget of bytes that uploads share: first come first served, and nothing is lost of it."""

from __future__ import annotations

import asyncio

from modelyard_server.packs.budget import ByteBudget

WAIT = 20.0


def test_the_budget_is_given_first_come_first_served() -> None:
    async def test() -> None:
        budget, served = ByteBudget(10), list[str]()

        async def want(name: str, size: int) -> None:
            await budget.take(size)
            served.append(name)

        await budget.take(8)
        tasks = [asyncio.create_task(want(name, size)) for name, size in [("a", 6), ("b", 1), ("c", 9)]]
        await asyncio.sleep(0)
        assert served == []
        assert not budget.try_take(1)
        budget.give(8)
        await asyncio.gather(*tasks[:2])
        assert served == ["a", "b"]
        tasks[2].cancel()
        await asyncio.wait(tasks)
        assert budget.try_take(3)
        budget.give(10)
        assert budget.free == budget.total

    asyncio.run(test())


def test_a_waiter_that_gives_up_lets_those_behind_go_on() -> None:
    async def test() -> None:
        budget = ByteBudget(10)
        await budget.take(8)
        large, small = (asyncio.create_task(budget.take(size)) for size in (5, 2))
        await asyncio.sleep(0)
        large.cancel()
        await asyncio.wait_for(small, WAIT)
        granted = asyncio.create_task(budget.take(4))
        await asyncio.sleep(0)
        budget.give(10)
        granted.cancel()
        await asyncio.wait([granted])
        assert budget.free == budget.total

    asyncio.run(test())
