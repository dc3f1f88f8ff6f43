"""What a running search shows, and the report at its end."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import click
import pytest

from poise_lib.cli import progress, report
from poise_lib.cli.charts import Series, chart, spark
from poise_lib.cli.state import Snapshot
from poise_lib.local.process import RunningTask
from poise_lib.local.runner import RunView
from poise_lib.resources import Candidate
from poise_lib.tasks.protocol import TaskKind, TaskRequest
from tests.unit.cli import world


def view(elapsed: float, finished: int, phase: str = "Searching", running: int = 1) -> RunView:
    """A search of 8 of which some candidates are finished."""
    made = world.search(phase=phase, round=2)
    candidates: dict[str, Candidate] = {}
    for slot in range(finished):
        item = world.candidate(f"00{slot}-0", () if slot == 0 else ("000-0",), 60.0 + slot, world.ESCAPE)
        candidates[item.metadata.name] = item
    waiting = world.candidate("007-0", ("000-0",), None, "Next", phase="Evaluating")
    candidates[waiting.metadata.name] = waiting
    tasks = tuple(
        RunningTask(
            TaskRequest(kind=TaskKind.TRAIN, name="demo-007-0-full-0-train", input={}),
            progress={"step": 3, "steps": 30},
        )
        for _ in range(running)
    )
    return RunView(made, candidates, {}, tasks, elapsed)


def test_time_left_follows_the_pace_of_this_run_only() -> None:
    clock = progress.Clock()
    assert clock.left(view(0.0, 4)) is None, "what was done before gives no pace"
    # Two of the remaining four candidates, and then 4 x 8 confirmation runs, at 10 s each.
    assert clock.left(view(20.0, 6)) == pytest.approx((2 + 32) * 10.0)


def test_standing() -> None:
    now = progress.standing(view(65.0, 3), 125.0)
    assert now.headline == "demo: searching, round 2, 3 of 8 candidates"
    assert now.counts == "1 evaluating, 3 archived"
    assert now.best == "62.0 red title (demo-002-0), +2.0 against red title 60.0"
    assert now.time == "1m05s so far, about 2m05s left"


def test_plain_lines_go_to_stderr_cleaned_and_not_too_often(capsys: pytest.CaptureFixture[str]) -> None:
    shown = progress.observer(live=False)
    with shown:
        for second in range(0, 61, 5):
            shown.on_update(view(float(second), 2))
        shown.on_event(f"demo-001-0 {world.ESCAPE}: Archived")
    found = capsys.readouterr()
    assert found.out == ""
    lines = found.err.splitlines()
    assert [line[1:7].strip() for line in lines] == ["0s", "30s", "1m00s", "1m00s"]
    assert lines[-1].endswith("demo-001-0 red title: Archived")
    assert "\x1b" not in found.err


def test_live_panel_shows_tasks_and_escapes_markup() -> None:
    from rich.console import Console

    output = io.StringIO()
    console = Console(file=output, width=100, force_terminal=True, color_system=None)
    with progress.LiveObserver(console) as shown:
        shown.on_update(view(65.0, 3))
        shown.on_event("[bold]not markup[/bold] \x1b]0;owned\x07")
    text = output.getvalue()
    assert "train 007-0-full-0 step 3 of 30" in re.sub(r" +", " ", text)
    assert "[bold]not markup[/bold]" in text
    assert "owned" not in text


def snapshot(**best: Any) -> Snapshot:
    made, candidates, runs = world.finished()
    assert made.status.best is not None
    changed = made.status.best.model_validate({**made.status.best.to_document(), **best})
    made = made.model_copy(update={"status": made.status.model_copy(update={"best": changed})})
    return Snapshot(Path("demo.poise"), made, tuple(candidates), tuple(runs))


def text_of(found: Snapshot) -> str:
    return click.unstyle("\n".join(report.report_lines(found, "demo.yaml")))


def test_report_of_a_confirmed_winner() -> None:
    text = text_of(snapshot())
    assert "Search demo is complete (CandidatesSpent): 6 candidates (4 archived, 1 rejected, 1 failed), 4m05s" in text
    assert "71.0 against 66.0 of GRPO" in text
    assert "8 unseen seeds and unseen problems (95% joint level, corrected for 1 candidate)" in text
    assert "Batch scale and failure floor is better than GRPO: +3.0 points, interval +1.1 to +4.9." in text
    assert "poise describe demo-002-0 --state demo.poise" in text
    assert "poise run demo.yaml --seed 1 --state demo-seed1.poise" in text


def test_report_of_luck_says_so_and_how_many_seeds_it_takes() -> None:
    luck = {**world.CONFIRMED, "difference": 2.0, "low": -2.0, "high": 6.0, "verdict": "NotShownToBeBetter"}
    text = text_of(snapshot(confirmation=luck))
    assert (
        "is not shown to be better than GRPO: +2.0 points, interval -2.0 to +6.0, which includes no difference." in text
    )
    # Half the interval is twice the difference, and it shrinks with the root of the seeds: 8 x 2^2.
    assert "takes about 33 seeds" in text
    worse = {**world.CONFIRMED, "difference": -2.0, "low": -3.0, "high": -1.0, "verdict": "Worse"}
    assert "What the search saw in it was luck." in text_of(snapshot(confirmation=worse))


def test_report_without_confirmation_or_score() -> None:
    assert "It was not confirmed" in text_of(snapshot(confirmation=None))
    made = world.search(phase="Failed", message="no baseline")
    text = text_of(Snapshot(Path("x"), made, (), ()))
    assert "has failed" in text
    assert "nothing to compare" in text
    assert "poise run" not in text


def test_report_of_a_search_without_proposals_says_what_to_mend() -> None:
    why = "proposer.llm.contextTokens is too low"
    ended = world.search(phase="Complete", stopReason="NoProposals", message=f"{why} {world.ESCAPE}")
    text = text_of(Snapshot(Path("x"), ended, (), ()))
    assert f"Nothing more was proposed: {why}" in text
    assert "\x1b" not in text
    assert "Nothing more" not in text_of(snapshot())


def test_report_document_is_for_programs() -> None:
    document = report.report_document(snapshot())
    assert document["best"]["confirmation"]["verdict"] == "Better"
    assert document["digest"] == world.DIGEST


def test_chart() -> None:
    lines = [
        Series("a", ((0.0, 1.0), (1.0, float("nan")), (2.0, 2.0))),
        Series("b", ((0.0, 1.0), (1.5, 1.0), (1.6, float("inf")))),
    ]
    drawn = [click.unstyle(line) for line in chart(lines, columns=17, height=5, x_label="x", ascii_only=True)]
    assert len(drawn) == 8
    assert drawn[0].startswith("  2 ")
    assert drawn[0].rstrip().endswith("*")
    assert drawn[4].startswith("  1 |oooooooo")
    assert drawn[6].split() == ["0", "x", "2"]
    assert all(len(line) <= 17 for line in drawn)


def test_a_constant_and_an_empty_chart() -> None:
    assert chart([Series("", ())]) == ["nothing to draw yet"]
    flat = [click.unstyle(line) for line in chart([Series("", ((0.0, 5.0), (1.0, 5.0)))], columns=20, height=3)]
    assert flat[0].startswith("5.25 ┤")
    assert sum(any("\u2800" < letter <= "\u28ff" for letter in line) for line in flat) == 1


def test_steps_go_across_before_they_go_up() -> None:
    drawn = [
        click.unstyle(line)
        for line in chart([Series("", ((0.0, 0.0), (1.0, 1.0)), "steps")], columns=14, height=4, ascii_only=True)
    ]
    assert [line.partition("|")[2].rstrip() for line in drawn[:4]] == [" " * 9 + "*"] * 3 + ["*" * 10]


def test_spark() -> None:
    assert spark([0.0, 1.0, float("nan"), 0.5]) == "▁█ ▅"
    assert spark([]) == ""
    assert len(spark(list(range(100)))) == 24
