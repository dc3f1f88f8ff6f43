"""One reconcile of a search at a time, coalesced; several searches side by side.

A search that is looked at often takes no more than its turn: keys wait in one line, and a key that is woken while it is
being reconciled goes to the end of that line once.  Large ones are looked at one at a time, whatever memory one takes, and
keep nobody waiting but each other.  One whose reconcile failed is left alone for a while, whatever
wakes it: the events may be of its own making.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from controller.cache import Key

BACKOFF_FIRST: Final = 0.5
BACKOFF_MOST: Final = 60.0
LARGE: Final = 1000
"""Objects of a search from which on it is a large one."""
SETTLE_SECONDS: Final = 0.02
"""Events of one change come in bursts; waiting this long turns a burst into one reconcile."""

log = structlog.get_logger()


@dataclass(slots=True)
class WorkQueue:
    """Keys in line, each at most once."""

    reconcile: Callable[[Key], Awaitable[float | None]]
    """Returns the seconds after which to look again, or None to wait for an event."""
    size: Callable[[Key], int] = lambda _: 0
    """How many objects a search has."""
    width: int = 16
    """Searches reconciled side by side."""
    failures: dict[Key, int] = field(default_factory=dict)
    _line: asyncio.Queue[Key] = field(default_factory=asyncio.Queue)
    _waiting: set[Key] = field(default_factory=set)
    _running: set[Key] = field(default_factory=set)
    _again: set[Key] = field(default_factory=set)
    _backing_off: set[Key] = field(default_factory=set)
    _timers: dict[Key, asyncio.TimerHandle] = field(default_factory=dict)
    _aside: deque[Key] = field(default_factory=deque)
    """Large ones whose turn came while another one was being looked at; they count as waiting."""
    _large: bool = False
    """Whether a large one is being looked at."""

    @property
    def depth(self) -> int:
        """Keys in line."""
        return len(self._waiting)

    def wake(self, key: Key) -> None:
        """Ask for a reconcile."""
        if key in self._backing_off:
            return
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        if key in self._running:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._line.put_nowait(key)

    def wake_later(self, key: Key, seconds: float) -> None:
        """Ask for a reconcile after a while, unless something wakes it earlier."""
        if key in self._waiting or key in self._again:
            return
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, self.wake, key)

    def _back_off(self, key: Key, seconds: float) -> None:
        self._again.discard(key)
        self._backing_off.add(key)
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, self._retry, key)

    def _retry(self, key: Key) -> None:
        self._backing_off.discard(key)
        self.wake(key)

    async def run(self) -> None:
        """Serve the line until cancelled."""
        workers = [asyncio.create_task(self._work()) for _ in range(self.width)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            for timer in self._timers.values():
                timer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            key = await self._line.get()
            await asyncio.sleep(SETTLE_SECONDS)
            large = self.size(key) >= LARGE
            if large and self._large:
                self._aside.append(key)
                continue
            self._large = self._large or large
            self._waiting.discard(key)
            self._running.add(key)
            later: float | None = None
            failed = False
            try:
                later = await self.reconcile(key)
                self.failures.pop(key, None)
            except Exception:
                failed = True
                count = self.failures[key] = self.failures.get(key, 0) + 1
                later = min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** min(count - 1, 10))
                log.exception("reconcile failed", namespace=key[0], search=key[1], attempt=count, again_in=later)
            finally:
                self._running.discard(key)
                if large:
                    self._large = False
                    if self._aside:
                        self._line.put_nowait(self._aside.popleft())
            if failed and later is not None:
                self._back_off(key, later)
            elif key in self._again:
                self._again.discard(key)
                self.wake(key)
            elif later is not None:
                self.wake_later(key, later)
