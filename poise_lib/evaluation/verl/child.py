"""The process that prepares a run of VeRL, watches over it and leaves files: as untrusted as the candidate in VeRL.

What the folder holds (:mod:`poise_lib.evaluation.verl.job`):

- ``job.json`` and ``candidate.py`` in.
- ``account.json`` out: how the run ended; ``trajectory.jsonl``: a record a step, also printed as it is made;
  ``policy-*.safetensors``: the weights of the last whole checkpoint, where there is one.
- ``run/``: VeRL's own log, metrics and, unless the job names a folder for them, checkpoints.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from poise_lib.errors import CandidateError, EngineError, InvalidInputError
from poise_lib.evaluation.stopping import Stop, Watch
from poise_lib.evaluation.trajectory import STEP, TIMES
from poise_lib.evaluation.verl import job as j
from poise_lib.evaluation.verl.adapter import launch
from poise_lib.evaluation.verl.adapter.history import HISTORY_FILE, read_history
from poise_lib.evaluation.verl.adapter.spec import CandidateSpec
from poise_lib.evaluation.verl.composing import check_keys_here
from poise_lib.evaluation.verl.overrides import describe, steps_asked
from poise_lib.evaluation.verl.preflight import Problem, Unusable, look, problems, resolve_model
from poise_lib.evaluation.verl.preparing import prepare_training_data, run_paths
from poise_lib.names import (
    REASON_DATA_INVALID,
    REASON_MODEL_MISSING,
    REASON_SETTINGS_INVALID,
    REASON_TIME_LIMIT_REACHED,
    REASON_TRAINING_FAILED,
)
from poise_lib.resources.base import seconds

T = TypeVar("T")

RUN: Final = "run"
_TRACKER: Final = "latest_checkpointed_iteration.txt"
"""VeRL writes it last of a checkpoint: the step whose checkpoint is whole."""
_LOG_LINES: Final = 40
_MAX_MESSAGE: Final = 2000


class _Enough(Exception):
    """The watch ends the run."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.message)
        self.stop = stop


def main(workdir: Path) -> None:
    """Do the job that ``workdir`` holds; whatever becomes of it is in the account."""
    task = j.TrainJob.model_validate_json((workdir / j.JOB_FILE).read_text(encoding="utf-8"))
    run = _Run(task, workdir)
    account = run.account()
    (workdir / j.TRAJECTORY_FILE).write_text("".join(json.dumps(record) + "\n" for record in run.records))
    if account.kind in ("finished", "stopped", "candidate"):
        hand_in(run.checkpoints, workdir)
    if account.kind != "finished":
        _show_log(workdir / RUN / launch.LOG)
    (workdir / j.ACCOUNT_FILE).write_text(account.model_dump_json(by_alias=True), encoding="utf-8")


