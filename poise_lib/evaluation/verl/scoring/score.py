"""Score a model on a suite: pass@k from samples, acc@1 greedily, with what each problem came to.

Trusted: the problems, the judge and the suite are ours, the model is tensors in the base's architecture.  Seeds of
sampling depend on seed and benchmark only, so that two policies are asked in the same way.
"""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from poise_lib.errors import EngineError, InvalidInputError
from poise_lib.evaluation import bootstrap
from poise_lib.evaluation import metrics as m
from poise_lib.evaluation.verl.problems import Problem, benchmark_problems, prompt
from poise_lib.evaluation.verl.rewards import judge
from poise_lib.evaluation.verl.scoring.backends import open_generator
from poise_lib.evaluation.verl.scoring.checkpoint import assemble
from poise_lib.evaluation.verl.scoring.generation import Generator, Sampling, encode
from poise_lib.names import METRIC_FORMAT_VALID, METRIC_OVERALL, METRIC_RESPONSE_LENGTH
from poise_lib.resources.suites import Split, Suite, SuiteBenchmark
from poise_lib.resources.verl import RolloutEngine, VerlSettings

PROMPT_ROOM: Final = 4096
"""Tokens that a prompt may take beside the longest response."""


@dataclass(frozen=True, slots=True)
class ProblemRecord:
    """What a policy did on one problem; a line of the records that are kept."""

    benchmark: str
    index: int
    """Place in the benchmark, from 0."""
    problem: str
    answer: str
    samples: int
    correct: int
    valid: int
    ended: int
    """Responses that ended by themselves."""
    mean_length: float
    """Tokens."""
    score: float
    """pass@k, or acc@1; 0 to 1."""


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """Scores of one checkpoint.

    ``metrics`` holds each benchmark, ``overall`` and ``format_valid`` in percentage points and ``response_length`` in
    tokens; ``intervals`` the 95% bootstrap intervals over problems of the benchmarks and of ``overall``.
    """

    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    records: tuple[ProblemRecord, ...]
    seed: int
    wall_seconds: float

    def lines(self) -> bytes:
        """The records as JSON lines."""
        return b"".join(json.dumps(asdict(record), ensure_ascii=False).encode() + b"\n" for record in self.records)


def backend_of(settings: VerlSettings) -> str:
    """What generates the responses that are scored: transformers where training does without vLLM too."""
    return "transformers" if settings.rollout.engine is RolloutEngine.HF else "vllm"


def score_checkpoint(
    checkpoint: Path,
    base: Path,
    suite: Suite,
    *,
    problems: Path | None,
    instruction: str,
    backend: str = "vllm",
    split: Split = "search",
    seed: int = 0,
    trust_remote_code: bool = False,
    memory_share: float = 0.9,
    tensor_parallel: int = 1,
) -> ScoreReport:
    """Score what training left.

    Args:
        checkpoint: folder of safetensors, untrusted.
        base: folder of the trusted base.
        suite: what is measured.
        problems: folder of the benchmarks' files; the hub or its cache where one is missing.
        instruction: follows each problem, as in training.
        backend: what generates.
        split: the search's problems, or those of confirmation where the suite has such.
        seed: of sampling.
        trust_remote_code: whether the base's own Python files run.
        memory_share: of a GPU, for vLLM.
        tensor_parallel: GPUs that share the weights, for vLLM.

    Raises:
        EngineError: the checkpoint is refused, the backend is missing, or a metric is out of range.
        InvalidInputError: problems are missing or are not those of the suite.
    """
    sets = {benchmark.name: benchmark_problems(benchmark, problems, split) for benchmark in suite.benchmarks}
    with TemporaryDirectory(prefix="poise-score-") as folder:
        model = assemble(checkpoint, base, Path(folder) / "model", trust_remote_code=trust_remote_code)
        longest = max(benchmark.max_tokens for benchmark in suite.benchmarks) + PROMPT_ROOM
        generator, tokenizer = open_generator(
            backend,
            model,
            max_length=min(longest, _most_positions(base) or longest),
            memory_share=memory_share,
            tensor_parallel=tensor_parallel,
            trust_remote_code=trust_remote_code,
        )
        return score_model(generator, tokenizer, suite, sets, instruction=instruction, seed=seed)


