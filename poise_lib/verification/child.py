"""The sandboxed side of verification: make the calls that the parent lists, and write down what comes out.

Imported before the lock (see :mod:`poise_lib.sandbox.launcher`), with PyTorch and the embedded engine.  Nothing here is
believed by the parent, so nothing here judges.
"""

from __future__ import annotations

import hashlib
import json
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import torch
from safetensors.torch import load, save
from torch import Tensor

from poise_lib.algorithms.aggregation import MiniBatchCounts, aggregate
from poise_lib.algorithms.contract import Algorithm, Batch, LossInputs, LossOutput, Outcomes
from poise_lib.algorithms.loading import algorithm_from_source
from poise_lib.errors import CandidateError
from poise_lib.evaluation.nano.config import PROBE
from poise_lib.evaluation.nano.training import train
from poise_lib.verification import protocol
from poise_lib.verification.situations import TOTAL_STEPS

_ARRAYS: Final = (
    "correct",
    "valid",
    "group",
    "length",
    "response_mask",
    "old_logprobs",
    "logprobs",
    "ref_logprobs",
    "old_entropy",
    "entropy",
)


def main(workdir: Path) -> None:
    """Entry of the sandbox."""
    torch.set_num_threads(1)
    request = json.loads((workdir / protocol.REQUEST_FILE).read_text(encoding="utf-8"))
    arrays = load((workdir / protocol.REQUEST_ARRAYS_FILE).read_bytes())
    source = (workdir / protocol.SOURCE_FILE).read_text(encoding="utf-8")
    try:
        algorithm = algorithm_from_source(source, "candidate", protocol.SOURCE_FILE)
    except CandidateError as error:
        _write(workdir, protocol.Results(load_error=str(error)[: 2 * protocol.MAX_TEXT]), {})
        return
    if surprise := _surprise(algorithm, request):
        _write(workdir, protocol.Results(load_error=surprise), {})
        return
    prober = _Prober(algorithm, request, arrays)
    calls = {call["name"]: prober.call(call) for call in request["calls"]}
    schedules = {
        name: _schedule(algorithm, history, request["hyper"]) for name, history in request["histories"].items()
    }
    _write(workdir, protocol.Results(calls=calls, schedules=schedules), prober.outputs)
    if request["training"]:
        training = _train(algorithm, request["hyper"])
        (workdir / protocol.TRAINING_FILE).write_text(training.model_dump_json(), encoding="utf-8")


def _surprise(algorithm: Algorithm, request: Mapping[str, Any]) -> str:
    """What the loaded module declares otherwise than its text was read; empty when nothing does.

    Training goes by the module, verification by the text: what was verified would not be what is trained.
    """
    loaded = {"hyper": algorithm.hyper(), "needs": list(algorithm.needs), "aggregation": algorithm.aggregation}
    differing = [name for name, value in loaded.items() if value != request[name]]
    return f"the module declares another {differing[0]} than its text; write plain literals" if differing else ""


def _write(workdir: Path, results: protocol.Results, arrays: Mapping[str, Tensor]) -> None:
    (workdir / protocol.RESULT_ARRAYS_FILE).write_bytes(save(dict(arrays)))
    (workdir / protocol.RESULTS_FILE).write_text(results.model_dump_json(), encoding="utf-8")


def _explain(stage: str, error: BaseException) -> str:
    """Where in the candidate an exception came from."""
    frames = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == protocol.SOURCE_FILE
    ]
    place = f" (line {frames[-1]})" if frames else ""
    message = " ".join(str(error).split())[: protocol.MAX_TEXT]
    return f"{stage}: {type(error).__name__}: {message}{place}"[: 2 * protocol.MAX_TEXT]


