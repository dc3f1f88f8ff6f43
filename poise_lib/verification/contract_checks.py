"""Contract checks and behavioural probes: judge, in the parent and with NumPy, what the child handed over."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from poise_lib.verification import plan as calls
from poise_lib.verification import situations as at
from poise_lib.verification.plan import Plan
from poise_lib.verification.protocol import Answer, ArrayNote, CallResult, Float32
from poise_lib.verification.report import Check, Status

CLOSE: Final = 1e-4
"""Relative difference that float32 sums in another order may show."""
_FLOATS: Final = ("Tensor float32", "Tensor float64")
_LISTED: Final = 4
"""How many findings an evidence text spells out."""
_STAGES: Final = ("rewards", "advantages", "loss", "gradient", "entropy_gradient")


def runs(answer: Answer) -> Check:
    """Every contract function returns, in every situation, with default hyperparameters."""
    if answer.results.load_error:
        return Check("runs", Status.FAILED, answer.results.load_error, "the module must load; see the message")
    bad = [f"{_situation(name)}: {result.error}" for name, result in _base(answer) if result.error]
    if bad:
        hint = "a candidate must handle every situation: empty subsets, groups of one, nothing correct, one token"
        return Check("runs", Status.FAILED, _listing(bad), hint)
    total = len(answer.results.calls)
    return Check(
        "runs", Status.PASSED, f"{total} chains of calls in {len(at.all_situations())} situations, no exception"
    )


def shapes_and_dtypes(answer: Answer, plan: Plan) -> Check:
    """Rewards [B], advantages [B, T], loss as the aggregation takes it, metrics [B] or [B, T]; all of them floats."""
    bad = []
    for name, result in _base(answer):
        situation = plan.request.situations[_situation(name)]
        per_token = situation.arrays["response_mask"].shape
        expected = {
            "rewards": per_token[:1],
            "advantages": per_token,
            "loss": per_token[:1] if plan.request.aggregation == "seq-mean" else per_token,
        }
        for stage, shape in expected.items():
            note = result.arrays.get(stage)
            if note is not None and (note.kind not in _FLOATS or note.shape != shape):
                bad.append(f"{situation.name}: {stage} is {_described(note)}, expected float32 {list(shape)}")
        for metric, note in result.metrics.items():
            if note.kind not in _FLOATS or note.shape not in (per_token, per_token[:1]):
                wanted = f"{list(per_token[:1])} or {list(per_token)}"
                bad.append(f"{situation.name}: metric {metric!r} is {_described(note)}, expected float32 {wanted}")
    hint = "see the contract; use .float() for masks and ops.spread to give every token its sample's value"
    return _verdict("shapes-and-dtypes", bad, "rewards [B], advantages [B, T], loss and metrics as declared", hint)


def finite(answer: Answer) -> Check:
    """No infinity and no NaN in values, metrics and gradients, however extreme the situation."""
    bad = []
    for name, result in _base(answer):
        for stage in _stored(result):
            values = answer.array(name, stage)
            if broken := int((~np.isfinite(values)).sum()):
                bad.append(f"{_situation(name)}: {stage} is not finite in {broken} of {values.size} places")
        bad += [f"{_situation(name)}: metric {metric!r} is not finite" for metric in result.bad_metrics]
    hint = (
        "guard divisions by clamping the denominator, keep roots away from 0, use ops.log_ratio before exp; "
        "torch.where does not stop a NaN in the gradient of the branch not taken"
    )
    return _verdict("finite", bad, "all values, metrics and gradients are finite", hint)


def deterministic(answer: Answer) -> Check:
    """The same call gives the same bits, before and after all the others."""
    bad = []
    for name, result in _base(answer):
        repeated = calls.again(_situation(name))
        second = answer.results.calls[repeated]
        for stage in _stored(result):
            same = stage in _stored(second) and np.array_equal(
                answer.array(name, stage), answer.array(repeated, stage), equal_nan=True
            )
            if not same:
                bad.append(f"{_situation(name)}: {stage} differs when the call is repeated")
        if second.coefficients != result.coefficients:
            bad.append(f"{_situation(name)}: schedule differs when the call is repeated")
    hint = "no state between calls, no randomness: the result may depend on the arguments only"
    return _verdict("deterministic", bad, "repeated calls agree to the last bit", hint)


def inputs_unchanged(answer: Answer, plan: Plan) -> Check:
    """No call changed a tensor that it was given."""
    expected = {name: _digest(situation) for name, situation in plan.request.situations.items()}
    bad = []
    for call in plan.request.calls:
        result = answer.results.calls[call.name]
        if result.inputs_after != expected[call.situation]:
            bad.append(f"{call.situation}: an input was changed")
    hint = "write x = x + y in place of x += y, and no assignment into what was given"
    return _verdict("inputs-unchanged", list(dict.fromkeys(bad)), "inputs are as they were", hint)


def mask_respected(answer: Answer, plan: Plan) -> Check:
    """Whatever stands outside the mask changes nothing inside it."""
    bad: list[str] = []
    for name in calls.TRANSFORMED:
        mask = plan.request.situations[name].arrays["response_mask"]
        width = mask.shape[1]

        def inside(values: Float32, mask: at.Array = mask, width: int = width) -> Float32:
            kept: Float32 = values if values.ndim == 1 else values[:, :width] * mask
            return kept

        bad += _differences(answer, calls.base(name), calls.padded(name), inside, inside)
        for stage in ("gradient", "entropy_gradient"):
            if stage in _stored(answer.results.calls[calls.padded(name)]):
                wide = answer.array(calls.padded(name), stage)
                outside = wide * ~np.pad(mask, ((0, 0), (0, wide.shape[1] - width)))
                if np.any(outside != 0):
                    bad.append(f"{name}: {stage} outside the mask is {np.abs(outside).max():.2g}, must be 0")
    hint = "multiply by response_mask before any sum or mean over tokens; ops.sequence_mean and ops.masked_mean do"
    return _verdict("mask-respected", bad, "arbitrary values in the padding change nothing", hint)


def order_free(answer: Answer, plan: Plan) -> Check:
    """The order of samples and the labels of groups mean nothing."""
    bad: list[str] = []
    for name in calls.TRANSFORMED:
        order = plan.orders[name]

        def reordered(values: Float32, order: at.Array = order) -> Float32:
            moved: Float32 = values[order]
            return moved

        bad += _differences(answer, calls.base(name), calls.permuted(name), reordered, _as_is)
        bad += _differences(answer, calls.base(name), calls.relabelled(name), _as_is, _as_is)
    hint = "group members need not be adjacent and groups differ in size: use the group operations of ops, no reshape"
    return _verdict("order-free", bad, "shuffled samples and renamed groups give the same results", hint)


def micro_batch_free(answer: Answer, plan: Plan) -> Check:
    """A response's loss does not depend on which others share its micro-batch."""
    bad = []
    for name in calls.TRANSFORMED:
        if error := answer.results.calls[calls.part(name)].error:
            bad.append(f"{name}, {calls.PART_ROWS} responses alone: {error}")
            continue
        rows = slice(min(calls.PART_ROWS, plan.request.situations[name].samples))
        whole, alone = answer.array(calls.base(name), "loss")[rows], answer.array(calls.part(name), "loss")
        gap = distance(whole, alone)
        if gap > CLOSE:
            bad.append(f"{name}: losses of {alone.shape[0]} responses change by {gap:.2g} when they come alone")
    hint = "policy_loss sees a micro-batch: statistics over samples belong into advantages"
    return _verdict("micro-batch-free", bad, "losses are the same in a smaller micro-batch", hint)


