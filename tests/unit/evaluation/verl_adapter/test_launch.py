"""A run from its start to its end, whatever ends it, with a driver that does as it is told: the real one is tested with VeRL."""

from __future__ import annotations

from pathlib import Path

import pytest

from poise_lib.errors import CandidateError, EngineError, InvalidInputError
from poise_lib.evaluation.verl.adapter import launch
from poise_lib.evaluation.verl.adapter.launch import Launch, OutOfTime, Record


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_DRIVER", "tests.unit.evaluation.verl_adapter.stand_in_driver")


def gone(folder: Path) -> bool:
    return not Path("/proc", (folder / "daemon").read_text()).exists()


def test_records_are_heard_in_order_and_nothing_is_left(tmp_path: Path) -> None:
    heard: list[Record] = []
    (tmp_path / "metrics.jsonl").write_text("of an earlier run\n")
    launch.train(Launch(tmp_path, ("1", "2")), heard.append)
    assert heard == [{"training/global_step": float(step), "actor/kl": 0.5} for step in (0, 1)]
    assert gone(tmp_path)


@pytest.mark.parametrize(
    ("told", "error", "words"),
    [
        ("fail=candidate", CandidateError, "what happened"),
        ("fail=settings", InvalidInputError, "what happened"),
        ("fail=engine", EngineError, "what happened"),
        ("die", EngineError, "VeRL ended with exit code 3 and gave no account of it; its log ends with: last words"),
    ],
)
def test_a_failure_is_told_apart(tmp_path: Path, told: str, error: type[Exception], words: str) -> None:
    heard: list[Record] = []
    with pytest.raises(error, match=words):
        launch.train(Launch(tmp_path, ("1", told)), heard.append)
    assert len(heard) == 1
    assert gone(tmp_path)


def test_whoever_listens_can_end_it(tmp_path: Path) -> None:
    def heard(record: Record) -> None:
        raise KeyError(record["training/global_step"])

    with pytest.raises(KeyError, match=r"0\.0"):
        launch.train(Launch(tmp_path, ("1", "wait")), heard)
    assert gone(tmp_path)


def test_it_ends_when_its_time_is_over(tmp_path: Path) -> None:
    with pytest.raises(OutOfTime):
        launch.train(Launch(tmp_path, ("wait",), seconds=0.01), lambda record: None)
    assert not (tmp_path / "daemon").exists() or gone(tmp_path)
