"""Train and score with VeRL: from documents to :mod:`poise_lib.evaluation.verl`, and what its failures mean.

What keeps a run from beginning (the machine, data, the VeRL that is installed) is a fault that is not kept, so that the
same task may succeed once it is mended.  An accident (a process of Ray's that died) is neither: it is raised, and the attempt is repeated,
which goes on from the last checkpoint.
"""

from __future__ import annotations

import time
from pathlib import Path

from poise_lib.errors import EngineError, InvalidInputError
from poise_lib.names import REASON_DATA_INVALID, REASON_SCORING_FAILED, REASON_SETTINGS_INVALID
from poise_lib.resources.evaluation import Fidelity
from poise_lib.resources.suites import suite_of
from poise_lib.resources.verl import VerlSettings
from poise_lib.tasks import documents as d
from poise_lib.tasks.context import Fault, TaskContext


def train(task: d.TrainInput, context: TaskContext) -> d.TrainOutput:
    """One training run; one that ended early keeps its trajectory, and its last checkpoint where that is usable.

    Raises:
        Fault: it could not begin, because of the settings or of the machine.
        PoiseError: this attempt failed by accident.
    """
    from poise_lib.evaluation.trajectory import STEP
    from poise_lib.evaluation.verl.preflight import Unusable
    from poise_lib.evaluation.verl.training import VerlRun
    from poise_lib.evaluation.verl.training import train as train_with_verl
    from poise_lib.tasks.outputs import trained

    settings = _settings(task.verl)
    asked = VerlRun(
        source=task.source,
        settings=settings,
        seed=task.seed,
        fidelity=task.fidelity or Fidelity.FULL,
        stopping=task.stopping,
        reference=task.reference or (),
        checkpoints=context.checkpoints,
    )

    def on_progress(record: dict[str, float], steps: int | None) -> None:
        known = {"steps": steps} if steps is not None else {}
        context.report({"step": int(record.get(STEP, 0.0)) + 1, **known})

    started = time.monotonic()
    try:
        report = train_with_verl(asked, context.workdir / "train", on_progress, context.outside)
    except Unusable as error:
        raise Fault(error.reason, str(error), keep=False) from error
    ended = report.ended
    ending = d.Ending(reason=ended.reason, message=ended.message, step=ended.step) if ended is not None else None
    return trained(context, report.policy, report.trajectory, started, ending)


def score(task: d.ScoreInput, context: TaskContext) -> d.ScoreOutput:
    """Score a checkpoint; no candidate code is near.

    Raises:
        Fault: the base or the problems are missing, or the weights cannot be scored.
        StateError: the weights are not in the store.
    """
    import torch

    from poise_lib.evaluation.verl.preflight import Unusable
    from poise_lib.evaluation.verl.scoring.score import backend_of, score_checkpoint
    from poise_lib.evaluation.verl.training import trusted_base
    from poise_lib.tasks.outputs import scored

    settings = _settings(task.verl)
    started = time.monotonic()
    checkpoint = context.workdir / "policy"
    checkpoint.mkdir()
    context.store.get_file(task.policy, checkpoint / "policy.safetensors")
    try:
        report = score_checkpoint(
            checkpoint,
            trusted_base(settings),
            suite_of(task.suite, task.suite_definition),
            problems=Path(settings.problems) if settings.problems is not None else None,
            instruction=settings.data.instruction,
            backend=backend_of(settings),
            split=task.split,
            seed=task.seed,
            trust_remote_code=settings.model.trust_remote_code,
            tensor_parallel=min(settings.parallelism.tensor, max(1, torch.cuda.device_count())),
        )
    except Unusable as error:
        raise Fault(error.reason, str(error), keep=False) from error
    except InvalidInputError as error:
        raise Fault(REASON_DATA_INVALID, str(error), keep=False) from error
    except EngineError as error:
        raise Fault(REASON_SCORING_FAILED, str(error), keep=False) from error
    return scored(context, report.metrics, report.lines(), started)


def is_over(left: Path) -> bool:
    """Whether the run that left these files needs its checkpoints no more: it was not lost, and had begun."""
    from pydantic import ValidationError

    from poise_lib.evaluation.verl.job import ACCOUNT_FILE, Account

    try:
        account = Account.model_validate_json((left / ACCOUNT_FILE).read_bytes())
    except (OSError, ValidationError):
        return False
    return account.kind not in ("lost", "unusable")


def _settings(settings: VerlSettings | None) -> VerlSettings:
    if settings is None:
        raise Fault(
            REASON_SETTINGS_INVALID, "engine verl needs the settings evaluation.verl; they are not in the input"
        )
    return settings
