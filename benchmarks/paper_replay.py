"""What this project's acquisition makes of the paper's published run, as far as its table allows.

python -m benchmarks.paper_replay

Reads tests/data/paper-main-run.csv (Table 2 of arXiv:2603.23951v1) and the lineage that the paper's text gives,
prints the tables of docs/evidence/paper-replay.md.  The paper publishes neither the whole lineage nor the order of
evaluation, nor any composition of mechanisms, so structure and learning curves play no part here.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from poise_lib.archive.entry import Entry
from poise_lib.archive.lineage import Lineage
from poise_lib.archive.utility import utility
from poise_lib.resources.search import AcquisitionWeights, DescendantGain, Objective, Strategy
from poise_lib.resources.suites import Suite, SuiteBenchmark
from poise_lib.selection.acquisition import acquisition_terms, scores, select
from poise_lib.selection.descendant_gain import descendant_gains
from poise_lib.selection.pool import Pool

TABLE = Path(__file__).parents[1] / "tests" / "data" / "paper-main-run.csv"
WEIGHTS = {
    "aime24_pass32": 0.2,
    "aime25_pass32": 0.2,
    "amc_pass32": 0.15,
    "math500_acc1": 0.15,
    "minerva_acc1": 0.15,
    "olympiadbench_acc1": 0.15,
}
PAPER_SUITE = Suite(
    name="paper", benchmarks=tuple(SuiteBenchmark(name=name, weight=weight) for name, weight in WEIGHTS.items())
)
KNOWN_PARENTS = {
    "rf": "grpo",
    "bn": "rf",
    "av": "bn",
    "vm-av": "av",
    "fa": "grpo",
    "dfr": "fa",
    "gla": "grpo",
    "pr": "gla",
    "cda": "pr",
}
"""The three chains that the paper names."""
LATE_BLOOMERS = {"bn": "vm-av", "ra": "msa", "anchor": "lna", "gla": "pr", "cfa": "oce"}
"""Parents that were not the best of their round, and the descendant that made them worth keeping."""
KNOWN_ROUNDS = (("za", "bn", "anchor"), ("lav", "ga2", "ra"))
PERFORMANCE_ONLY = AcquisitionWeights(pareto=0.0, performance=1.0, diversity=0.0, bayes=0.0)


def table() -> dict[str, dict[str, float]]:
    """Algorithm (lower case, without -GRPO) to its metrics and the published Overall, percentage points."""
    with TABLE.open(newline="", encoding="utf-8") as handle:
        return {
            row.pop("algorithm").removesuffix("-GRPO").lower(): {name: float(value) for name, value in row.items()}
            for row in csv.DictReader(handle)
        }


def archive(names: Iterable[str], parents: Mapping[str, str] = KNOWN_PARENTS) -> list[Entry]:
    """Entries of the named algorithms with the lineage that is known of them; parents outside ``names`` are dropped."""
    rows, members = table(), list(names)
    kept = [Entry(name=name, parents=(parents[name],) if parents.get(name) in members else ()) for name in members]
    depths = Lineage.of(kept).depths()
    return [
        entry.model_copy(update={"depth": depths[entry.name], "metrics": {m: rows[entry.name][m] for m in WEIGHTS}})
        for entry in kept
    ]


def places(entries: list[Entry], weights: AcquisitionWeights) -> dict[str, tuple[int, float]]:
    """Place by s(d), 1 for the highest, and s(d) itself, of every node before a round chose anything."""
    pool = Pool.of(entries, Objective(), PAPER_SUITE)
    values = scores(acquisition_terms(pool, Strategy(acquisition=weights)), weights).tolist()
    ranked = sorted(zip(pool.names(), values, strict=True), key=lambda pair: (-pair[1], pair[0]))
    return {name: (place, value) for place, (name, value) in enumerate(ranked, start=1)}


def chosen(entries: list[Entry], weights: AcquisitionWeights, count: int) -> tuple[str, ...]:
    """Names of the parents that a round of ``count`` takes, in order."""
    strategy = Strategy(acquisition=weights)
    selection = select(entries, strategy, Objective(), PAPER_SUITE, round=1, seed=0, count=count)
    return tuple(parent.name for parent in selection.parents)


def late_bloomers() -> None:
    """The five cases as targets of the surrogate."""
    overall = {name: utility(metrics, Objective(), PAPER_SUITE) or 0.0 for name, metrics in table().items()}
    print("| parent | U | later descendant | U | gain | y_d if 1 generation apart | 2 | 3 |")
    print("|---|---|---|---|---|---|---|---|")
    for parent, child in LATE_BLOOMERS.items():
        targets = []
        for generations in (1, 2, 3):
            way = [parent, *(f"unknown-{i}" for i in range(1, generations)), child]
            line = Lineage.of(Entry(name=name, parents=tuple(way[max(i - 1, 0) : i])) for i, name in enumerate(way))
            targets.append(descendant_gains(line, overall, DescendantGain())[parent])
        figures = [f"{overall[parent]:.1f}", child, f"{overall[child]:.1f}", f"{overall[child] - overall[parent]:+.1f}"]
        print(f"| {parent} | " + " | ".join(figures + [f"{target:+.2f}" for target in targets]) + " |")


def known_rounds() -> None:
    """Where the members of the two known rounds stand, by performance alone and by the default weights."""
    everyone = list(table())
    for members in KNOWN_ROUNDS:
        print(f"\n{{{', '.join(members)}}}\n")
        print(
            "| archive | weights | "
            + " | ".join(members)
            + " | parents of a round of three |\n|---|---|---|---|---|---|"
        )
        for archive_title, entries in (
            ("the three alone", archive(members)),
            ("with GRPO and known ancestors", archive(with_ancestors(members))),
            ("all 64, no lineage", archive(everyone, {})),
            ("all 64, known lineage (hindsight)", archive(everyone)),
        ):
            for title, weights in (("performance only", PERFORMANCE_ONLY), ("default", AcquisitionWeights())):
                place = places(entries, weights)
                cells = [f"{place[member][0]} of {len(place)} ({place[member][1]:.3f})" for member in members]
                cells.append(", ".join(chosen(entries, weights, 3)))
                print(f"| {archive_title} | {title} | " + " | ".join(cells) + " |")


def with_ancestors(members: Iterable[str]) -> list[str]:
    """GRPO, the known ancestors of the members, and the members."""
    names = ["grpo"]
    for member in members:
        way = [member]
        while parent := KNOWN_PARENTS.get(way[-1]):
            way.append(parent)
        names += [name for name in reversed(way) if name not in names]
    return names


def main() -> None:
    late_bloomers()
    known_rounds()


if __name__ == "__main__":
    main()
