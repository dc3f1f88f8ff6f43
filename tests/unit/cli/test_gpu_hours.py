"""GPU hours on the command line: beside the money, and why no more is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from poise_lib.cli import progress, report
from poise_lib.cli.money import gpu_hours, gpu_line
from poise_lib.cli.state import read_state
from poise_lib.local.process import RunningTask
from poise_lib.local.runner import RunView
from poise_lib.local.state import StateDir
from poise_lib.resources import Search
from poise_lib.resources.gpu import GPULedger
from poise_lib.tasks.protocol import TaskKind, TaskRequest
from tests.unit.cli.conftest import Poise

SPENT = {"spentSeconds": 15_120.0, "reservedSeconds": 2_880.0, "countedSeconds": 15_120.0}
"""4.2 and 0.8 hours."""
VERL = {
    "engine": "verl",
    "suite": "math-v1",
    "verl": {"model": {"path": "org/model"}, "data": {"train": ["train.jsonl"]}},
}


def with_gpus(state: Path, gpus: dict[str, Any], **status: Any) -> Search:
    """The search of a state directory, now one on engine verl."""
    directory = StateDir(state)
    found = directory.search()
    assert found is not None
    document = found.to_document()
    document["spec"]["evaluation"] = VERL
    document["spec"]["budget"]["gpuHours"] = 100
    document["status"] |= {"gpus": gpus, **status}
    made = Search.model_validate(document)
    directory.write(made)
    return made


def test_hours_have_three_digits_that_say_something() -> None:
    assert [gpu_hours(hours) for hours in (0.0, 0.0314159, 4.2, 99.94, 1250.4)] == [
        "0",
        "0.0314",
        "4.2",
        "99.9",
        "1,250",
    ]


def test_the_whole_ledger_in_a_sentence() -> None:
    ledger = GPULedger.model_validate(SPENT | {"exhausted": "budget.gpuHours"})
    told = "4.2 of 100 GPU hours spent; 0.8 more expected of what is going on; budget.gpuHours is reached"
    assert gpu_line(ledger, 100.0) == told
    assert gpu_line(GPULedger(), None) == "0 GPU hours spent"


def test_progress_tells_the_hours_and_the_step_of_a_training(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = with_gpus(state, SPENT)
    request = TaskRequest(kind=TaskKind.TRAIN, name="demo-001-0-full-0-train", input={})
    task = RunningTask(request, progress={"step": 12, "steps": 156})
    view = RunView(made, {}, {}, (task,), 5.0)
    assert progress.task_line(task, "demo") == ("train", "001-0-full-0", "step 12 of 156")
    assert progress.standing(view, None).gpus.startswith("4.2 of 100 GPU hours")
    with progress.observer(live=False) as shown:
        shown.on_update(view)
    assert "; 4.2 of 100 GPU hours spent; 0.8 more expected" in capsys.readouterr().err


def test_the_report_tells_hours_and_what_was_left_undone(state: Path) -> None:
    message = "budget.gpuHours of 100 is reached. 0 of 6 confirmation runs finished"
    with_gpus(state, {"spentSeconds": 360_000.0}, stopReason="GPUBudgetSpent", message=message)
    snapshot = read_state(state)
    text = "\n".join(report.report_lines(snapshot))
    assert "The GPU hours are spent: budget.gpuHours of 100 is reached. 0 of 6 confirmation runs finished" in text
    # Three of the world's candidates are archived, the baseline not counted.
    assert "Training and scoring: 100 of 100 GPU hours spent, 33.3 for each of the 3 candidates archived." in text
    assert report.report_document(snapshot)["gpus"]["spentSeconds"] == 360_000.0


def test_get_and_describe(state: Path, poise: Poise) -> None:
    with_gpus(state, SPENT)
    head, row = poise("get", "searches", state).out.splitlines()
    assert "GPU HOURS" in head
    assert " 4.2 " in row
    told = poise("describe", "demo", "--state", state).out
    assert "Cap:          100 GPU hours" in told
    assert "Spent:        4.2 of 100 GPU hours spent" in told


def test_a_search_without_gpus_says_nothing_of_them(state: Path, poise: Poise) -> None:
    assert "gpus" not in report.report_document(read_state(state))
    assert "GPU" not in poise("get", "searches", state).out
    assert "GPU" not in poise("describe", "demo", "--state", state).out
    assert "GPU" not in "\n".join(report.report_lines(read_state(state)))
