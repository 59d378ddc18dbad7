import asyncio

from oomsayer.controller.workqueue import BACKOFF_LAST, WorkQueue


def test_a_burst_is_looked_at_once() -> None:
    async def burst() -> int:
        queue = WorkQueue()
        for _ in range(100):
            queue.add("n1")
        assert await queue.take() == "n1"
        queue.done("n1")
        return len(queue)

    assert asyncio.run(burst()) == 0


def test_what_changes_while_it_is_looked_at_is_looked_at_again_and_never_by_two() -> None:
    async def change() -> list[str]:
        queue = WorkQueue()
        queue.add("n1")
        first = await queue.take()
        queue.add("n1")
        queue.add("n2")
        second = await queue.take()
        assert len(queue) == 0
        queue.done(first)
        return [first, second, await queue.take()]

    assert asyncio.run(change()) == ["n1", "n2", "n1"]


def test_failures_come_back_later_and_later_and_are_forgotten_with_success() -> None:
    async def fail() -> list[float]:
        queue = WorkQueue()
        waits = [queue.failed("n1") for _ in range(8)]
        waits.append(queue.failed("n1", at_least=90))
        queue.succeeded("n1")
        waits.append(queue.failed("n1"))
        queue.close()
        return waits

    assert asyncio.run(fail()) == [1, 2, 4, 8, 16, 32, BACKOFF_LAST, BACKOFF_LAST, 90, 1]


def test_a_later_look_is_replaced_by_an_earlier_one() -> None:
    async def earlier() -> str:
        queue = WorkQueue()
        queue.add_after("n1", 3600)
        queue.add_after("n1", 0.01)
        item = await asyncio.wait_for(queue.take(), 10)
        queue.done(item)
        queue.add_after("n1", 3600)
        queue.add("n1")
        return await asyncio.wait_for(queue.take(), 10)

    assert asyncio.run(earlier()) == "n1"
