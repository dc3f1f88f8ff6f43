"""Turn calibration runs into docs/evidence/calibration.md: each target beside the figure measured, and its verdict."""

from __future__ import annotations

import json
import os
import random
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import calibration_plots
import calibration_stats as stats
import numpy as np

from poise_lib.evaluation import trajectory as names
from poise_lib.evaluation.nano.config import FULL
from poise_lib.evaluation.nano.suite import BENCHMARKS, stream
from poise_lib.evaluation.nano.task import MODULUS

BASELINE = "grpo"
CONTROL = "control-"
CONFIRM_SEEDS = 8
CONFIRM_TOP = 3


@dataclass(frozen=True)
class Runs:
    """Finished runs, by algorithm, on the seeds that all of the zoo has."""

    rows: Sequence[dict[str, Any]]

    @cached_property
    def seeds(self) -> list[int]:
        """Seeds on which every algorithm has finished."""
        per_algorithm = [{row["seed"] for row in self.rows if row["algorithm"] == name} for name in self.zoo]
        return sorted(set.intersection(*per_algorithm))

    @cached_property
    def zoo(self) -> list[str]:
        """Algorithms without the base and the controls."""
        found = {row["algorithm"] for row in self.rows if "error" not in row}
        return sorted(name for name in found if name != "base" and not name.startswith(CONTROL))

    def of(self, algorithm: str) -> list[dict[str, Any]]:
        """Its runs on the common seeds, in the order of the seeds."""
        chosen = [row for row in self.rows if row["algorithm"] == algorithm and row["seed"] in self.seeds]
        return sorted(chosen, key=lambda row: int(row["seed"]))

    def scores(self, algorithm: str, split: str = "search", metric: str = "overall") -> stats.Table:
        """[seeds] of one metric."""
        return np.array([row[split][metric] for row in self.of(algorithm)])

    def table(self, split: str) -> stats.Table:
        """[algorithms, seeds] of Overall."""
        return np.stack([self.scores(name, split) for name in self.zoo])

    def curve(self, algorithm: str, metric: str) -> stats.Table:
        """Mean over the seeds of a metric over training, [points]."""
        return np.mean([row["curves"][metric] for row in self.of(algorithm)], axis=0)


@dataclass(frozen=True)
class Target:
    """A target of the calibration, what was measured, and whether that meets it."""

    name: str
    wanted: str
    measured: str
    met: bool

    def row(self) -> str:
        return f"| {self.name} | {self.wanted} | {self.measured} | {'met' if self.met else 'MISSED'} |"


def targets(runs: Runs) -> list[Target]:
    """Every target, in the order in which the report shows them."""
    found = []
    table, confirm, baseline = runs.table("search"), runs.table("confirm"), runs.zoo.index(BASELINE)
    gain = stats.t_interval(runs.scores(BASELINE) - runs.scores("base"))
    found.append(
        Target("GRPO over the base, Overall", f"lower end > +5, {CONFIRM_SEEDS} seeds or more", str(gain), gain.low > 5)
    )
    ends = table[baseline]
    found.append(
        Target("GRPO ends below the ceiling", "<= 80", f"{ends.mean():.1f}, at most {ends.max():.1f}", ends.max() <= 80)
    )
    for split, scores in (("search", table), ("confirm", confirm)):
        agreement = stats.split_half_agreement(scores[stats.upper_half(scores)])
        spread = f"mean {np.mean(agreement):.2f}, worst {min(agreement):.2f} of {len(agreement)} splits"
        found.append(
            Target(
                f"Upper half ranks alike in disjoint halves of the seeds ({split})",
                "Spearman >= 0.6",
                spread,
                np.mean(agreement) >= 0.6,
            )
        )
        icc = stats.icc_consistency(scores)
        found.append(Target(f"One seed's worth, ICC(3,1) ({split})", ">= 0.5", f"{icc:.2f}", icc >= 0.5))
    everything, upper = np.arange(len(runs.zoo)), stats.upper_half(confirm)
    for label, rows in (("whole zoo", everything), ("upper half", upper)):
        deviation = stats.paired_deviation(confirm, baseline, rows)
        single = stats.detectable_difference(deviation, CONFIRM_SEEDS)
        joint = stats.detectable_difference(deviation, CONFIRM_SEEDS, CONFIRM_TOP)
        measured = f"{joint:.1f} with {CONFIRM_TOP} picked, {single:.1f} for one (deviation of a pair {deviation:.2f})"
        found.append(
            Target(f"Detected with 80% power, default confirmation ({label})", "<= 3 points", measured, joint <= 3)
        )
    found += _controls(runs)
    worst = max(row["train_cpu_seconds"] for name in runs.zoo for row in runs.of(name))
    mean = np.mean([row["train_cpu_seconds"] for name in runs.zoo for row in runs.of(name)])
    best = np.median([row["search_seconds"] for name in runs.zoo for row in runs.of(name)])
    found.append(
        Target(
            "Training and scoring, one core",
            "<= 30 s",
            f"{mean:.1f} s CPU of training (at most {worst:.1f}), {best:.1f} s wall of scoring on a shared machine",
            worst + best <= 30,
        )
    )
    return found


