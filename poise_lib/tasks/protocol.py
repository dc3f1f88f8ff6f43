"""The task protocol: a JSON document in, progress lines and one framed JSON result out.

A task is a process.  It reads a :class:`TaskRequest`, and prints

* ``poise-progress <json>`` lines while it works, and
* one frame at the end: ``poise-result <attempt> <length> <sha256>``, a newline, exactly ``length`` bytes of JSON, a
  newline.

Length and digest make a cut log or an injected line noticed; the attempt is a token that only the starter and the task
know, so a frame of another attempt, or one forged by what runs beside the task, is not accepted.  A result is kept in
the artifact store under the digest of the task's input before it is printed: the same task started again finds and
prints it.
"""

from __future__ import annotations

import hashlib
import json
import re
from enum import StrEnum
from typing import Any, Final

from pydantic import Field

from poise_lib import __version__
from poise_lib.artifacts.digest import canonical_json, digest_of
from poise_lib.resources.base import Model, seconds
from poise_lib.resources.llm import Reservation, Spend

MAX_RESULT_BYTES = 64 << 20
_PROGRESS = "poise-progress "
_HEADER = re.compile(r"poise-result ([0-9a-f]{32}) ([0-9]{1,10}) ([0-9a-f]{64})")


class TaskKind(StrEnum):
    """What a task does; see :mod:`poise_lib.tasks.documents` for inputs and outputs."""

    SELECT = "select"
    PROPOSE = "propose"
    IMPLEMENT = "implement"
    VERIFY = "verify"
    TRAIN = "train"
    SCORE = "score"
    REFLECT = "reflect"
    CONCLUDE = "conclude"
    COLLECT = "collect"
    CHECK = "check"
    """Whether the language model can be used at all, before anything is trained."""
    DISTILL = "distill"
    """Principles, from the archive as it stands."""


SPLIT_KINDS: Final = (TaskKind.VERIFY, TaskKind.TRAIN)
"""Kinds that run candidate code.  In a cluster a container of its own runs it, and another one judges what it left."""


_TIME_LIMITS: Final = {TaskKind.TRAIN: 4 * 3600, TaskKind.SCORE: 3600}
_DEFAULT_TIME_LIMIT: Final = 900
_TALKING_TIME_LIMIT: Final = 4 * 3600
"""A reasoning model may take minutes for a call, a task makes several, and each may be repeated."""
_BESIDE_TRAINING: Final = 2 * 3600
"""For data, waiting for other nodes, VeRL's start and handing in, beside a training's own limit."""


def time_limit(kind: TaskKind, *, asks_a_model: bool = False) -> int:
    """Seconds after which a task is ended whatever it does; candidate code has tighter limits of its own inside.

    Args:
        kind: of the task.
        asks_a_model: :attr:`TaskRequest.asks_a_model`; calls have limits of their own, which the user sets.
    """
    return _TALKING_TIME_LIMIT if asks_a_model else _TIME_LIMITS.get(kind, _DEFAULT_TIME_LIMIT)


MODEL_KINDS: Final = (TaskKind.CHECK, TaskKind.PROPOSE, TaskKind.IMPLEMENT, TaskKind.REFLECT, TaskKind.DISTILL)
"""Kinds that may ask a language model: those whose input has ``llm``.  No other task gets the key."""


_IMPLEMENT_ASKS: Final = 5
"""Plan, code, judge, repair, judge; a later revision has no plan."""
_REFLECT_ASKS: Final = 2


def asks_of(kind: TaskKind, proposals: int = 1) -> int:
    """Questions that a task puts at most, for :func:`~poise_lib.llm.ledger.task_allotment`.

    Args:
        kind: of the task.
        proposals: ``strategy.proposalsPerParent``: each is asked for, and goes to the critic.
    """
    match kind:
        case TaskKind.PROPOSE:
            return 2 * proposals
        case TaskKind.IMPLEMENT:
            return _IMPLEMENT_ASKS
        case TaskKind.REFLECT:
            return _REFLECT_ASKS
    return 1