class _Run:
    """One training, from its preparation to its last record."""

    def __init__(self, task: j.TrainJob, workdir: Path) -> None:
        self._task, self._workdir = task, workdir
        self._folder = workdir / RUN
        self._folder.mkdir(exist_ok=True)
        self.checkpoints = Path(task.checkpoints) if task.checkpoints else self._folder / "checkpoints"
        self.records: list[dict[str, float]] = []
        self._steps: int | None = None
        self._watch: Watch | None = None

    def account(self) -> j.Account:
        """Train, and say how it ended."""
        try:
            self._train()
        except Unusable as error:
            return self._ended("unusable", error.reason, str(error))
        except CandidateError as error:
            return self._ended("candidate", REASON_TRAINING_FAILED, str(error))
        except InvalidInputError as error:
            return self._ended("unusable", REASON_SETTINGS_INVALID, str(error))
        except _Enough as error:
            return self._ended("stopped", error.stop.reason, error.stop.message, error.stop.step)
        except launch.OutOfTime:
            limit = self._task.settings.time_limit
            text = (
                f"training took longer than evaluation.verl.timeLimit ({limit}) and was ended; raise it, or train less"
            )
            return self._ended("stopped", REASON_TIME_LIMIT_REACHED, text)
        except EngineError as error:
            return self._ended("lost", "", str(error))
        return self._ended("finished")

    def _ended(self, kind: str, reason: str = "", message: str = "", step: int | None = None) -> j.Account:
        done = len(self.records) if step is None else step
        return j.Account.model_validate(
            {"kind": kind, "reason": reason, "message": message[:_MAX_MESSAGE], "step": done}
        )

    def _train(self) -> None:
        settings, task = self._task.settings, self._task
        model = _blamed(REASON_MODEL_MISSING, lambda: resolve_model(settings.model))
        for problem in problems(settings, look(), model):
            raise Unusable(problem)
        rows = _blamed(REASON_DATA_INVALID, lambda: prepare_training_data(settings, self._folder))
        if 0 < rows < settings.batch_size:
            text = (
                f"evaluation.verl.data: {rows} problems are fewer than batchSize ({settings.batch_size}), so that there is "
                "no step to train; lower it, or give more data"
            )
            raise Unusable(Problem(REASON_DATA_INVALID, text))
        self._steps = steps_of(task, rows)
        self._watch = Watch(task.stopping, self._steps or 0, task.reference) if task.stopping is not None else None
        paths = replace(
            run_paths(settings, self._folder), model=str(model.absolute()), checkpoints=str(self.checkpoints.absolute())
        )
        source = (self._workdir / j.SOURCE_FILE).read_text(encoding="utf-8")
        CandidateSpec(name=task.name, source=source, hyper=task.hyper).write(Path(paths.candidate))
        described = describe(settings, paths, name=task.name, fidelity=task.fidelity, seed=task.seed)
        check_keys_here(described)
        done = last_checkpoint(self.checkpoints) or 0
        for record in read_history(self.checkpoints / HISTORY_FILE, done):
            self._hear(record)
        if self._steps is not None and done >= self._steps:
            return  # it was ended between its last checkpoint and its account
        launched = launch.Launch(
            folder=self._folder,
            overrides=described.arguments,
            platform=settings.platform.value,
            environment=described.environment,
            seconds=seconds(settings.time_limit),
        )
        launch.train(launched, self._hear)
        if last_checkpoint(self.checkpoints) is None:
            raise EngineError("VeRL ended by itself and left no checkpoint")

    def _hear(self, record: dict[str, float]) -> None:
        """Take the record of the next step; one that is known, from before a restart, is dropped."""
        step = record.get(STEP, math.nan)
        if step != len(self.records):
            return
        self.records.append({name: value for name, value in record.items() if name not in TIMES})
        line = j.Progress(steps=self._steps, record=self.records[-1])
        print(line.model_dump_json(by_alias=True), flush=True)  # noqa: T201 - standard output is the progress protocol
        stop = self._watch.see(record) if self._watch is not None else None
        if stop is not None:
            raise _Enough(stop)


def _blamed(reason: str, prepare: Callable[[], T]) -> T:
    """What ``prepare`` returns; its errors are not the candidate's."""
    try:
        return prepare()
    except (InvalidInputError, EngineError) as error:
        raise Unusable(Problem(reason, str(error))) from error


def steps_of(task: j.TrainJob, rows: int) -> int | None:
    """Steps of a run; None where VeRL alone knows how many there are.

    Args:
        task: the job.
        rows: of training data, 0 where they were not counted.
    """
    asked, _ = steps_asked(task.settings, task.fidelity)
    if asked is not None or rows == 0:
        return asked
    return rows // task.settings.batch_size * task.settings.epochs


def last_checkpoint(folder: Path) -> int | None:
    """The step of the last whole checkpoint; None where there is none."""
    try:
        step = int((folder / _TRACKER).read_text(encoding="utf-8").strip())
    except (OSError, ValueError):
        return None
    return step if (folder / f"global_step_{step}").is_dir() else None


def hand_in(checkpoints: Path, workdir: Path) -> None:
    """Copy the weights of the last whole checkpoint to where they are looked for; nothing where there is none."""
    step = last_checkpoint(checkpoints)
    if step is None:
        return
    weights = checkpoints / f"global_step_{step}" / "actor" / "huggingface"
    for number, file in enumerate(sorted(weights.glob("*.safetensors"))[: j.MAX_SHARDS], 1):
        shutil.copyfile(file, workdir / j.WEIGHTS.format(number))


def _show_log(log: Path) -> None:
    """The end of VeRL's log, which goes with the work folder, on standard error."""
    try:
        with log.open(encoding="utf-8", errors="replace") as file:
            sys.stderr.writelines(f" {line}" for line in deque(file, _LOG_LINES))
    except OSError:
        return