def _schedule(
    algorithm: Algorithm, history: list[dict[str, float]], hyper: Mapping[str, float]
) -> protocol.ScheduleResult:
    if algorithm.schedule is None:
        return protocol.ScheduleResult()
    try:
        returned: object = algorithm.schedule(_frozen_history(history), MappingProxyType(dict(hyper)))
    except Exception as error:
        return protocol.ScheduleResult(error=_explain("schedule", error))
    if not isinstance(returned, Mapping):
        return protocol.ScheduleResult(problem=f"returned {type(returned).__name__}, not a mapping")
    if len(returned) > protocol.MAX_COEFFICIENTS:
        return protocol.ScheduleResult(problem=f"returned {len(returned)} coefficients")
    coefficients = {}
    for name, value in returned.items():
        if not isinstance(name, str) or not isinstance(value, (int, float)):
            described = f"{str(name)[:60]!r} = {type(value).__name__}"
            return protocol.ScheduleResult(problem=f"returned {described}; names and plain numbers are allowed")
        if not math.isfinite(value):
            return protocol.ScheduleResult(problem=f"returned {name[:60]!r} = {float(value)}")
        coefficients[name[:60]] = float(value)
    return protocol.ScheduleResult(coefficients=coefficients)


def _frozen_history(history: list[dict[str, float]]) -> tuple[Mapping[str, float], ...]:
    return tuple(MappingProxyType(dict(record)) for record in history)


class _Failed(Exception):
    """Ends one call; carries what to write down."""