class TaskRequest(Model):
    """A task to run: deterministic name, kind and input.  The same request has the same digest wherever it is made."""

    kind: TaskKind
    name: str
    input: dict[str, Any]
    reservation: Reservation | None = None
    """What it may spend on a language model; not part of the digest, because it does not decide the result."""

    @property
    def asks_a_model(self) -> bool:
        """Whether it may call a language model."""
        return self.kind in MODEL_KINDS and self.input.get("llm") is not None

    @property
    def verl(self) -> dict[str, Any] | None:
        """The settings of engine verl, of a task that trains or scores with it; None for any other."""
        of_verl = self.kind in (TaskKind.TRAIN, TaskKind.SCORE) and self.input.get("engine") == "verl"
        return self.input.get("verl") if of_verl else None

    @property
    def time_limit(self) -> int:
        """Seconds after which it is ended whatever it does; by VeRL it trains and scores as long as the user says."""
        if self.verl is not None:
            return int(seconds(self.verl["timeLimit"])) + _BESIDE_TRAINING
        return time_limit(self.kind, asks_a_model=self.asks_a_model)

    @property
    def digest(self) -> str:
        """Digest of what decides the result: kind, input and the engine build; the name is not part of it."""
        return digest_of(canonical_json({"build": __version__, "kind": self.kind.value, "input": self.input}))

    @property
    def stamp(self) -> str:
        """The digest with the build that made it, which alone can say whether another input is meant."""
        return f"{__version__}/{self.digest.removeprefix('sha256:')[:32]}"

    def differs(self, stamp: str) -> bool:
        """Whether a task with this stamp was given other input; one of another build has the benefit of the doubt."""
        return stamp.startswith(f"{__version__}/") and stamp != self.stamp


class TaskFault(Model):
    """Why a task has no output although it ended: the same input would end so again."""

    reason: str
    message: str


class TaskResult(Model):
    """What a task leaves: an output, or a fault; and the artifacts that the output names."""

    output: dict[str, Any] | None = None
    fault: TaskFault | None = None
    artifacts: tuple[str, ...] = Field(())
    spend: Spend | None = None
    """What the task, over all its attempts, has spent on a language model; missing when it asked none."""
    seconds: float | None = Field(None, ge=0.0, allow_inf_nan=False)
    """Of training or scoring that ended in a fault: its wall time.  Outputs tell their own."""


def frame(result: dict[str, Any], attempt: str) -> str:
    """The framed text of a result, to be printed in one write."""
    payload = canonical_json(result)
    return f"poise-result {attempt} {len(payload)} {hashlib.sha256(payload).hexdigest()}\n{payload.decode()}\n"


def progress_line(progress: dict[str, Any]) -> str:
    """A progress line, without the newline."""
    return _PROGRESS + canonical_json(progress).decode()


class FrameReader:
    """Reads a task's output line by line; collects the last progress and the one result of this attempt.

    Lines that are neither are ignored.  A second result frame of the same attempt makes the output invalid.
    """

    def __init__(self, attempt: str) -> None:
        self.attempt = attempt
        self.progress: dict[str, Any] = {}
        self.result: TaskResult | None = None
        self.problem: str | None = None
        self._expected: tuple[int, str] | None = None

    def feed(self, line: str) -> None:
        """Take one line, without its newline."""
        if self._expected is not None:
            self._payload(line)
        elif line.startswith(_PROGRESS):
            try:
                progress = json.loads(line[len(_PROGRESS) :])
            except ValueError:
                return
            if isinstance(progress, dict):
                self.progress = progress
        elif (match := _HEADER.fullmatch(line)) is not None and match[1] == self.attempt:
            self._expected = (int(match[2]), match[3])

    def _payload(self, line: str) -> None:
        assert self._expected is not None
        length, digest = self._expected
        self._expected = None
        payload = line.encode()
        if self.result is not None:
            self.problem = "the task printed two results"
        elif length > MAX_RESULT_BYTES or len(payload) != length or hashlib.sha256(payload).hexdigest() != digest:
            self.problem = "the result frame is cut or damaged"
        else:
            self.result = TaskResult.model_validate_json(payload)

    @property
    def accepted(self) -> TaskResult | None:
        """The result, if exactly one whole frame of this attempt was read."""
        return self.result if self.problem is None and self._expected is None else None