def _controls(runs: Runs) -> list[Target]:
    """What must fail, fails."""
    base, length = runs.scores("base"), runs.scores("base", metric="response_length")
    flipped, random = runs.scores(f"{CONTROL}flipped"), runs.scores(f"{CONTROL}random_advantages")
    longer = runs.scores(f"{CONTROL}length_only", metric="response_length")
    accuracy = runs.scores(f"{CONTROL}length_only")
    gain = stats.t_interval(random - base)
    return [
        Target(
            "Control: sign flipped collapses", "below the base", f"{flipped.mean():.1f}", flipped.max() < base.min() / 2
        ),
        Target("Control: random advantages do not gain", "no gain", str(gain), gain.low <= 0),
        Target(
            "Control: reward for length gains length only",
            "longer, not better",
            f"length {length.mean():.1f} to {longer.mean():.1f} tokens, Overall {accuracy.mean():.1f}",
            longer.min() > length.max() and accuracy.max() < base.min(),
        ),
    ]


def write_report(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write calibration.md and its plots."""
    runs = Runs(rows)
    text = [*_head(runs), *_ranking(runs), *_benchmarks(runs), *_regimes(runs), *_reruns(runs, folder), *_limits(runs)]
    (folder / "calibration.md").write_text("\n".join(text) + "\n")
    calibration_plots.means(runs.zoo, runs.table("search"), runs.scores("base"), folder / "calibration" / "means.png")
    calibration_plots.curves(runs, folder / "calibration" / "curves.png")
    calibration_plots.regimes(runs, folder / "calibration" / "regimes.png")
    print(f"wrote {os.fspath(folder / 'calibration.md')}")


def _head(runs: Runs) -> list[str]:
    """What was run, and the table of targets."""
    config, verdicts = FULL, targets(runs)
    missed = sum(not target.met for target in verdicts)
    return [
        "# Calibration of the embedded suite (chains-v1)",
        "",
        *_prose(
            f"""{len(runs.zoo)} algorithms of the zoo, 3 controls and the untrained base, each on the same
            {len(runs.seeds)} seeds: {config.steps} steps of {config.prompts_per_step} prompts x
            {config.group_size} responses, {config.epochs} epochs of {config.mini_batches} mini-batches, AdamW
            at {config.learning_rate:g}. Every run was trained in the sandbox and scored on the search and on
            the confirmation problems, as in a search.""",
            """Made by `python benchmarks/calibrate.py --workers 2 --seeds 8`; the data are in
            `calibration/runs.jsonl`.""",
        ),
        f"## Targets: {len(verdicts) - missed} met, {missed} missed",
        "",
        "| what | wanted | measured | verdict |",
        "|---|---|---|---|",
        *(target.row() for target in verdicts),
        "",
        *_prose(
            f"""Intervals are 95%, Student's t over the seeds. Seeds are crossed with algorithms (one seed means the
            same problems and the same random numbers for all), so differences are paired and the ICC is
            two-way, consistency. The upper half is chosen by the mean over all seeds; the agreement is
            Spearman's, over all splits of the seeds into equal halves. Power is that of a two-sided paired
            t-test at 5% over {CONFIRM_SEEDS} seeds, Bonferroni over {CONFIRM_TOP} when the best {CONFIRM_TOP}
            are confirmed.""",
        ),
    ]


def _ranking(runs: Runs) -> list[str]:
    """One line per algorithm, best first."""
    lines = ["## Overall by algorithm", "", "![means](calibration/means.png)", ""]
    lines.append("| algorithm | search [95%] | confirm | over GRPO, paired, confirm [95%] | length | format |")
    lines.append("|---|---|---|---|---|---|")
    order = [*np.array(runs.zoo)[np.argsort(-runs.table("search").mean(1))], "base"]
    order += [f"{CONTROL}{name}" for name in ("flipped", "length_only", "random_advantages")]
    for name in order:
        search, confirm = stats.t_interval(runs.scores(name)), runs.scores(name, "confirm")
        paired = "" if name == BASELINE else str(stats.t_interval(confirm - runs.scores(BASELINE, "confirm")))
        length, valid = (runs.scores(name, "search", metric).mean() for metric in ("response_length", "format_valid"))
        lines.append(
            f"| {name} | {search.mean:.1f} [{search.low:.1f}, {search.high:.1f}] | {confirm.mean():.1f} | {paired} "
            f"| {length:.1f} | {valid:.1f} |"
        )
    return [*lines, ""]


def _benchmarks(runs: Runs) -> list[str]:
    """Where the points come from."""
    order = [runs.zoo[row] for row in np.argsort(-runs.table("search").mean(1))]
    shown = list(dict.fromkeys(["base", order[0], BASELINE, order[len(order) // 2], order[-1]]))
    lines = ["## By benchmark (search problems)", "", f"| benchmark | {' | '.join(shown)} |"]
    lines.append("|---" * (len(shown) + 1) + "|")
    for benchmark in BENCHMARKS:
        kind = "greedy" if benchmark.k == 1 else f"pass@{benchmark.k}"
        cells = " | ".join(f"{runs.scores(name, metric=benchmark.name).mean():.1f}" for name in shown)
        lines.append(f"| {benchmark.name} ({kind}) | {cells} |")
    return [*lines, ""]


def _regimes(runs: Runs) -> list[str]:
    """The paper's regimes, with numbers."""

    def ends(metric: str) -> str:
        curve = runs.curve(BASELINE, metric)
        return f"{curve[0]:.2f} to {curve[-1]:.2f}"

    valid, correct = runs.curve(BASELINE, names.FORMAT_VALID), runs.curve(BASELINE, names.ACCURACY)
    solved = f"all correct {ends(names.GROUPS_ALL_CORRECT)}"
    rare = f"rare success (exactly one of {FULL.group_size} correct): {ends(names.GROUPS_RARE_SUCCESS)} of the groups;"
    pays = (
        f"length {ends(names.RESPONSE_LENGTH)} tokens, accuracy {ends(names.ACCURACY)}, entropy {ends(names.ENTROPY)}."
    )
    return [
        "## Regimes",
        "",
        "Means over the seeds, GRPO, first to last tenth of training:",
        "",
        f"- format lost: {1 - valid[0]:.2f} to {1 - valid[-1]:.2f} of the responses;",
        f"- valid but wrong: {valid[0] - correct[0]:.2f} to {valid[-1] - correct[-1]:.2f} of the responses;",
        f"- all-fail groups: {ends(names.GROUPS_ALL_FAIL)}; mixed {ends(names.GROUPS_MIXED)}; {solved};",
        f"- {rare}",
        f"- working that pays: {pays}",
        "",
        "![regimes](calibration/regimes.png)",
        "",
        "![learning curves](calibration/curves.png)",
        "",
    ]


