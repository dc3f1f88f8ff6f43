"""Train a candidate in the sandbox, and score the checkpoint that it leaves: the trusted side of both.

Training runs untrusted code in a child process and hands over tensors and an advisory trajectory.  Scoring runs in the
calling process, reads tensors only, and holds the problems that training never sees.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from poise_lib import sandbox
from poise_lib.errors import CandidateError, EngineError, SandboxError
from poise_lib.evaluation.nano.job import CANDIDATE_FILE, JOB_FILE, POLICY_FILE, TRAJECTORY_FILE, Job

if TYPE_CHECKING:
    from poise_lib.evaluation.nano.config import NanoConfig
    from poise_lib.evaluation.nano.scoring import ScoreReport
    from poise_lib.evaluation.nano.suite import Split

TRAIN_ENTRY: Final = "poise_lib.evaluation.nano.child:main"
TRAIN_LIMITS: Final = sandbox.Limits(
    cpu_seconds=600.0, wall_seconds=1200.0, memory_bytes=4096 * 1024**2, file_bytes=64 * 1024**2
)
"""Some twenty times what a run of the full fidelity takes; a search may set its own."""
_MAX_TRAJECTORY_BYTES: Final = 16 * 1024**2
_MAX_METRICS_PER_STEP: Final = 200


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a training run left behind.  The trajectory comes from untrusted code and is advisory."""

    policy_path: Path
    trajectory: tuple[dict[str, float], ...]
    wall_seconds: float
    cpu_seconds: float
    in_force: tuple[str, ...]
    """The sandbox's layers that held (:data:`poise_lib.sandbox.model.LAYERS`)."""


def train_candidate(
    source: str,
    config: NanoConfig,
    seed: int,
    workdir: Path,
    on_progress: Callable[[dict[str, float]], None] | None = None,
    hyper: Mapping[str, float] | None = None,
    name: str = "candidate",
    limits: sandbox.Limits = TRAIN_LIMITS,
    run: sandbox.SandboxRun = sandbox.run,
) -> TrainReport:
    """Train ``source`` in the sandbox.

    Args:
        source: the candidate module.
        config: the training settings.
        seed: decides the training problems and all random numbers.
        workdir: an empty folder; afterwards it holds the checkpoint and the trajectory.
        on_progress: receives each step's metrics as they come.
        hyper: overrides of the candidate's hyperparameters.
        name: what messages call the candidate.
        limits: CPU, wall time, memory and files.
        run: what runs the

    Raises:
        CandidateError: the candidate failed, or hit a limit; the message is the child's account of it.
        SandboxError: the child could not be confined or started.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    job = Job(name=name, config=config, seed=seed, hyper=dict(hyper or {}))
    (workdir / JOB_FILE).write_text(job.model_dump_json(by_alias=True))
    (workdir / CANDIDATE_FILE).write_text(source)

    def on_line(line: str) -> None:
        record = _record(line)
        if record is not None and on_progress is not None:
            on_progress(record)

    result = run(TRAIN_ENTRY, workdir, limits, on_line)
    if not result.ok:
        raise CandidateError(f"training {name} failed: {result.reason}")
    try:
        content = sandbox.read_output(workdir, TRAJECTORY_FILE, _MAX_TRAJECTORY_BYTES).decode("utf-8", "replace")
        sandbox.read_output(workdir, POLICY_FILE, limits.file_bytes)
    except SandboxError as error:
        raise CandidateError(f"training {name} left no usable output: {error}") from error
    trajectory = tuple(record for line in content.splitlines() if (record := _record(line)) is not None)
    return TrainReport(workdir / POLICY_FILE, trajectory, result.wall_seconds, result.cpu_seconds, result.in_force)


def score_checkpoint(path: Path, split: Split, seed: int) -> ScoreReport:
    """Score a checkpoint on one split of the suite; see :func:`poise_lib.evaluation.nano.scoring.score`.

    Raises:
        EngineError: the checkpoint's tensors are not those of a policy, or a metric is out of range.
    """
    import torch

    from poise_lib.evaluation.nano.scoring import score

    torch.set_num_threads(1)
    try:
        return score(path, split, seed)
    except RuntimeError as error:
        raise EngineError(f"scoring {path.name} failed: {error}") from error


def _record(line: str) -> dict[str, float] | None:
    """A line of untrusted output as a record of finite metrics; None when it is anything else."""
    try:
        parsed = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(parsed, dict) or len(parsed) > _MAX_METRICS_PER_STEP:
        return None
    numbers = {
        str(name): float(value) for name, value in parsed.items() if isinstance(value, float) and math.isfinite(value)
    }
    return numbers or None
