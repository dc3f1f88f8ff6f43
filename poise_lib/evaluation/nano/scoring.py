"""Score a checkpoint on the suite.  Trusted: reads tensors, never code.

Everything but the weights comes from this package: the architecture, the tokens, the problems, the verifier.  The
file is read as safetensors (a format that cannot carry code) and refused unless every tensor has the name, shape
and type of the base's and is finite.  Sampling noise depends on seed, split and benchmark only, so two policies are
compared on the same problems with the same random numbers.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from poise_lib.errors import EngineError
from poise_lib.evaluation import metrics as m
from poise_lib.evaluation.nano import suite
from poise_lib.evaluation.nano.base import BASE_PATH, base_policy
from poise_lib.evaluation.nano.config import RESPONSE_LENGTH
from poise_lib.evaluation.nano.model import Policy
from poise_lib.evaluation.nano.rollout import judge
from poise_lib.evaluation.nano.sampling import sample
from poise_lib.names import METRIC_FORMAT_VALID, METRIC_OVERALL, METRIC_RESPONSE_LENGTH

ROWS = 512
"""Responses that are sampled at once."""


@dataclass(frozen=True, slots=True)
class ProblemRecord:
    """What a policy did on one problem."""

    benchmark: str
    problem: str
    """The problem as text (:attr:`~poise_lib.evaluation.nano.task.Problem.key`)."""
    samples: int
    correct: int
    valid: int
    mean_length: float
    """Tokens."""


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """Scores of one checkpoint on one split.

    ``metrics`` holds each benchmark and ``overall`` in percentage points, ``format_valid`` likewise, and
    ``response_length`` in tokens; the last two are means over the benchmarks.
    """

    metrics: Mapping[str, float]
    records: tuple[ProblemRecord, ...]
    split: str
    seed: int
    wall_seconds: float


def load_policy(path: Path) -> Policy:
    """The policy that ``path`` holds.

    Raises:
        EngineError: the file is no safetensors file, is larger than any policy, or its tensors are not the
        base's in name,
            shape and type, or not finite; the message names the first that is wrong.
    """
    policy = base_policy()
    expected = policy.state_dict()
    try:
        if path.stat().st_size > 2 * BASE_PATH.stat().st_size:
            raise EngineError(f"{path.name}: {path.stat().st_size} bytes are too many for a policy of the nano engine")
        tensors = load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise EngineError(f"{path.name}: not a readable safetensors file: {error}") from error
    if names := sorted(set(tensors) ^ set(expected)):
        raise EngineError(f"{path.name}: tensor {names[0]!r} is {'missing' if names[0] in expected else 'unknown'}")
    for name, tensor in tensors.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise EngineError(
                f"{path.name}: tensor {name!r} is {tensor.dtype} {list(tensor.shape)}, "
                f"expected {wanted.dtype} {list(wanted.shape)}"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise EngineError(f"{path.name}: tensor {name!r} is not finite")
    policy.load_state_dict(tensors)
    return policy


def score(path: Path, split: suite.Split, seed: int) -> ScoreReport:
    """Score the checkpoint at ``path``.

    Args:
        path: a safetensors file.
        split: which problems.
        seed: decides the sampling noise of the benchmarks that sample.

    Raises:
        EngineError: the checkpoint is refused (:func:`load_policy`), or a metric is not finite or out of range.
    """
    if split not in suite.SPLITS:
        raise EngineError(f"unknown split {split!r}; use one of {', '.join(suite.SPLITS)}")
    return score_policy(load_policy(path), split, seed)


def score_policy(policy: Policy, split: suite.Split, seed: int) -> ScoreReport:
    """Score a policy that is already in memory; see :func:`score`."""
    started = time.perf_counter()
    metrics: dict[str, float] = {}
    records: list[ProblemRecord] = []
    lengths, valid = [], []
    for benchmark in suite.BENCHMARKS:
        found = _records(policy, benchmark, split, seed)
        estimates = [m.pass_at_k(record.samples, record.correct, benchmark.k) for record in found]
        metrics[benchmark.name] = 100.0 * sum(estimates) / len(found)
        lengths.append(sum(record.mean_length for record in found) / len(found))
        valid.append(100.0 * sum(record.valid for record in found) / sum(record.samples for record in found))
        records += found
    metrics[METRIC_OVERALL] = m.overall(metrics, suite.SUITE.weights())
    metrics[METRIC_RESPONSE_LENGTH] = sum(lengths) / len(lengths)
    metrics[METRIC_FORMAT_VALID] = sum(valid) / len(valid)
    _check_range(metrics)
    return ScoreReport(metrics, tuple(records), split, seed, time.perf_counter() - started)


def _records(policy: Policy, benchmark: suite.Benchmark, split: suite.Split, seed: int) -> list[ProblemRecord]:
    """Answer and judge every problem of a benchmark."""
    copies = max(1, benchmark.samples)
    generator = torch.Generator().manual_seed(random.Random(f"score/{split}/{seed}/{benchmark.name}").getrandbits(63))
    problems = suite.problems(benchmark, split)
    at_once = max(1, ROWS // copies)
    records = []
    for start in range(0, len(problems), at_once):
        part = problems[start : start + at_once]
        noise = torch.rand(len(part) * copies, RESPONSE_LENGTH, generator=generator) if benchmark.samples else None
        samples = sample(policy, torch.tensor([problem.prompt() for problem in part]), copies, noise)
        verdicts, lengths = judge(part, copies, samples), samples.length.tolist()
        for i, problem in enumerate(part):
            rows = range(i * copies, (i + 1) * copies)
            records.append(
                ProblemRecord(
                    benchmark=benchmark.name,
                    problem=problem.key,
                    samples=copies,
                    correct=sum(verdicts[row].correct for row in rows),
                    valid=sum(verdicts[row].valid for row in rows),
                    mean_length=sum(lengths[row] for row in rows) / copies,
                )
            )
    return records


def _check_range(metrics: Mapping[str, float]) -> None:
    """Refuse what no honest score can be."""
    for name, value in metrics.items():
        highest = RESPONSE_LENGTH if name == METRIC_RESPONSE_LENGTH else 100.0
        if not (math.isfinite(value) and 0.0 <= value <= highest + 1e-9):
            raise EngineError(f"metric {name!r} is {value}, outside [0, {highest}]; the score is void")
