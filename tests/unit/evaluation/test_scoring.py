"""Scoring: only the base's tensors are accepted, results repeat, and impossible metrics are refused."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from poise_lib.errors import EngineError
from poise_lib.evaluation import run
from poise_lib.evaluation.nano import scoring, suite
from poise_lib.evaluation.nano.base import BASE_PATH, base_policy
from poise_lib.evaluation.nano.config import RESPONSE_LENGTH

Tensors = dict[str, torch.Tensor]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six problems a benchmark: the functions under test do not care how many."""
    monkeypatch.setattr(suite, "BENCHMARKS", tuple(replace(benchmark, problems=6) for benchmark in suite.BENCHMARKS))


@pytest.mark.usefixtures("few")
def test_a_score_repeats_and_its_metrics_follow_from_its_records() -> None:
    report = scoring.score(BASE_PATH, "search", 3)
    again = scoring.score(BASE_PATH, "search", 3)
    assert (report.metrics, report.records) == (again.metrics, again.records)
    assert set(report.metrics) == suite.SUITE.metric_names()
    for benchmark in suite.BENCHMARKS:
        records = [record for record in report.records if record.benchmark == benchmark.name]
        assert [record.problem for record in records] == [
            problem.key for problem in suite.problems(benchmark, "search")
        ]
        if benchmark.k == 1:
            share = sum(record.correct for record in records) / len(records)
            assert report.metrics[benchmark.name] == pytest.approx(100 * share)
    overall = sum(weight * report.metrics[name] for name, weight in suite.SUITE.weights().items())
    assert report.metrics["overall"] == pytest.approx(overall)
    assert 0 < report.metrics["response_length"] <= RESPONSE_LENGTH


@pytest.mark.usefixtures("few")
def test_seed_and_split_matter_where_they_should() -> None:
    search, other_seed = scoring.score(BASE_PATH, "search", 0), scoring.score(BASE_PATH, "search", 1)
    greedy = [benchmark.name for benchmark in suite.BENCHMARKS if benchmark.k == 1]
    assert search.metrics != other_seed.metrics
    assert [search.metrics[name] for name in greedy] == [other_seed.metrics[name] for name in greedy]
    confirm = {record.problem for record in scoring.score(BASE_PATH, "confirm", 0).records}
    assert not confirm & {record.problem for record in search.records}


def missing(tensors: Tensors) -> None:
    del tensors["head.weight"]


def unknown(tensors: Tensors) -> None:
    tensors["extra"] = torch.zeros(1)


def reshaped(tensors: Tensors) -> None:
    tensors["head.weight"] = tensors["head.weight"].T.contiguous()


def double(tensors: Tensors) -> None:
    tensors["head.weight"] = tensors["head.weight"].double()


def not_finite(tensors: Tensors) -> None:
    tensors["norm"][3] = math.nan


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (missing, "tensor 'head.weight' is missing"),
        (unknown, "tensor 'extra' is unknown"),
        (reshaped, r"tensor 'head.weight' is torch.float32 \[96, 20\], expected torch.float32 \[20, 96\]"),
        (double, "tensor 'head.weight' is torch.float64"),
        (not_finite, "tensor 'norm' is not finite"),
    ],
)
def test_other_tensors_than_the_bases_are_refused(
    tmp_path: Path, damage: Callable[[Tensors], None], message: str
) -> None:
    tensors = {name: tensor.clone() for name, tensor in base_policy().state_dict().items()}
    damage(tensors)
    save_file(tensors, tmp_path / "policy.safetensors")
    with pytest.raises(EngineError, match=message):
        run.score_checkpoint(tmp_path / "policy.safetensors", "search", 0)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    with pytest.raises(EngineError, match="not a readable safetensors file"):
        run.score_checkpoint(path, "search", 0)
    path.write_bytes(b"\x80\x04 a pickle, say")
    with pytest.raises(EngineError, match="not a readable safetensors file"):
        run.score_checkpoint(path, "search", 0)
    path.write_bytes(bytes(2 * BASE_PATH.stat().st_size + 1))
    with pytest.raises(EngineError, match="too many"):
        run.score_checkpoint(path, "search", 0)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(EngineError, match="unknown split 'train'; use one of search, confirm"):
        scoring.score(BASE_PATH, "train", 0)  # type: ignore[arg-type]


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 101.0])
def test_impossible_metrics_void_the_score(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    monkeypatch.setattr(scoring.m, "pass_at_k", lambda *_: value / 100)
    with pytest.raises(EngineError, match="outside"):
        scoring.score(BASE_PATH, "search", 0)


@pytest.mark.usefixtures("few")
def test_weights_that_overflow_void_the_score_or_give_a_finite_one(tmp_path: Path) -> None:
    """Finite weights may still overflow while they are used; nothing but an error or an honest score may come of it."""
    tensors = {name: tensor * 1e30 for name, tensor in base_policy().state_dict().items()}
    save_file(tensors, tmp_path / "policy.safetensors")
    try:
        metrics = run.score_checkpoint(tmp_path / "policy.safetensors", "search", 0).metrics
    except EngineError:
        return
    assert metrics["overall"] < 5.0