def _reruns(runs: Runs, folder: Path) -> list[str]:
    """Some runs again with the faster engine, if there are any: only rounding may differ."""
    path = folder / "calibration" / "rerun.jsonl"
    if not path.exists():
        return []
    again = Runs([json.loads(line) for line in path.read_text().splitlines()])
    lines = [
        "## The same runs after the engine was made faster",
        "",
        *_prose(
            f"""The runs above were made before two changes of the engine that alter nothing but rounding (prompts of a
            mini-batch computed once; attention by batched products). These algorithms ran again on {len(again.seeds)} seeds
            with the engine as it is now; rounding lets single runs drift apart, and the means should agree.""",
        ),
        "| algorithm | before | now | difference, paired [95%] |",
        "|---|---|---|---|",
    ]
    for name in again.zoo:
        now = again.scores(name)
        before = runs.scores(name)[[runs.seeds.index(seed) for seed in again.seeds]]
        lines.append(f"| {name} | {before.mean():.1f} | {now.mean():.1f} | {stats.t_interval(now - before)} |")
    return [*lines, ""]


def _limits(runs: Runs) -> list[str]:
    """What the suite does not measure."""
    search = runs.table("search")
    upper = search[stats.upper_half(search)]
    estimate = 100 * _estimators_share("plus8", 8)
    return [
        "## What to keep in mind",
        "",
        *_prose(
            f"""- The good algorithms lie close together: the upper half of the zoo spans
            {np.ptp(upper.mean(1)):.1f} points, and one seed alone ranks within it with an ICC of only
            {stats.icc_consistency(upper):.2f}; the high ICC of the whole zoo owes much to the algorithms at its
            lower end. A difference of one point needs the confirmation protocol.""",
            f"""- A run is {FULL.steps} steps: what learns fast wins, and effects that need long training cannot
            show. plus3 and plus5 saturate for whoever discovers that working pays; plus8, times7, times5 and
            times3 tell the rest apart.""",
            """- The base has the skill but not the habit of writing working: the first steps are mostly all-fail
            groups, and most of the gain is the habit. It scores low on purpose, so the gain of GRPO is far
            larger than the target asked for; the figures to judge the suite by are agreement, ICC and the
            detectable difference.""",
            f"""- A blind guesser is right once in a thousand. One that says eight numbers near the start gets
            {estimate:.0f}% of plus8 at pass@8, since the answer lies near it; that much of plus8 is no skill in
            arithmetic.""",
            """- Results repeat to the bit on one machine. Another processor rounds differently and gives other
            digits; the calibration was run on one kind only.""",
        ),
    ]


def _estimators_share(benchmark: str, guesses: int) -> float:
    """Share of a benchmark's problems that the ``guesses`` most common distances from start to answer would solve."""
    family = next(entry.family for entry in BENCHMARKS if entry.name == benchmark)
    rng = random.Random(0)
    drawn = [next(stream(family, "train", rng)) for _ in range(20_000)]
    distances = Counter((problem.answer - problem.start) % MODULUS for problem in drawn)
    return sum(count for _, count in distances.most_common(guesses)) / len(drawn)


def _prose(*paragraphs: str) -> list[str]:
    """Paragraphs or list items as lines, each followed by an empty one (items by none)."""
    lines: list[str] = []
    for paragraph in paragraphs:
        item = paragraph.startswith("- ")
        lines += textwrap.wrap(" ".join(paragraph.split()), 118, subsequent_indent="  " if item else "")
        if not item:
            lines.append("")
    return lines
