"""The history: what a schedule reads, and what a restart finds again."""

from __future__ import annotations

from pathlib import Path

import pytest

from poise_lib.evaluation.trajectory import STEP
from poise_lib.evaluation.verl.adapter.history import HISTORY_FILE, History


def record(step: int, entropy: float = 1.0) -> dict[str, float]:
    return {STEP: float(step), "actor/entropy": entropy}


def test_a_restart_reads_back_what_its_checkpoint_knows(tmp_path: Path) -> None:
    first = History(tmp_path / HISTORY_FILE, 0)
    for step in range(5):
        first.append(record(step, entropy=1.0 / (step + 1)))
    again = History(tmp_path / HISTORY_FILE, 3)  # the checkpoint was of step 3; steps 3 and 4 are done anew
    assert [item["actor/entropy"] for item in again.records] == [1.0, 1 / 2, 1 / 3]
    again.append(record(3, entropy=9.0))
    assert [item["actor/entropy"] for item in History(tmp_path / HISTORY_FILE, 4).records] == [1.0, 1 / 2, 1 / 3, 9.0]


def test_half_a_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / HISTORY_FILE
    first = History(path, 0)
    first.append(record(0))
    with path.open("a") as file:
        file.write('{"training/global_st')
    assert len(History(path, 2).records) == 1


def test_a_fresh_run_starts_empty(tmp_path: Path) -> None:
    History(tmp_path / HISTORY_FILE, 0).append(record(0))
    assert History(tmp_path / HISTORY_FILE, 0).records == ()


def test_records_cannot_be_written_to(tmp_path: Path) -> None:
    made = History(tmp_path / HISTORY_FILE, 0)
    made.append(record(0))
    with pytest.raises(TypeError):
        made.records[0]["actor/entropy"] = 2.0  # type: ignore[index]
