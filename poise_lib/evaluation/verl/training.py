"""Train a candidate with VeRL, and judge what the run leaves: the trusted side.

VeRL runs outside of the sandbox (:func:`poise_lib.sandbox.run_unconfined`), in a cluster in a container of its own
(:mod:`poise_lib.sandbox.handover`).  Whatever it leaves is a candidate's output: numbers that are advisory, and tensors
that are checked by name, shape, type and value against the trusted base before they are kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from poise_lib import sandbox
from poise_lib.errors import EngineError, InvalidInputError, SandboxError
from poise_lib.evaluation.verl import job as j
from poise_lib.evaluation.verl.preflight import Problem, Unusable, resolve_model
from poise_lib.evaluation.verl.scoring.checkpoint import merge, room_for
from poise_lib.names import REASON_ENGINE_MISSING, REASON_MODEL_MISSING, REASON_TRAINING_FAILED
from poise_lib.resources.base import seconds
from poise_lib.resources.early_stop import EarlyStopping
from poise_lib.resources.evaluation import Fidelity
from poise_lib.resources.verl import VerlSettings

ENTRY: Final = "poise_lib.evaluation.verl.child:main"
POLICY: Final = "policy.safetensors"
_AROUND_SECONDS: Final = 3600.0
"""For what lies around training: data, Ray's start, handing in."""
_MAX_TRAJECTORY_BYTES: Final = 64 * 1024**2
_MAX_ACCOUNT_BYTES: Final = 64 * 1024
_MAX_METRICS_PER_STEP: Final = 200
_MAX_STEPS: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Ended:
    """Why a run ended before its last step."""

    reason: str
    message: str
    step: int | None


@dataclass(frozen=True, slots=True)
class VerlReport:
    """What a run left.  The trajectory comes from untrusted code and is advisory."""

    policy: Path | None
    """The trained weights, checked, in one safetensors file; None where the run left no usable ones."""
    trajectory: tuple[dict[str, float], ...]
    ended: Ended | None
    """None: it went to its last step."""
    wall_seconds: float


@dataclass(frozen=True, slots=True)
class VerlRun:
    """A run to make."""

    source: str
    """The candidate module."""
    settings: VerlSettings
    seed: int
    fidelity: Fidelity = Fidelity.FULL
    name: str = "candidate"
    """What messages and logs call it."""
    hyper: Mapping[str, float] | None = None
    stopping: EarlyStopping | None = None
    """When to end it early; None: never."""
    reference: Sequence[Mapping[str, float]] = ()
    """The parent's trajectory."""
    checkpoints: Path | None = None
    """A folder that outlives this attempt, from whose last checkpoint the run goes on; None: none is kept."""


def train(
    asked: VerlRun,
    workdir: Path,
    on_progress: Callable[[dict[str, float], int | None], None] = lambda record, steps: None,
    run: sandbox.SandboxRun = sandbox.run_unconfined,
) -> VerlReport:
    """Train a candidate with VeRL.

    Args:
        asked: the run.
        workdir: an empty folder; afterwards it holds what the run left.
        on_progress: receives each step's record as it is made, and the number of all steps where it is known.
        run: what runs it.

    Raises:
        Unusable: it could not begin for want of something that is no candidate's.
        EngineError: VeRL failed by accident; another attempt may go on.
        SandboxError: its process could not be started.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    base = trusted_base(asked.settings)
    task = j.TrainJob(
        name=asked.name,
        settings=asked.settings.model_copy(update={"problems": None}),
        fidelity=asked.fidelity,
        seed=asked.seed,
        hyper=dict(asked.hyper or {}),
        stopping=asked.stopping,
        reference=tuple(dict(record) for record in asked.reference),
        checkpoints=str(asked.checkpoints.absolute()) if asked.checkpoints is not None else None,
    )
    (workdir / j.JOB_FILE).write_text(task.model_dump_json(by_alias=True), encoding="utf-8")
    (workdir / j.SOURCE_FILE).write_text(asked.source, encoding="utf-8")

    def on_line(line: str) -> None:
        try:
            progress = j.Progress.model_validate_json(line)
        except ValidationError:
            return
        if record := finite(progress.record):
            on_progress(record, progress.steps)

    limits = sandbox.Limits(
        cpu_seconds=1e9,
        wall_seconds=seconds(asked.settings.time_limit) + _AROUND_SECONDS,
        memory_bytes=1 << 62,
        file_bytes=room_for(base) + _MAX_TRAJECTORY_BYTES,
    )
    result = run(ENTRY, workdir, limits, on_line)
    if not result.ok:
        raise EngineError(f"training {asked.name} with VeRL: {result.reason}")
    account, trajectory = _account(workdir), _trajectory(workdir)
    match account.kind:
        case "unusable" if trajectory:
            raise EngineError(
                f"training {asked.name} with VeRL: its account says that it never began, and there are steps"
            )
        case "unusable":
            raise Unusable(Problem(account.reason or REASON_ENGINE_MISSING, account.message))
        case "lost":
            raise EngineError(account.message)
        case "finished":
            ended = None
        case _:
            ended = Ended(account.reason or REASON_TRAINING_FAILED, account.message, len(trajectory))
    policy, problem = _policy(workdir, base)
    if policy is None and ended is None:
        ended = Ended(REASON_TRAINING_FAILED, f"training left no usable weights: {problem}", len(trajectory))
    return VerlReport(policy, trajectory, ended, result.wall_seconds)


def trusted_base(settings: VerlSettings) -> Path:
    """The folder of the base that training starts from and scoring compares with.

    Raises:
        Unusable: it is not there.
    """
    try:
        return resolve_model(settings.model)
    except (InvalidInputError, EngineError) as error:
        raise Unusable(Problem(REASON_MODEL_MISSING, str(error))) from error


def _account(workdir: Path) -> j.Account:
    try:
        return j.Account.model_validate_json(sandbox.read_output(workdir, j.ACCOUNT_FILE, _MAX_ACCOUNT_BYTES))
    except (SandboxError, ValidationError) as error:
        raise EngineError("the process that runs VeRL left no account of the run; its log says why") from error


def _trajectory(workdir: Path) -> tuple[dict[str, float], ...]:
    try:
        content = sandbox.read_output(workdir, j.TRAJECTORY_FILE, _MAX_TRAJECTORY_BYTES).decode("utf-8", "replace")
    except SandboxError as error:
        raise EngineError(f"the process that runs VeRL left no usable trajectory: {error}") from error
    records = []
    for line in content.splitlines()[:_MAX_STEPS]:
        try:
            parsed = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(parsed, dict) and (record := finite(parsed)):
            records.append(record)
    return tuple(records)


def finite(parsed: Mapping[str, object]) -> dict[str, float]:
    """The finite numbers of what untrusted code calls a record of metrics; empty when it has too many to be one."""
    if len(parsed) > _MAX_METRICS_PER_STEP:
        return {}
    return {
        name: float(value)
        for name, value in parsed.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def _policy(workdir: Path, base: Path) -> tuple[Path | None, str]:
    """The weights that the run left, in one file; or None, and what is wrong with them."""
    target = workdir / POLICY
    if not any(workdir.glob(j.WEIGHTS_PATTERN)):
        return None, "there is no checkpoint"
    try:
        merge(workdir, base, target)
    except EngineError as error:
        return None, str(error)
    return target, ""
