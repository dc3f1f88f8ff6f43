"""The figures of bench_controller: what each says, its goal, and whether it is met."""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.controller_probe import Counts, Delays, Started, Use, quantile
from benchmarks.controller_sample import Sample

DELAY_GOAL: Final = 1.0
IDLE_GOAL: Final = 120.0
LOADED_GOAL: Final = 300.0
CORES_GOAL: Final = 1.0
STAND_INS: Final = (
    "STAND-INS: kwok pretends to run pods; this process pretends to be their kubelet and prints made-up results of real "
    "size; archives are copies of one real candidate. Real: etcd, API server, Kubernetes' controllers, the operator."
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    group: str
    name: str
    value: float
    unit: str
    below: float | None = None
    """The goal: less than this; 0 means exactly nothing."""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.below is None:
            return None
        return self.value == 0 if self.below == 0 else self.value < self.below

    @property
    def goal(self) -> str:
        """The goal, as the table shows it."""
        if self.below is None:
            return ""
        return "0" if self.below == 0 else f"< {self.below:g}"

    @property
    def line(self) -> str:
        """As the table shows it."""
        verdict = {True: "met", False: "MISSED", None: ""}[self.met]
        number = f"{self.value:,.3g}" if abs(self.value) < 100 else f"{self.value:,.0f}"
        return f"  {self.name:44} {number:>8} {self.unit:5} {self.goal:>6} {verdict:6} {self.note}".rstrip()


@dataclass(slots=True)
class Figures:
    """All of them, in the order in which they were measured."""

    options: argparse.Namespace
    figures: list[Figure] = field(default_factory=list)
    delays: dict[str, list[float]] = field(default_factory=dict)
    """Every delay from a Job's end to the next Job, by group."""
    requests: dict[str, dict[str, int]] = field(default_factory=dict)
    """The controller's requests by verb and resource, by group."""
    load: list[float] = field(default_factory=lambda: [os.getloadavg()[0]])
    niceness: int = 0
    """The largest of this process: somebody may have put it behind everything else."""
    group: str = ""

    def _add(self, name: str, value: float, unit: str, below: float | None = None, note: str = "") -> None:
        figure = Figure(self.group, name, value, unit, below, note)
        self.figures.append(figure)
        print(f"  {self.group}: {figure.line.strip()}", file=sys.stderr, flush=True)

    def _begin(self, group: str, counts: Counts | None = None) -> None:
        self.group = group
        self.load.append(os.getloadavg()[0])
        self.niceness = max(self.niceness, os.getpriority(os.PRIO_PROCESS, 0))
        if counts is not None:
            found = sorted(counts.requests.items(), key=lambda item: -item[1])
            self.requests[group] = {f"{verb} {resource}": count for (verb, resource), count in found}

    def _use(self, use: Use, memory: float, cores: float | None = CORES_GOAL) -> None:
        self._add("resident memory, peak", use.peak, "MB", memory, f"{use.rss:.0f} MB at the end")
        self._add("CPU", use.cores, "cores", cores, f"busiest 5 s: {use.busiest:.2f}; over {use.seconds:.0f} s")

    def _delays(self, delays: Delays) -> None:
        self.delays[self.group] = list(delays.after_job)
        for name, values in (("Job complete", delays.after_job), ("Evaluation complete", delays.after_evaluation)):
            note = f"of {len(values)}; largest {max(values, default=math.nan):.2f} s"
            self._add(f"{name} -> next Job, p50", quantile(values, 0.5), "s")
            self._add(f"{name} -> next Job, p99", quantile(values, 0.99), "s", DELAY_GOAL, note)

        late = f"largest {max(delays.lags, default=math.nan):.2f} s"
        self._add("lateness of this process itself, p99", quantile(delays.lags, 0.99), "s", None, late)

    def _per_task(self, delays: Delays, use: Use) -> None:
        self._add("CPU time a task", 1000 * use.cores * use.seconds / max(1, delays.jobs), "ms")

    def _work(self, counts: Counts) -> None:
        self._add("requests a reconcile", counts.per_reconcile, "", None, f"{counts.reconciles:.0f} reconciles")
        mean = 1000 * counts.seconds / counts.reconciles if counts.reconciles else math.nan
        self._add("time of a reconcile, mean", mean, "ms")
        self._add("reconciles that ended in an error", counts.errors, "", 0)

    def idle(self, started: Started, use: Use) -> None:
        """A controller in an empty cluster."""
        self._begin("idle")
        self._add("start -> ready (lease held)", started.ready, "s")
        self._use(use, IDLE_GOAL)

    def latency(self, searches: int, delays: Delays, use: Use, counts: Counts, seconds: float) -> None:
        """So many searches at once, from the first manifest to the last end."""
        self._begin(f"{searches} active search{'es' * (searches > 1)}", counts)
        self._delays(delays)
        self._add("tasks a second", delays.jobs / seconds, "1/s", None, f"{delays.jobs} tasks in {seconds:.0f} s")
        self._use(use, LOADED_GOAL)
        self._per_task(delays, use)
        self._work(counts)

    def first_start(self, candidates: int, started: Started) -> None:
        """The first start with an archive, whose searches had no status of their own yet."""
        self._begin(f"{candidates:,} candidates: first start")
        self._started(started)

    def never(self, candidates: int, what: str, peak: float) -> None:
        """It was waited for in vain."""
        self._begin(f"{candidates:,} candidates: given up")
        self._add(what, math.inf, "s", 0)
        self._add("resident memory, peak", peak, "MB", LOADED_GOAL, "by then")

    def _started(self, started: Started) -> None:
        self._add("start -> ready (lease held)", started.ready, "s")
        self._add("start -> first reconcile done", started.first, "s")
        self._add("start -> every search reconciled", started.every, "s")
        self._add("CPU time by then", started.cpu, "s")
        self._add("resident memory, peak", started.peak, "MB", LOADED_GOAL, "while starting")

    def restart(self, candidates: int, started: Started, counts: Counts, changed: int) -> None:
        """A start when all is as it should be."""
        self._begin(f"{candidates:,} candidates: start", counts)
        self._started(started)
        self._work(counts)
        self._unrest(counts, changed)

    def _unrest(self, counts: Counts, changed: int) -> None:
        what = ", ".join(f"{count} {verb} {resource}" for (verb, resource), count in counts.writes.items())
        self._add("requests that write (no lease, no events)", counts.writes.total(), "", 0, what)
        self._add("objects that changed", changed, "", 0)

    def quiet(self, candidates: int, use: Use, counts: Counts) -> None:
        """A while in which nothing happens."""
        self._begin(f"{candidates:,} candidates: quiet", counts)
        self._use(use, LOADED_GOAL)
        self._add("reconciles", counts.reconciles, "")

    def poked(self, touched: int, counts: Counts, changed: int, cost: tuple[float, float]) -> None:
        """Objects were touched to no effect."""
        self._begin(f"{self.group.partition(':')[0]}: {touched} objects touched", counts)
        self._work(counts)
        self._unrest(counts, changed)
        self._add("CPU time", cost[0], "s", None, f"in {cost[1]:.0f} s")

    def active(self, candidates: int, own: int, delays: Delays, use: Use, counts: Counts) -> None:
        """One of the searches goes on."""
        self._begin(f"{candidates:,} candidates: a search of {own:,} goes on", counts)
        self._delays(delays)
        self._use(use, LOADED_GOAL)
        self._per_task(delays, use)
        self._work(counts)

    def table(self) -> str:
        """For people."""
        candidate, evaluation = Sample.load().sizes
        lines = [STAND_INS, ""]
        group = ""
        for figure in self.figures:
            if figure.group != group:
                group = figure.group
                lines.append(group)
            lines.append(figure.line)
        mean = statistics.mean(self.load)
        lines += [
            "",
            f"a candidate has {candidate:,} bytes, its evaluation {evaluation:,}; seed {self.options.seed}",
            f"{os.cpu_count()} cores shared by all of the cluster and whatever else ran: load {mean:.1f}, niceness {self.niceness}",
        ]
        return "\n".join(lines)

    def document(self) -> dict[str, Any]:
        """For programs."""
        candidate, evaluation = Sample.load().sizes
        options = {name: value for name, value in vars(self.options).items() if name not in ("json", "plot")}
        return {
            "standIns": STAND_INS,
            "options": options,
            "cores": os.cpu_count(),
            "niceness": self.niceness,
            "load": [round(value, 2) for value in self.load],
            "bytes": {"candidate": candidate, "evaluation": evaluation},
            "figures": [
                {
                    "group": one.group, "name": one.name, "value": round(one.value, 4) if math.isfinite(one.value) else None,
                    "unit": one.unit, "goalBelow": one.below, "met": one.met, "note": one.note,
                }
                for one in self.figures
            ],
            "requests": self.requests,
            "delays": {group: [round(value, 4) for value in values] for group, values in self.delays.items()},
        }  # fmt: skip

    def plot(self, file: Path) -> None:
        """The delays from a Job's end to the next Job: which share of them is at most so long."""
        import matplotlib as mpl

        mpl.use("Agg")
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
        for group, values in self.delays.items():
            if values:
                axes.ecdf(values, label=f"{group} ({len(values)})")
        axes.axvline(DELAY_GOAL, color="black", linestyle=":", label="goal for the 99th percentile")
        axes.axhline(0.99, color="grey", linewidth=0.5)
        axes.set(xscale="log", xlabel="seconds from a Job's end to the next Job", ylabel="share at most so long")
        axes.legend(fontsize="small")
        figure.savefig(file, dpi=120)
