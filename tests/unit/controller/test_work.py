"""The line of keys: one reconcile a key at a time, coalesced, backing off, woken by time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from controller import work
from controller.cache import Key
from controller.work import WorkQueue

A, B = ("n", "a"), ("n", "b")


def serve(
    reconcile: Callable[[Key], Awaitable[float | None]],
    drive: Callable[[WorkQueue], Awaitable[None]],
    size: Callable[[Key], int] = lambda _: 0,
) -> None:
    async def run() -> None:
        queue = WorkQueue(reconcile, size)
        serving = asyncio.create_task(queue.run())
        try:
            await drive(queue)
        finally:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving
        assert not queue._timers or all(timer.cancelled() for timer in queue._timers.values())

    asyncio.run(asyncio.wait_for(run(), 30))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "SETTLE_SECONDS", 0.001)


def test_a_burst_is_one_reconcile_and_keys_run_side_by_side_but_never_twice_at_once() -> None:
    running: set[Key] = set()
    done: list[Key] = []
    both = asyncio.Event()

    async def reconcile(key: Key) -> None:
        assert key not in running
        running.add(key)
        if len(running) == 2:
            both.set()
        await both.wait()
        running.discard(key)
        done.append(key)

    async def drive(queue: WorkQueue) -> None:
        for _ in range(50):
            queue.wake(A)
            queue.wake(B)
        assert queue.depth == 2
        while len(done) < 2:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        assert sorted(done) == [A, B]

    serve(reconcile, drive)


def test_what_happens_during_a_reconcile_brings_exactly_one_more() -> None:
    count = 0
    begun, go = asyncio.Event(), asyncio.Event()

    async def reconcile(key: Key) -> None:
        nonlocal count
        count += 1
        begun.set()
        await go.wait()

    async def drive(queue: WorkQueue) -> None:
        queue.wake(A)
        await begun.wait()
        for _ in range(20):
            queue.wake(A)
        go.set()
        await asyncio.sleep(0.1)
        assert count == 2

    serve(reconcile, drive)


def test_an_error_backs_off_whatever_wakes_the_key_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "BACKOFF_FIRST", 0.1)
    times: dict[Key, list[float]] = {A: [], B: []}

    async def reconcile(key: Key) -> None:
        times[key].append(asyncio.get_running_loop().time())
        if key == A and len(times[A]) < 4:
            raise RuntimeError("no")

    async def drive(queue: WorkQueue) -> None:
        while len(times[A]) < 4:
            queue.wake(A)
            queue.wake(B)
            await asyncio.sleep(0.002)
        gaps = [after - before for before, after in zip(times[A], times[A][1:], strict=False)]
        assert all(gap >= 0.99 * floor for gap, floor in zip(gaps, (0.1, 0.2, 0.4), strict=True))
        assert len(times[B]) > len(times[A])
        await asyncio.sleep(0.02)
        assert queue.failures == {}

    serve(reconcile, drive)


def test_many_failures_neither_overflow_nor_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(work, "BACKOFF_MOST", 0.001)

    async def reconcile(key: Key) -> None:
        waits.append(0.0)
        raise RuntimeError("no")

    async def drive(queue: WorkQueue) -> None:
        queue.failures[A] = 5000
        queue.wake(A)
        while len(waits) < 3:
            await asyncio.sleep(0.001)

    serve(reconcile, drive)


def test_a_reconcile_can_ask_for_the_next_and_an_event_comes_first() -> None:
    count = 0

    async def reconcile(key: Key) -> float | None:
        nonlocal count
        count += 1
        return {1: 0.02, 2: 60.0}.get(count)

    async def drive(queue: WorkQueue) -> None:
        queue.wake(A)
        await asyncio.sleep(0.1)
        assert count == 2
        queue.wake(A)
        await asyncio.sleep(0.05)
        assert count == 3

    serve(reconcile, drive)


def test_large_searches_go_one_by_one_and_keep_no_small_one_waiting() -> None:
    large = [("n", f"large-{number}") for number in range(12)]
    running: set[Key] = set()
    done: list[Key] = []
    small_done = asyncio.Event()

    async def reconcile(key: Key) -> None:
        if key in large:
            running.add(key)
            assert len(running) == 1
            await small_done.wait()  # more large ones than workers wait, and the small one still has its turn
            await asyncio.sleep(0)
            running.discard(key)
        else:
            small_done.set()
        done.append(key)

    async def drive(queue: WorkQueue) -> None:
        for key in large:
            queue.wake(key)
        while not running:
            await asyncio.sleep(0.001)
        queue.wake(A)
        for key in large:
            queue.wake(key)  # they wait already, but for the one that runs
        assert queue.depth == len(large)
        while len(done) < len(large) + 2:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        assert sorted(done) == sorted([A, *large, large[0]])
        assert queue.depth == 0

    serve(reconcile, drive, lambda key: 5000 if key in large else 3)


def test_a_large_search_whose_reconcile_fails_lets_the_next_one_have_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "BACKOFF_FIRST", 60.0)
    done: list[Key] = []

    async def reconcile(key: Key) -> None:
        if key == A:
            raise RuntimeError("no")
        done.append(key)

    async def drive(queue: WorkQueue) -> None:
        queue.wake(A)
        queue.wake(B)
        while not done:
            await asyncio.sleep(0.001)

    serve(reconcile, drive, lambda _: 5000)