@dataclass(slots=True)
class _Prober:
    """Makes calls; ``outputs`` collects the arrays."""

    algorithm: Algorithm
    request: dict[str, Any]
    arrays: Mapping[str, Tensor]
    outputs: dict[str, Tensor] = field(default_factory=dict)

    def call(self, call: dict[str, Any]) -> protocol.CallResult:
        """One chain of calls on fresh copies of the situation's arrays."""
        inputs = {name: self.arrays[f"{call['situation']}:{name}"].clone() for name in _ARRAYS}
        found: dict[str, Any] = {"arrays": {}, "metrics": {}, "bad_metrics": (), "coefficients": {}}
        try:
            self._chain(call, inputs, found)
        except _Failed as failure:
            found["error"] = str(failure)
        found["inputs_after"] = digest(inputs)
        return protocol.CallResult(**found)

    def _chain(self, call: dict[str, Any], inputs: dict[str, Tensor], found: dict[str, Any]) -> None:
        name, hyper = call["name"], MappingProxyType(dict(call["hyper"]))
        situation = self.request["situations"][call["situation"]]
        scheduled = _schedule(self.algorithm, situation["history"], hyper)
        if scheduled.error or scheduled.problem:
            raise _Failed(scheduled.error or f"schedule: {scheduled.problem}")
        found["coefficients"] = scheduled.coefficients
        state: dict[str, Any] = {
            "coefficients": MappingProxyType(scheduled.coefficients),
            "step": situation["step"],
            "total_steps": TOTAL_STEPS,
        }
        shared: dict[str, Any] = {key: inputs[key] for key in ("correct", "valid", "length", "group")}
        limit = situation["max_length"]
        mask = inputs["response_mask"]

        rewards = inputs["correct"].float()
        if self.algorithm.rewards is not None:
            outcomes = Outcomes(**shared, max_length=limit, **state)
            function = self.algorithm.rewards
            rewards = self._tensor(found, name, "rewards", lambda: function(outcomes, hyper))
        needs = self.request["needs"]
        batch = Batch(
            rewards=rewards.detach().float(),
            **shared,
            max_length=limit,
            response_mask=mask,
            old_logprobs=inputs["old_logprobs"],
            ref_logprobs=inputs["ref_logprobs"] if "reference" in needs else None,
            entropy=inputs["old_entropy"] if "entropy" in needs else None,
            **state,
        )
        advantages = self._tensor(found, name, "advantages", lambda: self.algorithm.advantages(batch, hyper))
        if advantages.shape != mask.shape:
            raise _Failed(f"advantages: shape {list(advantages.shape)} instead of {list(mask.shape)}")

        rows = slice(call["rows"])
        logprobs = inputs["logprobs"][rows].clone().requires_grad_()
        entropy = inputs["entropy"][rows].clone().requires_grad_() if "entropy" in needs else None
        loss_inputs = LossInputs(
            logprobs=logprobs,
            old_logprobs=inputs["old_logprobs"][rows],
            ref_logprobs=inputs["ref_logprobs"][rows] if "reference" in needs else None,
            rollout_logprobs=None,
            advantages=(advantages.detach().float() * mask)[rows],
            response_mask=mask[rows],
            entropy=entropy,
            **state,
        )
        loss = self._tensor(found, name, "loss", lambda: self._loss(loss_inputs, hyper, found))
        counts = MiniBatchCounts(int(mask[rows].sum()), mask[rows].shape[0], limit)
        self._gradient(found, name, loss, mask[rows], counts, logprobs, entropy)

    def _loss(self, inputs: LossInputs, hyper: Mapping[str, float], found: dict[str, Any]) -> object:
        output: object = self.algorithm.policy_loss(inputs, hyper)
        if not isinstance(output, LossOutput):
            raise TypeError(f"policy_loss returned {type(output).__name__}, not LossOutput")
        metrics: dict[Any, Any] = dict(output.metrics)
        if len(metrics) > protocol.MAX_COEFFICIENTS:
            raise ValueError(f"{len(metrics)} metrics; at most {protocol.MAX_COEFFICIENTS} are allowed")
        found["metrics"] = {str(key)[:60]: _note(value) for key, value in metrics.items()}
        found["bad_metrics"] = tuple(
            str(key)[:60]
            for key, value in metrics.items()
            if isinstance(value, Tensor) and not bool(torch.isfinite(value.detach()).all())
        )
        return output.loss

    def _tensor(self, found: dict[str, Any], call: str, stage: str, produce: Callable[[], object]) -> Tensor:
        """Call the candidate, note what came back, keep its values; raises :class:`_Failed` when it is no tensor."""
        try:
            value = produce()
        except Exception as error:
            raise _Failed(_explain(stage, error)) from error
        found["arrays"][stage] = self._keep(call, stage, value)
        if not isinstance(value, Tensor):
            raise _Failed(f"{stage}: returned {type(value).__name__}, not a tensor")
        return value

    def _keep(self, call: str, stage: str, value: object) -> protocol.ArrayNote:
        note = _note(value)
        if isinstance(value, Tensor) and value.numel() <= protocol.MAX_ELEMENTS and not value.is_complex():
            self.outputs[f"{call}:{stage}"] = value.detach().to(torch.float32).contiguous().clone()
            note = note.model_copy(update={"stored": True})
        return note

    def _gradient(
        self,
        found: dict[str, Any],
        call: str,
        loss: Tensor,
        mask: Tensor,
        counts: MiniBatchCounts,
        logprobs: Tensor,
        entropy: Tensor | None,
    ) -> None:
        """The gradient of the reduced loss, as an engine would take it."""
        leaves = [logprobs] if entropy is None else [logprobs, entropy]
        try:
            reduced = aggregate(loss, mask, self.request["aggregation"], counts)
            gradients: Sequence[Tensor | None] = torch.autograd.grad(reduced, leaves, allow_unused=True)
        except (RuntimeError, ValueError) as error:
            raise _Failed(_explain("gradient", error)) from error
        for stage, leaf, gradient in zip(("gradient", "entropy_gradient"), leaves, gradients, strict=False):
            values = torch.zeros_like(leaf) if gradient is None else gradient
            found["arrays"][stage] = self._keep(call, stage, values)


def _note(value: object) -> protocol.ArrayNote:
    if not isinstance(value, Tensor):
        return protocol.ArrayNote(kind=type(value).__name__[: protocol.MAX_TEXT])
    return protocol.ArrayNote(kind=f"Tensor {str(value.dtype).removeprefix('torch.')}", shape=tuple(value.shape)[:8])


def digest(inputs: Mapping[str, Tensor]) -> str:
    """SHA-256 over the arrays' bytes, in order of name; the parent computes the same from what it sent."""
    total = hashlib.sha256()
    for name in sorted(inputs):
        total.update(inputs[name].numpy().tobytes())
    return total.hexdigest()


def _train(algorithm: Algorithm, hyper: Mapping[str, float]) -> protocol.TrainingResult:
    """A few steps of the embedded engine."""
    steps: list[dict[str, float]] = []
    try:
        train(algorithm, hyper, PROBE, 0, steps.append)
    except CandidateError as error:
        return protocol.TrainingResult(error=str(error)[: 2 * protocol.MAX_TEXT], steps=tuple(steps))
    except Exception as error:
        return protocol.TrainingResult(error=_explain("training", error), steps=tuple(steps))
    return protocol.TrainingResult(steps=tuple(steps))
