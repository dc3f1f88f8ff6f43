"""The pictures of the calibration report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import calibration_stats as stats
import matplotlib as mpl
import numpy as np

from poise_lib.evaluation import trajectory as names

mpl.use("Agg")
import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from calibration_report import Runs

plt.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})


def means(zoo: list[str], table: stats.Table, base: stats.Table, path: Path) -> None:
    """Overall by algorithm: every seed as a dot, the mean with its interval."""
    order = np.argsort(table.mean(1))
    figure, axes = plt.subplots(figsize=(6.4, 5.0))
    for height, row in enumerate(order):
        interval = stats.t_interval(table[row])
        colour = "tab:red" if zoo[row] == "grpo" else "tab:blue"
        axes.plot(table[row], np.full(table.shape[1], height), ".", color="0.7", markersize=4)
        axes.plot([interval.low, interval.high], [height, height], color=colour)
        axes.plot(interval.mean, height, "o", color=colour, markersize=4)
    axes.set_yticks(range(len(zoo)), [zoo[row] for row in order])
    axes.set_xlabel(
        f"Overall on the search problems; the base has {base.mean():.1f} (dots: seeds; bars: 95% of the mean)"
    )
    _save(figure, path)


def curves(runs: Runs, path: Path) -> None:
    """Accuracy and length over training for the best, the baseline, the worst and the controls."""
    order = np.argsort(-runs.table("search").mean(1))
    shown = dict.fromkeys([runs.zoo[order[0]], "grpo", runs.zoo[order[len(order) // 2]], runs.zoo[order[-1]]])
    controls = [f"control-{name}" for name in ("random_advantages", "length_only", "flipped")]
    figure, panels = plt.subplots(1, 2, figsize=(7.2, 2.8))
    for axes, metric, title in zip(
        panels, (names.ACCURACY, names.RESPONSE_LENGTH), ("accuracy of samples", "length, tokens"), strict=True
    ):
        for name in [*shown, *controls]:
            curve = runs.curve(name, metric)
            axes.plot(np.arange(1, len(curve) + 1), curve, label=name, linestyle=":" if name in controls else "-")
        axes.set_xlabel("tenth of training")
        axes.set_title(title)
    panels[1].legend(frameon=False, fontsize=6)
    _save(figure, path)


def regimes(runs: Runs, path: Path) -> None:
    """GRPO: what its groups and its responses are made of, over training."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.8))
    rare = runs.curve("grpo", names.GROUPS_RARE_SUCCESS)
    parts = {
        "all fail": runs.curve("grpo", names.GROUPS_ALL_FAIL),
        "one success": rare,
        "mixed, more than one": runs.curve("grpo", names.GROUPS_MIXED) - rare,
        "all correct": runs.curve("grpo", names.GROUPS_ALL_CORRECT),
    }
    steps = np.arange(1, len(rare) + 1)
    left.stackplot(steps, *parts.values(), labels=list(parts), colors=["0.75", "tab:orange", "tab:blue", "tab:green"])
    left.set_title("groups")
    valid, correct = runs.curve("grpo", names.FORMAT_VALID), runs.curve("grpo", names.ACCURACY)
    shares = {"format lost": 1 - valid, "valid but wrong": valid - correct, "correct": correct}
    right.stackplot(steps, *shares.values(), labels=list(shares), colors=["0.75", "tab:orange", "tab:green"])
    right.set_title("responses")
    for axes in (left, right):
        axes.set_ylim(0, 1)
        axes.set_xlabel("tenth of training (GRPO, mean over seeds)")
        axes.legend(fontsize=6, loc="upper right")
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