def _most_positions(base: Path) -> int | None:
    """Positions that the base knows."""
    try:
        found = json.loads((base / "config.json").read_text(encoding="utf-8")).get("max_position_embeddings")
    except (OSError, ValueError) as error:
        raise EngineError(f"base {base}: its config.json cannot be read: {error}") from error
    return int(found) if isinstance(found, int) else None


def score_model(
    generator: Generator,
    tokenizer: Any,
    suite: Suite,
    problems: Mapping[str, Sequence[Problem]],
    *,
    instruction: str,
    seed: int = 0,
) -> ScoreReport:
    """Score a model that is loaded already; see :func:`score_checkpoint`.

    Raises:
        InvalidInputError: a benchmark has no problems.
        EngineError: a metric is out of range.
    """
    started = time.perf_counter()
    records: list[ProblemRecord] = []
    for benchmark in suite.benchmarks:
        found = problems.get(benchmark.name, ())
        if not found:
            raise InvalidInputError(f"benchmark {benchmark.name}: there are no problems to score it with")
        records += _records(generator, tokenizer, benchmark, found, instruction, seed)
    metrics, values = _metrics(suite, records)
    spread = bootstrap.intervals(values, suite.weights(), seed=seed)
    return ScoreReport(metrics, spread, tuple(records), seed, time.perf_counter() - started)


def _records(
    generator: Generator,
    tokenizer: Any,
    benchmark: SuiteBenchmark,
    problems: Sequence[Problem],
    instruction: str,
    seed: int,
) -> list[ProblemRecord]:
    sampling = Sampling(
        n=benchmark.n,
        temperature=benchmark.temperature if benchmark.pass_k is not None or benchmark.n > 1 else 0.0,
        max_tokens=benchmark.max_tokens,
        seed=zlib.crc32(f"score/{seed}/{benchmark.name}".encode()),
    )
    prompts = encode(tokenizer, [prompt(problem, instruction) for problem in problems])
    responses = generator.generate(prompts, sampling)
    answered = [
        (response.text, problem.answer) for problem, own in zip(problems, responses, strict=True) for response in own
    ]
    verdicts = judge(answered)
    records = []
    for index, (problem, own) in enumerate(zip(problems, responses, strict=True)):
        judged = verdicts[index * sampling.n : (index + 1) * sampling.n]
        correct = sum(verdict.correct for verdict in judged)
        records.append(
            ProblemRecord(
                benchmark=benchmark.name,
                index=index,
                problem=problem.text,
                answer=problem.answer,
                samples=len(own),
                correct=correct,
                valid=sum(verdict.valid for verdict in judged),
                ended=sum(response.ended for response in own),
                mean_length=sum(response.tokens for response in own) / len(own),
                score=m.pass_at_k(len(own), correct, benchmark.k),
            )
        )
    return records


def _metrics(suite: Suite, records: Sequence[ProblemRecord]) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Metrics, and the score of each problem in percentage points by benchmark."""
    values: dict[str, list[float]] = {name: [] for name in suite.weights()}
    for record in records:
        values[record.benchmark].append(100.0 * record.score)
    metrics = {name: sum(column) / len(column) for name, column in values.items()}
    metrics[METRIC_OVERALL] = m.overall(metrics, suite.weights())
    by_benchmark = [[record for record in records if record.benchmark == name] for name in values]
    metrics[METRIC_RESPONSE_LENGTH] = _mean([_mean([record.mean_length for record in own]) for own in by_benchmark])
    shares = [sum(record.valid for record in own) / sum(record.samples for record in own) for own in by_benchmark]
    metrics[METRIC_FORMAT_VALID] = 100.0 * _mean(shares)
    longest = max(benchmark.max_tokens for benchmark in suite.benchmarks)
    for name, value in metrics.items():
        highest = longest if name == METRIC_RESPONSE_LENGTH else 100.0
        if not (math.isfinite(value) and 0.0 <= value <= highest + 1e-9):
            raise EngineError(f"metric {name!r} is {value}, outside [0, {highest}]; the score is void")
    return metrics, values


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
