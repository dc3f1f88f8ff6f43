"""Suites as data: the paper's table, what a team's own file may say, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from poise_lib.errors import InvalidInputError
from poise_lib.evaluation.metrics import overall
from poise_lib.resources.suites import MATH_V1, SUITES, load_suite, parse_suite

TABLE = Path(__file__).parents[2] / "data" / "paper-main-run.csv"
ROWS = list(csv.DictReader(TABLE.open(encoding="utf-8")))
LARGEST = 700
"""No benchmark of the paper has as many problems."""


def test_the_papers_overall_comes_out_of_the_papers_table() -> None:
    assert len(ROWS) == 64
    for row in ROWS:
        metrics = {name: float(row[name]) for name in MATH_V1.weights()}
        # Seven figures, each rounded to .1
        assert overall(metrics, MATH_V1.weights()) == pytest.approx(float(row["overall"]), abs=0.1)


def solved(share: str, problems: int) -> bool:
    """Whether a published percentage is a whole number of problems, rounded to .1."""
    nearest = round(float(share) / 100 * problems)
    return abs(100 * nearest / problems - float(share)) <= 0.05 + 1e-9


@pytest.mark.parametrize("benchmark", MATH_V1.benchmarks, ids=lambda benchmark: benchmark.name)
def test_the_number_of_problems_is_the_least_that_explains_every_published_figure(benchmark: object) -> None:
    name, source = benchmark.name, benchmark.source  # type: ignore[attr-defined]
    fitting = [n for n in range(20, LARGEST) if all(solved(row[name], n) for row in ROWS)]
    assert fitting[0] == source.count


def test_the_papers_way_of_scoring() -> None:
    assert {b.name: (b.n, b.k) for b in MATH_V1.benchmarks if b.pass_k} == {
        "aime24_pass32": (32, 32), "aime25_pass32": (32, 32), "amc_pass32": (32, 32)}  # fmt: skip
    assert [b.n for b in MATH_V1.benchmarks if not b.pass_k] == [1, 1, 1]
    assert {(b.max_tokens, b.temperature) for b in MATH_V1.benchmarks} == {(4096, 1.0)}
    assert all(b.contamination for b in MATH_V1.benchmarks)


OWN = """
name: ours
extends: math-v1
benchmarks:
  - {name: olympiadbench_acc1, weight: 0.05}
  - {name: aime24_pass32, samples: 64}
  - {name: house_acc1, weight: 0.1, source: {files: [house.jsonl], count: 40}}
"""


def test_a_team_may_build_on_a_suite() -> None:
    suite = parse_suite(OWN, "ours.yaml", SUITES)
    assert suite.weights()["house_acc1"] == 0.1
    assert sum(suite.weights().values()) == pytest.approx(1.0)
    aime = suite.benchmarks[0]
    assert (aime.n, aime.k, aime.source) == (64, 32, MATH_V1.benchmarks[0].source)


def test_a_weight_of_zero_takes_a_benchmark_out() -> None:
    text = "{name: o, extends: math-v1, benchmarks: [{name: minerva_acc1, weight: 0}, {name: amc_pass32, weight: 0.3}]}"
    assert "minerva_acc1" not in parse_suite(text, "o.yaml", SUITES).weights()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{name: o, extends: math-v2}", "extends 'math-v2', which is no suite of this engine; math-v1, sums-v1 are"),
        ("{name: o, extends: chains-v1}", "no suite of this engine"),
        (
            "{name: o, extends: math-v1, benchmarks: [{name: x, weight: 0.5, source: {files: [x.json]}}]}",
            "weights sum to 1.5, but must sum to 1",
        ),
        (
            "{name: o, benchmarks: [{name: x, weight: 1, passK: 8, samples: 4}]}",
            r"benchmarks\[0\] samples \(4\) must be at least passK",
        ),
        (
            "{name: o, benchmarks: [{name: x, weight: 1, wieght: 1}]}",
            r"line 1: benchmarks\[0\].wieght is no field here; did you mean weight",
        ),
        (
            "{name: o, benchmarks: [{name: overall, weight: 1, source: {files: [x.json]}}]}",
            r"benchmarks\[0\] name must be none of overall, response_length, format_valid",
        ),
        (
            "{name: o, benchmarks: [{name: x, weight: 1, source: {digest: abc}}]}",
            r"source\.digest must be unknown, or a digest",
        ),
        (
            "{name: o, extends: math-v1, benchmarks: [{name: x}]}",
            "'x' needs a weight and a source, because suite 'math-v1' has",
        ),
        ("{name: o, benchmarks: [{name: x, source: {files: [x.json]}}]}", "'x' needs a weight, because it extends no"),
        (
            "{name: o, extends: sums-v1, benchmarks: [{name: sums_acc1}, {name: sums_acc1}]}",
            "'sums_acc1' is named twice",
        ),
        (
            "{name: o, extends: math-v1, benchmarks: [{name: amc_pass32, samples: 4}]}",
            r"samples \(4\) must be at least passK \(32",
        ),
        (
            "{name: o, extends: sums-v1, benchmarks: [{name: sums_acc1, weight: 0}, {name: sums_mean8, weight: 0}]}",
            "a suite of 0 benchmarks; a suite has 1 to 13",
        ),
        ("{name: o}", "a suite of 0 benchmarks"),
        ("{name: o, benchmarks: [{name: x, source: {split: test}}]}", r"benchmarks\[0\].source give files, a dataset"),
        (
            "{name: o, benchmarks: [{name: x, source: {files: [../x.json]}}]}",
            r"files\[0\] must be a file in the folder",
        ),
        (
            "{name: o, benchmarks: [{name: x, source: {files: [/etc/x.json]}}]}",
            r"files\[0\] must be a file in the folder",
        ),
        ("{name: o, benchmarks: [{name: x, source: {files: [x.txt]}}]}", r"files\[0\] must be a file in the folder"),
        (
            "{name: o, benchmarks: [{name: x, source: {dataset: /etc/x}}]}",
            "source.dataset must be an id of the Hugging Face hub",
        ),
        ("{name: o p}", "name must be a name: letters, digits and"),
        ("{name: o, engine: nano}", "engine must be verl"),
        (
            "{name: o, benchmarks: [{name: x, weight: '1'}]}",
            r"benchmarks\[0\].weight must be a number, but is the text",
        ),
        ("- name: o", "the document must be a mapping"),
        ("a: 1\n---\nb: 2", "holds 2 documents"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        parse_suite(text, "o.yaml", SUITES)


def test_names_and_files(tmp_path: Path) -> None:
    assert load_suite("math-v1") is MATH_V1
    file = tmp_path / "ours.yaml"
    file.write_text(OWN, encoding="utf-8")
    assert load_suite(str(file)).name == "ours"
    file.write_text(OWN.replace("name: ours", "name: math-v1"), encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"ours\.yaml: name 'math-v1' is that of a suite that comes with POISE"):
        load_suite(str(file))
    with pytest.raises(InvalidInputError, match="did you mean math-v1"):
        load_suite("math-v2")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        load_suite(str(tmp_path / "none.yaml"))
