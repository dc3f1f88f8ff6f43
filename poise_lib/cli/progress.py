"""What ``poise run`` shows while it runs: a live panel on a terminal, plain lines elsewhere.

Both are observers of the local runner and write to stderr; stdout belongs to the result.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from poise_lib.cli.lineage import short_name
from poise_lib.cli.money import gpu_line, long_line, short_line
from poise_lib.cli.text import duration, number, plural, signed
from poise_lib.plain import clean
from poise_lib.resources import Search
from poise_lib.resources.base import seconds
from poise_lib.resources.candidate import FINAL_CANDIDATE_PHASES, CandidatePhase
from poise_lib.resources.evaluation import FINAL_EVALUATION_PHASES, Fidelity
from poise_lib.resources.search import SearchPhase

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from poise_lib.local.process import RunningTask
    from poise_lib.local.runner import RunView

_EVENTS = 6
"""Last events that the live panel keeps in sight."""
_QUIET_SECONDS = 30.0
"""Longest silence of the plain observer."""


@dataclass(frozen=True)
class Standing:
    """What a view amounts to, ready to be shown."""

    headline: str
    counts: str
    best: str
    time: str
    model: str = ""
    """What the language model has cost so far; empty while none is asked."""
    gpus: str = ""
    """GPU hours so far; empty for an engine that uses none."""


class Clock:
    """Estimates the time left from what was done in this run; what was done before does not count as fast."""

    def __init__(self) -> None:
        self._done_before: int | None = None

    def left(self, view: RunView) -> float | None:
        """Seconds until the end at the present pace, None when there is no pace yet.

        A deadline of the search bounds it until confirmation begins.
        """
        done, total = work(view)
        if self._done_before is None:
            self._done_before = done
        fresh = done - self._done_before
        left = (total - done) * view.elapsed / fresh if fresh > 0 and total > done else None
        deadline = view.search.spec.budget.deadline
        if left is not None and deadline is not None and view.search.status.phase is SearchPhase.SEARCHING:
            confirmations = confirmation_runs(view) * view.elapsed / fresh
            left = min(left, max(0.0, seconds(deadline) - since_start(view)) + confirmations)
        return left


def confirmation_runs(view: RunView) -> int:
    """Training runs of the confirmation: the best and the baseline, every seed."""
    confirmation = view.search.spec.evaluation.confirmation
    return (confirmation.top + 1) * confirmation.seeds if confirmation.top else 0


def work(view: RunView) -> tuple[int, int]:
    """Training runs done, and expected in all; a candidate that never trained counts as if it had."""
    spec = view.search.spec
    finished = sum(item.status.phase in FINAL_CANDIDATE_PHASES for item in view.candidates.values())
    confirmed = sum(
        run.spec.fidelity is Fidelity.CONFIRM and run.status.phase in FINAL_EVALUATION_PHASES
        for run in view.evaluations.values()
    )
    searching = view.search.status.phase in (SearchPhase.PENDING, SearchPhase.SEARCHING)
    candidates = spec.budget.candidates if searching else finished
    return finished * spec.evaluation.seeds + confirmed, candidates * spec.evaluation.seeds + confirmation_runs(view)


def since_start(view: RunView) -> float:
    """Seconds since the search was started, which may lie before this run."""
    from datetime import UTC, datetime

    started = view.search.status.start_time
    if started is None:
        return view.elapsed
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(started.replace("Z", "+00:00"))).total_seconds()
    except (ValueError, TypeError):
        return view.elapsed


def standing(view: RunView, left: float | None) -> Standing:
    """The view in four lines."""
    search = view.search
    finished = sum(item.status.phase in FINAL_CANDIDATE_PHASES for item in view.candidates.values())
    headline = f"{search.metadata.name}: {search.status.phase.value.lower()}"
    if search.status.phase is SearchPhase.SEARCHING:
        headline += f", round {search.status.round}"
    headline += f", {finished} of {search.spec.budget.candidates} candidates"
    phases = Counter(item.status.phase for item in view.candidates.values())
    counts = ", ".join(f"{phases[phase]} {phase.value.lower()}" for phase in CandidatePhase if phases[phase])
    remaining = f", about {duration(left)} left" if left is not None else ""
    ledger = search.status.ledger
    return Standing(
        headline,
        counts or "nothing yet",
        best_line(view),
        f"{duration(view.elapsed)} so far{remaining}",
        long_line(ledger) if ledger is not None else "",
        gpus_line(search),
    )


def gpus_line(search: Search) -> str:
    """GPU hours so far; empty for an engine that uses none."""
    gpus = search.status.gpus
    return gpu_line(gpus, search.spec.budget.gpu_hours) if gpus is not None else ""


def objective_news(view: RunView, before: str) -> str | None:
    """How the directive is read, when that was not told yet or has become more exact; None when there is no news."""
    found = view.search.status.objective
    return found.text if found is not None and found.text and found.text != before else None


def best_line(view: RunView) -> str:
    """The best so far against the baseline; the leader by utility until the search names one."""
    archived = [item for item in view.candidates.values() if item.status.utility is not None]
    if not archived:
        return "no score yet"
    name = view.search.status.best.candidate if view.search.status.best else None
    best = next((item for item in archived if item.metadata.name == name), None)
    best = best or max(archived, key=lambda item: (item.status.utility or 0.0, item.metadata.name))
    baseline = next((item for item in archived if not item.spec.parents), None)
    text = f"{number(best.status.utility)} {clean(best.spec.proposal.title)} ({best.metadata.name})"
    if baseline is None or baseline is best or baseline.status.utility is None or best.status.utility is None:
        return text
    gain = best.status.utility - baseline.status.utility
    return f"{text}, {signed(gain)} against {clean(baseline.spec.proposal.title)} {number(baseline.status.utility)}"


def task_line(task: RunningTask, search: str) -> tuple[str, str, str]:
    """Kind, object and progress of a running task."""
    done, total = task.progress.get("step"), task.progress.get("total", task.progress.get("steps"))
    progress = f"step {done} of {total}" if _is_count(done) and _is_count(total) else ""
    name = short_name(search, task.request.name).removesuffix(f"-{task.request.kind.value}")
    return task.request.kind.value, clean(name), progress


def _is_count(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class PlainObserver:
    """A line for what happens, and one now and then while nothing does."""

    def __init__(self) -> None:
        self._clock = Clock()
        self._last = -_QUIET_SECONDS
        self._round = -1
        self._elapsed = 0.0
        self._objective = ""

    def __enter__(self) -> PlainObserver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def on_update(self, view: RunView) -> None:
        """Tell of a new round at once, of the standing every half minute."""
        self._elapsed = view.elapsed
        if (told := objective_news(view, self._objective)) is not None:
            self._objective = told
            self._say(told)
        left = self._clock.left(view)
        news = view.search.status.round != self._round
        if not news and view.elapsed - self._last < _QUIET_SECONDS:
            return
        self._round, self._last = view.search.status.round, view.elapsed
        now = standing(view, left)
        tasks = plural(len(view.running), "task")
        ledger = view.search.status.ledger
        model = f"; model {short_line(ledger)}" if ledger is not None else ""
        gpus = f"; {now.gpus}" if now.gpus else ""
        self._say(f"{now.headline}; best {now.best}{model}{gpus}; {tasks} running, {now.time}")

    def on_event(self, text: str) -> None:
        """Tell at once."""
        self._last = self._elapsed
        self._say(text)

    def _say(self, text: str) -> None:
        click.echo(f"[{duration(self._elapsed):>6}] {clean(text)}", err=True)


class LiveObserver:
    """A panel that is redrawn in place; events scroll by above it."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._clock = Clock()
        self._console = console
        self._events: deque[str] = deque(maxlen=_EVENTS)
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._drawn = 0.0
        self._objective = ""

    def __enter__(self) -> LiveObserver:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def on_update(self, view: RunView) -> None:
        """Redraw, a few times a second at most."""
        if (told := objective_news(view, self._objective)) is not None:
            self._objective = told
            self._live.console.print(clean(told), markup=False, highlight=False)
        left = self._clock.left(view)
        now = time.monotonic()
        if now - self._drawn < 0.1:
            return
        self._drawn = now
        self._live.update(self._panel(view, left))

    def on_event(self, text: str) -> None:
        """Let the line scroll by."""
        from rich.text import Text

        self._live.console.print(Text(clean(text), style="dim"), overflow="ellipsis", no_wrap=True)

    def _panel(self, view: RunView, left: float | None) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        now = standing(view, left)
        done, total = work(view)
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="ellipsis", no_wrap=True)
        grid.add_row("search", Text(now.headline, style="bold"))
        grid.add_row("", ProgressBar(total=max(1, total), completed=min(done, total), width=40))
        grid.add_row("candidates", Text(now.counts))
        grid.add_row("best", Text(now.best, style="green" if view.search.status.best else ""))
        if now.model:
            grid.add_row("model", Text(now.model))
        if now.gpus:
            grid.add_row("GPUs", Text(now.gpus))
        for index, task in enumerate(sorted(view.running, key=lambda item: item.started)):
            kind, name, progress = task_line(task, view.search.metadata.name)
            text = Text.assemble((kind, "cyan"), f" {name} {progress} ", (duration(task.seconds), "dim"))
            grid.add_row("running" if index == 0 else "", text)
        grid.add_row("time", Text(f"{now.time}; Ctrl-C stops, the same command goes on"))
        return grid


def observer(*, live: bool) -> PlainObserver | LiveObserver:
    """The observer for this stderr."""
    if not live:
        return PlainObserver()
    from rich.console import Console

    return LiveObserver(Console(stderr=True, highlight=False))