def schedule_sound(answer: Answer, plan: Plan) -> Check:
    """``schedule`` answers every course of training with a few finite numbers."""
    if not plan.request.histories:
        return Check("schedule", Status.SKIPPED, "the candidate has no schedule")
    bad = []
    for name in plan.request.histories:
        result = answer.results.schedules[name]
        if result.error or result.problem:
            bad.append(f"{name}: {result.error or result.problem}")
    hint = "use .get(name, default) for metrics, expect an empty history, zeros and spikes; return {name: number}"
    return _verdict("schedule", bad, f"finite coefficients for {len(plan.request.histories)} courses of training", hint)


def distance(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Largest difference, relative to the largest value of either; infinite when shapes differ or something is not
    finite."""
    if first.shape != second.shape:
        return float("inf")
    if first.size == 0:
        return 0.0
    a, b = first.astype(np.float64), second.astype(np.float64)
    largest = max(float(np.abs(a).max()), float(np.abs(b).max()))
    gap = float(np.abs(a - b).max())
    if not np.isfinite(gap):
        return 0.0 if np.array_equal(a, b, equal_nan=True) else float("inf")
    return gap / largest if largest > 0 else 0.0


def _differences(
    answer: Answer,
    reference: str,
    other: str,
    map_reference: Callable[[Float32], Float32],
    map_other: Callable[[Float32], Float32],
) -> Iterator[str]:
    second = answer.results.calls[other]
    if second.error:
        yield f"{other}: {second.error}"
        return
    for stage in _stored(answer.results.calls[reference]):
        gap = distance(map_reference(answer.array(reference, stage)), map_other(answer.array(other, stage)))
        if gap > CLOSE:
            yield f"{other}: {stage} changes by {gap:.2g}"


def _as_is(values: Float32) -> Float32:
    return values


def _base(answer: Answer) -> Iterator[tuple[str, CallResult]]:
    """The calls with default hyperparameters; a missing one reads as an error."""
    missing = CallResult(error="the child made no such call")
    for name in at.all_situations():
        yield calls.base(name), answer.results.calls.get(calls.base(name), missing)


def _situation(call: str) -> str:
    return call.partition("/")[2]


def _stored(result: CallResult) -> Sequence[str]:
    return [stage for stage in _STAGES if stage in result.arrays and result.arrays[stage].stored]


def _described(note: ArrayNote) -> str:
    return f"{note.kind} {list(note.shape)}" if note.kind.startswith("Tensor") else note.kind


def _digest(situation: at.Situation) -> str:
    total = hashlib.sha256()
    for name in sorted(situation.arrays):
        total.update(np.ascontiguousarray(situation.arrays[name]).tobytes())
    return total.hexdigest()


def _verdict(name: str, bad: Sequence[str], good: str, hint: str) -> Check:
    if bad:
        return Check(name, Status.FAILED, _listing(bad), hint)
    return Check(name, Status.PASSED, good)


def _listing(findings: Sequence[str]) -> str:
    more = f"; and {len(findings) - _LISTED} more" if len(findings) > _LISTED else ""
    return "; ".join(findings[:_LISTED]) + more
