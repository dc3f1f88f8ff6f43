"""What the command line says of the objective: before a run, while it runs, in the report and in ``describe``."""

from __future__ import annotations

from pathlib import Path

import pytest

from poise_lib.archive.objective import objective_status
from poise_lib.cli import progress, report
from poise_lib.cli.describing import describe_search
from poise_lib.cli.objective import formula
from poise_lib.cli.state import Snapshot
from poise_lib.local.runner import RunView
from poise_lib.resources import Search
from poise_lib.resources.objective import Objective
from tests.unit.cli import world
from tests.unit.cli.conftest import Poise

MANIFEST = "apiVersion: poise.dev/v1alpha1\nkind: Search\nmetadata: {name: mine}\nspec:\n  budget: {candidates: 2}\n"
METRICS = [
    {
        "name": "overall",
        "mean": 64.8,
        "baselineMean": 65.0,
        "difference": -0.2,
        "low": -0.7,
        "high": 0.3,
        "kept": "Kept",
    },
    {"name": "response_length", "mean": 20.0, "baselineMean": 24.0, "difference": -4.0, "low": -4.4, "high": -3.6},
]
BEST = {
    "candidate": "demo-001-0", "title": "Short", "utility": 36.0, "baselineUtility": 32.0,
    "metrics": {"overall": 65.5, "response_length": 19.2}, "baselineMetrics": {"overall": 65.0, "response_length": 24.0},
    "confirmation": {**world.CONFIRMED, "candidate": "demo-001-0", "metrics": METRICS},
}  # fmt: skip


def shorter(directive: str = "Shorten responses, keep accuracy") -> Search:
    found = world.search(phase="Complete", best=BEST)
    found = found.model_copy(update={"spec": found.spec.model_copy(update={"directive": directive})})
    status = objective_status(found, {"overall": 65.0, "response_length": 24.0})
    return found.model_copy(update={"status": found.status.model_copy(update={"objective": status})})


def snapshot(search: Search) -> Snapshot:
    candidates = [world.candidate("000-0", (), 32.0), world.candidate("001-0", ("000-0",), 36.0, "Short")]
    return Snapshot(Path("demo.poise"), search, tuple(candidates), ())


def test_the_report_says_what_counted_and_how_each_metric_came_out() -> None:
    text = " ".join(" ".join(report.report_lines(snapshot(shorter()))).split())
    assert "Directive read as: minimise response_length (weight 0.2" in text
    assert "Utility: 0.8 overall - 0.2 response_length / 0.24, with 64 <= overall and response_length <= 24." in text
    assert "overall 65.5 against 65.0 (+0.5); response_length 19.2 against 24.0 (-20.0%)." in text
    assert "overall 64.8 against 65.0: -0.2, interval -0.7 to +0.3: kept." in text
    assert "response_length 20.0 against 24.0: -4.0, interval -4.4 to -3.6." in text
    document = report.report_document(snapshot(shorter()))
    assert document["objective"]["source"] == "Directive"


def test_describe_says_the_same_of_a_search() -> None:
    text = " ".join(" ".join(describe_search(shorter())).split())
    assert "0.8 overall - 0.2 response_length / 0.24, with 64 <= overall and response_length <= 24" in text
    assert "below the baseline's 65.0 (so at least 64.0)" in text
    assert ": kept." in text


def test_an_objective_of_the_suite_is_not_spelt_out() -> None:
    assert formula(Objective()) == ""
    text = " ".join(report.report_lines(snapshot(world.search(phase="Complete"))))
    assert "Utility: " not in text


def test_a_run_tells_how_it_reads_the_directive_once(capsys: pytest.CaptureFixture[str]) -> None:
    view = RunView(shorter("Shorten responses and write poems."), {}, {}, (), 1.0)
    with progress.observer(live=False) as shown:
        shown.on_update(view)
        shown.on_update(view)
    told = capsys.readouterr().err
    assert told.count("Directive read as") == 1
    assert '"write poems"' in told


@pytest.mark.parametrize(
    ("directive", "words"),
    [("Shorten responses.", "minimise response_length"), ("Write poems.", "it changes no score"), ("", "")],
)
def test_validate_says_how_a_directive_is_read(poise: Poise, tmp_path: Path, directive: str, words: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(MANIFEST + f"  directive: {directive!r}\n")
    result = poise("validate", file)
    assert result.code == 0
    assert words in result.err
    assert bool(result.err) is bool(words)
