"""What bench_controller reads off the controller's process from outside: delays, CPU and memory, requests."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.controller_api import Document
from poise_lib.names import LABEL_SEARCH

WRITES: Final = ("create", "update", "patch", "delete")
ASIDE: Final = ("leases.coordination.k8s.io", "events")
"""Resources whose writes are not a sign of unrest."""
_NAP: Final = 0.05
Requests = Counter[tuple[str, str]]
"""Requests by (verb, resource)."""


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


@dataclass(slots=True)
class Delays:
    """From the end of one step of a search to the creation of its next Job, as a watch of our own sees both.

    Every search here has ``budget.concurrent: 1``, so the Job that comes after an end is the one that this end allowed.
    The last Job of a search has none after it and is not counted.
    """

    after_job: list[float] = field(default_factory=list)
    """From the Job's condition Complete: reading the log, judging, all writes of statuses, then the next Job."""
    after_evaluation: list[float] = field(default_factory=list)
    """From the Evaluation's status.phase Complete, which the controller itself writes on the way."""
    by_kind: dict[str, list[float]] = field(default_factory=dict)
    """As ``after_job``, by the kind of task that had ended."""
    lags: list[float] = field(default_factory=list)
    """How late this process woke from short sleeps: the error of all the above, and how short of CPU the machine was."""
    jobs: int = 0
    """Jobs that completed."""
    _jobs: dict[str, tuple[float, str]] = field(default_factory=dict)
    _evaluations: dict[str, float] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def saw_job(self, event: str, job: Document) -> None:
        """Take an event of the watch of Jobs."""
        now = time.perf_counter()
        search = job["metadata"]["labels"][LABEL_SEARCH]
        if event == "ADDED":
            if (ended := self._jobs.pop(search, None)) is not None:
                self.after_job.append(now - ended[0])
                self.by_kind.setdefault(ended[1], []).append(now - ended[0])
            if (finished := self._evaluations.pop(search, None)) is not None:
                self.after_evaluation.append(now - finished)
            return
        uid = job["metadata"]["uid"]
        conditions = job.get("status", {}).get("conditions", ())
        complete = any(item["type"] == "Complete" and item["status"] == "True" for item in conditions)
        if event == "MODIFIED" and complete and uid not in self._seen:
            self._seen.add(uid)
            self.jobs += 1
            self._jobs[search] = now, job["metadata"]["labels"]["poise.dev/task-kind"]

    def saw_evaluation(self, event: str, evaluation: Document) -> None:
        """Take an event of the watch of Evaluations."""
        now = time.perf_counter()
        uid = evaluation["metadata"]["uid"]
        if event == "MODIFIED" and evaluation["status"].get("phase") == "Complete" and uid not in self._seen:
            self._seen.add(uid)
            self._evaluations[evaluation["spec"]["search"]] = now

    async def feel(self) -> None:
        """Measure our own lateness, until cancelled."""
        while True:
            due = time.perf_counter() + _NAP
            await asyncio.sleep(_NAP)
            self.lags.append(time.perf_counter() - due)

    def reset(self) -> None:
        """Forget what was measured, and what is under way."""
        for memory in (self.after_job, self.after_evaluation, self.by_kind, self.lags, self._jobs, self._evaluations):
            memory.clear()
        self.jobs = 0


@dataclass(frozen=True, slots=True)
class Use:
    """CPU and memory of a process over a while."""

    seconds: float
    cores: float
    """CPU time over wall time."""
    busiest: float
    """The same over the busiest five seconds or so."""
    rss: float
    """Resident memory at the end, MB (10^6 bytes)."""
    peak: float
    """Most resident memory at any moment of it, MB."""


@dataclass(frozen=True, slots=True)
class Started:
    """A start of the controller; seconds since its process was made."""

    ready: float
    """It holds the lease."""
    first: float
    """One search was reconciled."""
    every: float
    """All were."""
    cpu: float
    """CPU time by then, which others on the machine change less than the time."""
    peak: float
    """Most resident memory by then, MB."""


class Process:
    """One process, read from /proc."""

    def __init__(self, pid: int) -> None:
        self._folder = Path("/proc") / str(pid)
        self._ticks = os.sysconf("SC_CLK_TCK")

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / self._ticks

    def _memory(self, name: str) -> float:
        lines = (self._folder / "status").read_text().splitlines()
        found = [int(line.split()[1]) for line in lines if line.startswith(f"{name}:")]
        if not found:
            raise RuntimeError("the controller has ended")  # what is left of a process has no memory
        return found[0] * 1024 / 1e6

    def rss(self) -> float:
        """Resident memory now, MB."""
        return self._memory("VmRSS")

    def peak(self) -> float:
        """Most since the start, or since the last :meth:`forget_peak`."""
        return self._memory("VmHWM")

    def forget_peak(self) -> None:
        """Begin a new peak."""
        (self._folder / "clear_refs").write_text("5")

    async def watch(self, until: asyncio.Event | float, every: float = 5.0) -> Use:
        """Look at it for so many seconds, or until the event."""
        self.forget_peak()
        began, cpu = time.perf_counter(), self.cpu()
        last, before, busiest = began, cpu, 0.0
        limit = began + until if isinstance(until, float) else math.inf
        done = asyncio.Event() if isinstance(until, float) else until
        while not done.is_set() and last < limit:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), min(every, limit - last))
            now, used = time.perf_counter(), self.cpu()
            if now - last > every / 2:  # the last piece may be too short to say anything
                busiest = max(busiest, (used - before) / (now - last))
            last, before = now, used
        seconds = last - began
        cores = (before - cpu) / seconds
        return Use(seconds, cores, max(busiest, cores), self.rss(), self.peak())


@dataclass(frozen=True, slots=True)
class Counts:
    """The controller's own counters at one moment."""

    reconciles: float
    errors: float
    seconds: float
    """Time in reconciles."""
    requests: Requests
    tasks: float

    def __sub__(self, other: Counts) -> Counts:
        requests = Requests(self.requests)
        requests.subtract(other.requests)
        return Counts(
            self.reconciles - other.reconciles,
            self.errors - other.errors,
            self.seconds - other.seconds,
            Requests({key: count for key, count in requests.items() if count}),
            self.tasks - other.tasks,
        )

    @property
    def writes(self) -> Requests:
        """Requests that write, leases and events aside."""
        found = {key: count for key, count in self.requests.items() if key[0] in WRITES and key[1] not in ASIDE}
        return Requests(found)

    @property
    def per_reconcile(self) -> float:
        """Requests a reconcile, the lease's aside; the minute's audit is among them."""
        own = sum(count for (_, resource), count in self.requests.items() if resource != ASIDE[0])
        return own / self.reconciles if self.reconciles else math.nan


class Pages:
    """The controller's HTTP server."""

    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self._root = f"http://127.0.0.1:{port}"
        self._session = session

    async def ready(self) -> bool:
        """Whether it holds the lease."""
        try:
            async with self._session.get(f"{self._root}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def counts(self) -> Counts:
        """Its metrics."""
        async with self._session.get(f"{self._root}/metrics") as response:
            text = await response.text()
        values: Counter[str] = Counter()
        requests = Requests()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                values[sample.name] += sample.value  # type: ignore[assignment]
                if sample.name == "poise_api_requests_total":
                    requests[sample.labels["verb"], sample.labels["resource"]] = int(sample.value)
        return Counts(
            values["poise_reconcile_seconds_count"],
            values["poise_reconcile_errors_total"],
            values["poise_reconcile_seconds_sum"],
            requests,
            values["poise_tasks_total"],
        )
