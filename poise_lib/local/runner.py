"""Run a search on this machine: observe, plan, apply, wait; until nothing is left to do.

One process runs the loop and holds the objects in memory; each is written to disk before anything is built on it.
Tasks are child processes.  Killed at any moment, the next run finds the objects, and finished tasks' results in the
artifact store; only work in flight is done again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from poise_lib.errors import SandboxError, StateError
from poise_lib.local.process import Outcome, RunningTask, run_task
from poise_lib.local.state import StateDir, merge_search
from poise_lib.resources import Candidate, Evaluation, Search
from poise_lib.resources.evaluation import FINAL_EVALUATION_PHASES, EvaluationPhase
from poise_lib.resources.search import Checkpoints
from poise_lib.sandbox import ForkServer
from poise_lib.search import Create, Observed, StartTask, TaskObservation, TaskState, Update, naming, plan
from poise_lib.search.status import FINAL_SEARCH_PHASES
from poise_lib.tasks.protocol import TaskKind, TaskRequest, TaskResult

TICK_SECONDS = 1.0
"""How often the clock is looked at while nothing ends: deadlines and the display."""


@dataclass(frozen=True)
class RunView:
    """What an observer may show."""

    search: Search
    candidates: dict[str, Candidate]
    evaluations: dict[str, Evaluation]
    running: tuple[RunningTask, ...]
    elapsed: float
    """Seconds since this run started."""


class Observer(Protocol):
    """Told what happens; must not block."""

    def on_update(self, view: RunView) -> None:
        """Something changed, or a second has passed."""

    def on_event(self, text: str) -> None:
        """A sentence for people: a candidate ended, a task was lost."""


class Interrupted(Exception):
    """The user asked to stop; the state is whole, and the same command goes on."""


class _Run:
    """The loop's state; lives as long as one call of :func:`run_search`."""

    def __init__(
        self, search: Search, state: StateDir, workers: int, observer: Observer, token: str, fork_server: Path | None
    ) -> None:
        self.search = search
        self.state = state
        self.workers = workers
        self.observer = observer
        self.token = token
        self.fork_server = fork_server
        self.started = time.monotonic()
        self.candidates = {item.metadata.name: item for item in state.candidates()}
        self.evaluations = {item.metadata.name: item for item in state.evaluations()}
        self.lost = state.lost_attempts()
        self.lost_seconds: dict[str, float] = {}
        self.results: dict[str, TaskResult] = {}
        self.running: dict[str, RunningTask] = {}
        self.jobs: dict[asyncio.Task[Outcome], RunningTask] = {}

    def observe(self) -> Observed:
        """The snapshot that the planner sees."""
        tasks = {
            name: TaskObservation(name, TaskState.LOST, None, len(why), why[-1], self.lost_seconds.get(name))
            for name, why in self.lost.items()
        }
        for name in self.running:
            tasks[name] = TaskObservation(name, TaskState.RUNNING)
        for name, result in self.results.items():
            tasks[name] = TaskObservation(name, TaskState.ENDED, result)
        return Observed(self.search, self.candidates, self.evaluations, tasks, time.time())

    def view(self) -> RunView:
        """The snapshot that observers see."""
        elapsed = time.monotonic() - self.started
        running = tuple(self.running.values())
        return RunView(self.search, self.candidates, self.evaluations, running, elapsed)

    def advance(self) -> bool:
        """Plan and apply once; whether anything was changed or started."""
        changed = False
        for action in plan(self.observe()):
            match action:
                case Create(resource) | Update(resource):
                    self._write(resource)
                    changed = True
                case StartTask(request):
                    changed = self._start(request) or changed
        return changed

    def _write(self, resource: Search | Candidate | Evaluation) -> None:
        self.state.write(resource)
        if isinstance(resource, Search):
            self.search = resource
        elif isinstance(resource, Candidate):
            before = self.candidates.get(resource.metadata.name)
            self.candidates[resource.metadata.name] = resource
            if before is not None and before.status.phase is not resource.status.phase:
                self._tell(resource)
        else:
            self.evaluations[resource.metadata.name] = resource
            self._retain(resource)

    def _tell(self, candidate: Candidate) -> None:
        status, title = candidate.status, candidate.spec.proposal.title
        score = f" {status.utility:.1f}" if status.utility is not None else ""
        why = f": {status.message}" if status.message else ""
        self.observer.on_event(f"{candidate.metadata.name} {title}: {status.phase.value}{score}{why}")

    def _retain(self, evaluation: Evaluation) -> None:
        """Drop weights that are scored and not wanted; see spec.retention."""
        wanted = self.search.spec.retention.checkpoints
        policy = evaluation.status.policy
        if wanted is not Checkpoints.NONE or policy is None or evaluation.status.phase is not EvaluationPhase.COMPLETE:
            return
        # Candidates that behave alike train to the same weights, and the other may have yet to be scored.
        others = (run for run in self.evaluations.values() if run.status.policy == policy)
        if all(run.status.phase in FINAL_EVALUATION_PHASES for run in others):
            self.state.artifacts.remove(policy)

    def _train_again(self, request: TaskRequest) -> bool:
        """Whether the weights to score are gone, so that their evaluation goes back to its training."""
        policy = request.input.get("policy")
        if request.kind is not TaskKind.SCORE or policy is None or self.state.artifacts.has(policy):
            return False
        for run in [item for item in self.evaluations.values() if item.status.policy == policy]:
            if run.status.phase not in FINAL_EVALUATION_PHASES:
                self._write(run.model_copy(update={"status": type(run.status)()}))
                self.results.pop(naming.run_task(run.metadata.name, TaskKind.TRAIN), None)
        return True

    def _start(self, request: TaskRequest) -> bool:
        kept = self.state.artifacts.result(request.digest)
        if kept is not None:
            self.results[request.name] = TaskResult.model_validate(kept)
            return True
        if self._train_again(request):
            return True
        if len(self.running) >= self.workers:
            return False
        task = RunningTask(request)
        self.running[request.name] = task
        job = asyncio.create_task(run_task(task, self.state, self.token, self._progressed, self.fork_server))
        self.jobs[job] = task
        return True

    def _progressed(self) -> None:
        self.observer.on_update(self.view())

    async def wait(self) -> None:
        """Until a task ends or a tick has passed; takes in what ended."""
        done, _ = await asyncio.wait(self.jobs, timeout=TICK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for job in done:
            task = self.jobs.pop(job)
            name = task.request.name
            del self.running[name]
            outcome = job.result()
            if outcome.result is not None:
                self.results[name] = outcome.result
                continue
            self.lost[name] = [*self.lost.get(name, []), outcome.problem]
            self.lost_seconds[name] = task.seconds
            self.state.record_lost(name, self.lost[name])
            self.observer.on_event(f"{name}: attempt {len(self.lost[name])} lost: {outcome.problem}")

    async def cancel(self) -> None:
        """End all tasks in flight."""
        for job in self.jobs:
            job.cancel()
        await asyncio.gather(*self.jobs, return_exceptions=True)
        self.jobs.clear()
        self.running.clear()


async def _loop(run: _Run) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
    try:
        while not stop.is_set():
            while run.advance():
                run.observer.on_update(run.view())
                await asyncio.sleep(0)
                if stop.is_set():
                    break
            if stop.is_set() or not run.jobs:
                break
            waiter = asyncio.ensure_future(run.wait())
            stopper = asyncio.ensure_future(stop.wait())
            await asyncio.wait({waiter, stopper}, return_when=asyncio.FIRST_COMPLETED)
            stopper.cancel()
            if not waiter.done():
                waiter.cancel()
                await asyncio.gather(waiter, return_exceptions=True)
            else:
                waiter.result()
            run.observer.on_update(run.view())
    finally:
        # The default handlers come back first: a second Ctrl-C ends the process at once.
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
                loop.remove_signal_handler(number)
        await run.cancel()
    if stop.is_set():
        raise Interrupted


@contextlib.contextmanager
def _fork_server() -> Iterator[Path | None]:
    """Where sandboxed children are forked; None where a fork server cannot be had, and each child starts by itself."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(ForkServer())
        except SandboxError:
            yield None
        else:
            yield server.address


def _refuse_foreign(run: _Run) -> None:
    name = run.search.metadata.name
    foreign = [item.metadata.name for item in run.candidates.values() if item.spec.search != name]
    if foreign:
        raise StateError(
            f"{run.state.root}: holds candidates of another search: {', '.join(foreign[:3])}; choose another --state"
        )


def run_search(search: Search, state: Path, *, workers: int | None = None, observer: Observer) -> Search:
    """Run a search to its end, or go on with the one that ``state`` holds.

    Args:
        search: the manifest; its status is ignored in favour of the directory's.
        state: the state directory; made when missing.
        workers: tasks at the same time; by default as many as there are cores, never above ``budget.concurrent``.
        observer: told of progress.

    Returns:
        The search as it ended (or as it stands when it is suspended).

    Raises:
        Interrupted: SIGINT or SIGTERM; the same call goes on.
        InvalidInputError: the manifest contradicts the running search.
        StateError: the directory is in use, damaged, full, or holds another search.
    """
    directory = StateDir(state)
    token = secrets.token_hex(16)
    with directory.lock(token):
        merged = merge_search(search, directory)
        directory.write(merged)
        directory.forget_lost()
        limit = workers if workers is not None else os.cpu_count() or 1
        with _fork_server() as fork_server:
            run = _Run(merged, directory, max(1, limit), observer, token, fork_server)
            _refuse_foreign(run)
            asyncio.run(_loop(run))
        if run.search.status.phase in FINAL_SEARCH_PHASES:
            directory.forget_checkpoints()
        return run.search
