"""VeRL on this machine: a tiny model made on the spot, trained by VeRL with a candidate, scored from its checkpoint.

Settings for :mod:`poise_lib.evaluation.verl.training`, which trains everything else too, and the suite sums-v1.  The
candidate's code runs in VeRL's processes, which are the user's own: Ray needs sockets, shared memory and many processes,
so none of the sandbox's layers holds around them.  This process never loads the candidate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from poise_lib.errors import CandidateError
from poise_lib.evaluation.verl.adapter import tiny
from poise_lib.evaluation.verl.adapter.spec import CandidateSpec
from poise_lib.evaluation.verl.scoring.score import score_checkpoint
from poise_lib.evaluation.verl.training import VerlRun, train
from poise_lib.resources.suites import SUITES
from poise_lib.resources.verl import VerlSettings

RUN: Final = "train"
"""Folder of the training, below the work folder."""

Record = dict[str, float]


@dataclass(frozen=True, slots=True)
class TinySettings:
    """A run on the tiny task."""

    steps: int = 20
    seed: int = 0
    prompts: int = 16
    """Prompts a step."""
    samples: int = 8
    """Responses a prompt."""
    mini_batches: int = 2
    """Updates a step; with one the ratio is 1 and no clip ever acts."""
    learning_rate: float = 1e-3
    platform: str = "cpu"
    """"cpu" in float32, or "cuda" with VeRL's own mixed precision (bfloat16)."""
    shape: str = "tiny"
    """Of the model: one of :data:`poise_lib.evaluation.verl.adapter.tiny.SHAPES`."""


@dataclass(frozen=True, slots=True)
class EmbeddedReport:
    """What a run left behind; the trajectory comes from untrusted code and is advisory."""

    before: dict[str, float]
    """The base's scores on sums-v1."""
    after: dict[str, float]
    """The checkpoint's."""
    trajectory: tuple[Record, ...]
    policy: Path
    """The weights that were scored, safetensors."""
    seconds: float
    start_seconds: float
    """Until the first step was done."""


def train_tiny(
    spec: CandidateSpec,
    settings: TinySettings,
    workdir: Path,
    on_progress: Callable[[Record], None] = lambda record: None,
    on_stage: Callable[[str], None] = lambda text: None,
    checkpoints: Path | None = None,
) -> EmbeddedReport:
    """Train the tiny base with a candidate through VeRL, and score what comes out.

    Args:
        spec: the candidate.
        settings: of the run.
        workdir: an empty folder; keeps the base and, in :data:`RUN`, VeRL's log and metrics.
        on_progress: receives each step's record as it is made.
        on_stage: receives a few words when something else begins.
        checkpoints: a folder from whose last checkpoint the run goes on, and where it leaves its own.

    Raises:
        CandidateError: the candidate failed; the message is its own, and the metrics until then are in ``workdir``.
        EngineError: VeRL is missing or failed, or does not take a setting.
    """
    started = time.monotonic()
    on_stage("making the base")
    base = tiny.make_base(workdir / "base", settings.seed, tiny.SHAPES[settings.shape], settings.platform)
    on_stage("starting VeRL: Ray, workers, rollout")
    first = math.nan

    def heard(record: Record, _steps: int | None) -> None:
        nonlocal first
        if math.isnan(first):
            first = time.monotonic() - started
        on_progress(record)

    asked = VerlRun(
        source=spec.source,
        settings=settings_of(base, settings),
        seed=settings.seed,
        name=spec.name,
        hyper=spec.hyper,
        checkpoints=checkpoints,
    )
    report = train(asked, workdir / RUN, heard)
    if report.ended is not None or report.policy is None:
        raise CandidateError(report.ended.message if report.ended is not None else "there are no weights")
    on_stage("scoring the checkpoint and the base")
    trained = workdir / "policy"
    trained.mkdir()
    policy = report.policy.rename(trained / report.policy.name)
    before, after = (
        dict(
            score_checkpoint(
                folder,
                base.model,
                SUITES[tiny.SUITE],
                problems=base.problems,
                instruction="",
                backend="transformers",
                seed=settings.seed,
            ).metrics
        )
        for folder in (base.model, trained)
    )
    return EmbeddedReport(before, after, report.trajectory, policy, time.monotonic() - started, first)


def settings_of(base: tiny.TinyBase, run: TinySettings) -> VerlSettings:
    """The settings of a run on the tiny task, as a Search would have them."""
    samples = run.prompts * run.samples
    return VerlSettings.model_validate(
        {
            "platform": run.platform,
            "model": {"path": str(base.model.absolute())},
            "data": {"train": [str(base.train.absolute())], "instruction": ""},
            "problems": str(base.problems.absolute()),
            "batchSize": run.prompts,
            "groupSize": run.samples,
            "miniBatches": min(run.mini_batches, run.prompts),
            "promptLength": tiny.PROMPT_TOKENS,
            "responseLength": tiny.RESPONSE_TOKENS,
            "learningRate": run.learning_rate,
            "weightDecay": 0.0,
            "steps": run.steps,
            "tokensPerGpu": samples * (tiny.PROMPT_TOKENS + tiny.RESPONSE_TOKENS),
            "gradientCheckpointing": False,
            "gpusPerNode": 1,
            "rollout": {"engine": "hf"},
            "offload": {"reference": False},
            "checkpoints": {"every": run.steps},
            "loggers": [],
        }
    )
