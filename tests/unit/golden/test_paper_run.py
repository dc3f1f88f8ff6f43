"""The archive package against what the paper publishes of its main run (arXiv:2603.23951v1, Table 2 and text)."""

import contextlib
import io
from pathlib import Path

import pytest

from benchmarks import paper_replay
from benchmarks.paper_replay import KNOWN_PARENTS, KNOWN_ROUNDS, LATE_BLOOMERS, PAPER_SUITE, WEIGHTS, archive, table
from poise_lib.archive.lineage import Lineage, best_by_depth, cumulative_best
from poise_lib.archive.pareto import frontier
from poise_lib.archive.utility import metric_vector, utility
from poise_lib.resources.search import DescendantGain, Objective
from poise_lib.selection.descendant_gain import descendant_gains

ROWS = table()
EVIDENCE = Path(__file__).parents[3] / "docs" / "evidence" / "paper-replay.md"
ROUNDING = 0.05 + 0.05
"""The published Overall is rounded to .1, and so is each of the metrics it is made of."""


def overall(name: str) -> float:
    value = utility(ROWS[name], Objective(), PAPER_SUITE)
    assert value is not None
    return value


def test_there_are_64_algorithms() -> None:
    assert len(ROWS) == 64
    assert next(iter(ROWS)) == "grpo"
    assert all(row.keys() == {*WEIGHTS, "overall"} for row in ROWS.values())


@pytest.mark.parametrize("name", ROWS)
def test_the_weights_reproduce_the_published_overall(name: str) -> None:
    assert overall(name) == pytest.approx(ROWS[name]["overall"], abs=ROUNDING)


def test_other_weights_do_not() -> None:
    def misses(metrics: dict[str, float]) -> bool:
        return abs(sum(metrics[name] for name in WEIGHTS) / 6 - metrics["overall"]) > ROUNDING

    assert sum(misses(row) for row in ROWS.values()) > 60


def test_the_frontier_of_the_table() -> None:
    names = list(ROWS)
    vectors = [metric_vector(ROWS[name], Objective(), PAPER_SUITE) for name in names]
    by_definition = [
        name
        for name, own in zip(names, vectors, strict=True)
        if not any(other != own and all(x >= y for x, y in zip(other, own, strict=True)) for other in vectors)
    ]
    assert [names[index] for index in frontier(vectors)] == by_definition
    assert by_definition == [
        *(
            "vm-av",
            "av",
            "lna",
            "ls",
            "cda",
            "dfr",
            "tr",
            "sve-lna",
            "oce",
            "dss",
            "sv",
            "cza",
            "loo",
            "apr",
            "cfa",
            "gaa",
        )
    ]


def test_the_headline() -> None:
    assert overall("vm-av") - overall("grpo") == pytest.approx(4.6, abs=ROUNDING)
    assert (ROWS["grpo"]["aime25_pass32"], ROWS["vm-av"]["aime25_pass32"]) == (26.7, 43.3)
    best_first = sorted(ROWS, key=overall, reverse=True)
    assert best_first[:6] == ["vm-av", "av", "msa", "lna", "fa", "ls"]
    assert best_first[-1] == "gce"


def test_cumulative_best_by_depth_along_the_known_chains() -> None:
    known = ["grpo", *KNOWN_PARENTS]
    lineage = Lineage.of(archive(known))
    steps = cumulative_best(best_by_depth(lineage, {name: ROWS[name]["overall"] for name in known}))
    assert [(depth, value) for depth, _, value in steps] == [(0, 47.8), (1, 49.9), (3, 50.9), (4, 52.5)]
    assert lineage.line("vm-av") == ("grpo", "rf", "bn", "av", "vm-av")
    assert lineage.line("cda") == ("grpo", "gla", "pr", "cda")


@pytest.mark.parametrize(("parent", "child"), LATE_BLOOMERS.items())
def test_late_bloomers_lay_below_the_baseline_and_led_above_it(parent: str, child: str) -> None:
    assert overall(parent) < overall("grpo") < overall(child)


def test_in_the_known_rounds_the_best_parent_was_not_the_one_to_keep() -> None:
    for members, bloomer, peaks in zip(KNOWN_ROUNDS, ("bn", "ra"), ({"za": 48.4}, {"ga2": 48.2}), strict=True):
        best = max(members, key=overall)
        assert min(members, key=overall) == bloomer
        assert ROWS[LATE_BLOOMERS[bloomer]]["overall"] > peaks[best]
        assert peaks[best] in {row["overall"] for row in ROWS.values()}


def test_the_surrogates_target_ranks_the_late_bloomer_above_all_other_known_parents() -> None:
    known = archive(["grpo", *KNOWN_PARENTS])
    utilities = {entry.name: overall(entry.name) for entry in known}
    gains = descendant_gains(Lineage.of(known), utilities, DescendantGain())
    assert max(gains, key=gains.__getitem__) == "bn"
    assert gains.keys() == {"grpo", "rf", "bn", "av", "fa", "gla", "pr"}


def test_the_published_replay_is_what_the_command_prints() -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        paper_replay.main()
    published = EVIDENCE.read_text(encoding="utf-8").splitlines()
    missing = [line for line in printed.getvalue().splitlines() if line and line not in published]
    assert not missing, "run: python -m benchmarks.paper_replay, and bring docs/evidence/paper-replay.md up to date"
