"""What parent and sandboxed child tell each other: files in the work directory, data in both directions.

The parent writes the source, the probe situations and a list of calls; the child makes the calls and writes down what
came out.  It hands over numbers, never verdicts; the parent reads them as hostile input: bounded, typed, checked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from poise_lib.errors import SandboxError
from poise_lib.sandbox import read_output
from poise_lib.verification.situations import Record, Situation

SOURCE_FILE: Final = "candidate.py"
REQUEST_FILE: Final = "request.json"
REQUEST_ARRAYS_FILE: Final = "request.safetensors"
RESULTS_FILE: Final = "results.json"
RESULT_ARRAYS_FILE: Final = "results.safetensors"
TRAINING_FILE: Final = "training.json"

MAX_JSON_BYTES: Final = 4 * 1024 * 1024
MAX_ARRAY_BYTES: Final = 48 * 1024 * 1024
MAX_ELEMENTS: Final = 100_000
"""Of one array that a candidate returned; the child notes the shape of a larger one and leaves it out."""
MAX_TEXT: Final = 300
MAX_COEFFICIENTS: Final = 32

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Call:
    """One chain of calls: schedule, rewards, advantages, policy_loss, gradient."""

    name: str
    situation: str
    hyper: Mapping[str, float]
    rows: int | None = None
    """Give ``policy_loss`` only the first rows, as a micro-batch; None gives it all."""


@dataclass(frozen=True, slots=True)
class Request:
    """Everything that the child is to do."""

    situations: Mapping[str, Situation]
    calls: Sequence[Call]
    histories: Mapping[str, Sequence[Record]]
    """Shown to ``schedule`` alone, with default hyperparameters."""
    hyper: Mapping[str, float]
    needs: Sequence[str]
    aggregation: str
    training: bool
    """Finish with a short training run."""


class ArrayNote(BaseModel):
    """What a candidate returned in place of, or as, an array."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = Field(max_length=MAX_TEXT)
    """Type name and dtype, such as "Tensor float32"."""
    shape: tuple[int, ...] = Field((), max_length=8)
    stored: bool = False
    """The values are among the result arrays, as float32."""


class CallResult(BaseModel):
    """What one call gave."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    error: str = Field("", max_length=2 * MAX_TEXT)
    """``stage: Type: message (line N)`` of an exception; empty when there was none."""
    arrays: dict[str, ArrayNote] = Field(default_factory=dict, max_length=8)
    """By what was returned: rewards, advantages, loss, gradient, entropy_gradient."""
    metrics: dict[str, ArrayNote] = Field(default_factory=dict, max_length=MAX_COEFFICIENTS)
    bad_metrics: tuple[str, ...] = Field((), max_length=MAX_COEFFICIENTS)
    """Metrics with values that are not finite."""
    coefficients: dict[str, float] = Field(default_factory=dict, max_length=MAX_COEFFICIENTS)
    inputs_after: str = Field("", max_length=64)
    """SHA-256 of the input arrays after the call."""


class ScheduleResult(BaseModel):
    """What ``schedule`` gave for one history."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    error: str = Field("", max_length=2 * MAX_TEXT)
    problem: str = Field("", max_length=MAX_TEXT)
    """What is wrong with the type of the result."""
    coefficients: dict[str, float] = Field(default_factory=dict, max_length=MAX_COEFFICIENTS)


class Results(BaseModel):
    """Everything that the child saw before training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    load_error: str = Field("", max_length=2 * MAX_TEXT)
    calls: dict[str, CallResult] = Field(default_factory=dict, max_length=1000)
    schedules: dict[str, ScheduleResult] = Field(default_factory=dict, max_length=100)


class TrainingResult(BaseModel):
    """What the short training run gave."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    error: str = Field("", max_length=2 * MAX_TEXT)
    steps: tuple[dict[str, float], ...] = Field((), max_length=100)


@dataclass(frozen=True, slots=True)
class Answer:
    """The child's results with their arrays."""

    results: Results
    arrays: Mapping[str, Float32]

    def array(self, call: str, name: str) -> Float32:
        """An array that the notes say is stored."""
        return self.arrays[f"{call}:{name}"]


def write_request(workdir: Path, source: str, request: Request) -> None:
    """Put everything that the child reads into its work directory."""
    document = {
        "situations": {
            name: {"max_length": situation.max_length, "step": situation.step, "history": situation.history}
            for name, situation in request.situations.items()
        },
        "calls": [asdict(call) for call in request.calls],
        "histories": request.histories,
        "hyper": request.hyper,
        "needs": request.needs,
        "aggregation": request.aggregation,
        "training": request.training,
    }
    arrays = {
        f"{name}:{array}": np.ascontiguousarray(values)
        for name, situation in request.situations.items()
        for array, values in situation.arrays.items()
    }
    (workdir / SOURCE_FILE).write_text(source, encoding="utf-8")
    (workdir / REQUEST_FILE).write_text(json.dumps(document), encoding="utf-8")
    (workdir / REQUEST_ARRAYS_FILE).write_bytes(save(arrays))


def read_answer(workdir: Path, request: Request) -> Answer:
    """The child's results: all that was asked for, in the shapes that a gradient has, or else a load error.

    Raises:
        SandboxError: they are missing, too large, or not what a child of ours writes.
    """
    try:
        results = Results.model_validate_json(read_output(workdir, RESULTS_FILE, MAX_JSON_BYTES))
        arrays = load(read_output(workdir, RESULT_ARRAYS_FILE, MAX_ARRAY_BYTES))
    except (ValidationError, SafetensorError, ValueError, KeyError) as error:
        raise SandboxError(f"the child's results cannot be read: {type(error).__name__}") from error
    for name, call in results.calls.items():
        for array, note in call.arrays.items():
            values = arrays.get(f"{name}:{array}")
            if note.stored and (values is None or values.dtype != np.float32 or values.shape != note.shape):
                raise SandboxError(f"the child's results do not fit together: {name}:{array}"[:MAX_TEXT])
    if not results.load_error:
        _require_complete(results, request)
    return Answer(results, arrays)


def _require_complete(results: Results, request: Request) -> None:
    if (
        results.calls.keys() != {call.name for call in request.calls}
        or results.schedules.keys() != request.histories.keys()
    ):
        raise SandboxError("the child did not make the calls that it was to make")
    for call in request.calls:
        result = results.calls[call.name]
        shape = request.situations[call.situation].arrays["response_mask"][: call.rows].shape
        if result.error:
            continue
        for stage in ("gradient", *(("entropy_gradient",) if "entropy" in request.needs else ())):
            note = result.arrays.get(stage)
            if note is None or not note.stored or note.shape != shape:
                raise SandboxError(f"the child's results lack the {stage} of {call.name}"[:MAX_TEXT])


def read_training(workdir: Path) -> TrainingResult:
    """What the short training run left.

    Raises:
        SandboxError: as :func:`read_answer`.
    """
    try:
        return TrainingResult.model_validate_json(read_output(workdir, TRAINING_FILE, MAX_JSON_BYTES))
    except ValidationError as error:
        raise SandboxError("the child's training record cannot be read") from error
