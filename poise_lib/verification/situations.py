"""Probe situations: the states of training that a candidate is shown, as plain arrays.

They are made to be rich, because a mechanism may act in a rare regime only, and a check that never enters the regime
would accuse it falsely: groups of every outcome (mixed, all-fail, all-correct, malformed, of one member, of a
hundred), lengths from one token to the limit, ratios inside and far outside any clip interval, entropy above and
below any target, training at its start, in the middle and near its end.

Fixed for ever by their seeds: behaviour digests are compared across versions.  NumPy's ``RandomState`` streams are
frozen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Record = Mapping[str, float]

TOTAL_STEPS: Final = 40
RICH: Final = "rich"
LATE: Final = "late"
EXPLORING: Final = "exploring"
LARGE_GROUPS: Final = "large-groups"
ALL_FAIL: Final = "all-fail"
ALL_CORRECT: Final = "all-correct"
ALL_INVALID: Final = "all-invalid"
ONE_MEMBER: Final = "one-member-groups"
ONE_SAMPLE: Final = "one-sample"
ONE_TOKEN: Final = "one-token"
EXTREME_LENGTHS: Final = "extreme-lengths"
EXTREME_RATIOS: Final = "extreme-ratios"
ON_POLICY: Final = "on-policy"


@dataclass(frozen=True, slots=True)
class Situation:
    """One state of training; B samples, T positions.  See :class:`~poise_lib.algorithms.contract.Batch` for the
    meanings."""

    name: str
    arrays: Mapping[str, Array]
    """correct, valid [B] bool; group, length [B] int64; response_mask [B, T] bool; old_logprobs, logprobs,
    ref_logprobs, old_entropy, entropy [B, T] float32, 0 outside the mask."""
    max_length: int
    step: int = 0
    history: Sequence[Record] = field(default_factory=tuple)
    """Per-step metrics before this step, for ``schedule``."""

    @property
    def samples(self) -> int:
        """B."""
        return int(self.arrays["group"].shape[0])


@dataclass(frozen=True, slots=True)
class _Group:
    correct: int
    wrong: int
    invalid: int


_MIXED: Final = (_Group(3, 3, 2), _Group(1, 7, 0), _Group(5, 1, 0), _Group(1, 0, 1), _Group(2, 0, 4), _Group(4, 4, 0))
_UNIFORM: Final = (_Group(0, 5, 3), _Group(0, 4, 0), _Group(8, 0, 0), _Group(4, 0, 0), _Group(0, 0, 4))
_SINGLE: Final = (_Group(1, 0, 0), _Group(0, 1, 0), _Group(0, 0, 1))


@cache
def all_situations() -> Mapping[str, Situation]:
    """Every situation by name."""
    found = (
        _situation(RICH, 1, _MIXED + _UNIFORM + _SINGLE, width=24),
        replace(
            _situation(LATE, 2, _MIXED + _UNIFORM + _SINGLE, width=24), step=30, history=history(30, 0.55, 0.12, 0.35)
        ),
        replace(_situation(EXPLORING, 3, _MIXED + _UNIFORM, width=16), step=12, history=history(12, 0.5, 0.8, -0.1)),
        _situation(LARGE_GROUPS, 4, (_Group(1, 127, 0), _Group(60, 3, 1)), width=4),
        _situation(ALL_FAIL, 5, (_Group(0, 6, 2), _Group(0, 3, 5), _Group(0, 4, 0)), width=12),
        _situation(ALL_CORRECT, 6, (_Group(8, 0, 0), _Group(6, 0, 0)), width=12),
        _situation(ALL_INVALID, 7, (_Group(0, 0, 8), _Group(0, 0, 4)), width=12),
        _situation(ONE_MEMBER, 8, _SINGLE * 3, width=12),
        _situation(ONE_SAMPLE, 9, (_Group(1, 0, 0),), width=6),
        _situation(ONE_TOKEN, 10, (_Group(2, 2, 1), _Group(0, 3, 0)), width=1),
        _with_lengths(_situation(EXTREME_LENGTHS, 11, (_Group(2, 2, 2), _Group(0, 4, 1), _Group(4, 0, 0)), width=256)),
        _situation(EXTREME_RATIOS, 12, (_Group(4, 3, 1), _Group(0, 3, 1)), width=12, drift=5.0, unlikely=8.0),
        _situation(ON_POLICY, 13, _MIXED, width=16, drift=0.0),
    )
    return {situation.name: situation for situation in found}


def _situation(
    name: str, seed: int, groups: Sequence[_Group], width: int, drift: float = 0.25, unlikely: float = 0.8
) -> Situation:
    """Draw a situation: members of all groups are interleaved, and group labels are neither sorted nor dense."""
    random = np.random.RandomState(seed)
    outcomes, labels = [], []
    for index, group in enumerate(groups):
        outcomes += [(True, True)] * group.correct + [(False, True)] * group.wrong + [(False, False)] * group.invalid
        labels += [7 * ((5 * index + 3) % 17) + 2] * (group.correct + group.wrong + group.invalid)
    order = random.permutation(len(labels))
    correct, valid = np.array(outcomes, dtype=bool)[order].T
    length = random.randint(1, width + 1, size=len(labels)).astype(np.int64)
    length[random.rand(len(labels)) < 0.15] = width
    return Situation(
        name=name,
        arrays={
            "correct": correct,
            "valid": valid,
            "group": np.array(labels, dtype=np.int64)[order],
            "length": length,
            **_per_token(random, length, width, drift, unlikely),
        },
        max_length=width,
    )


def _per_token(
    random: np.random.RandomState, length: Array, width: int, drift: float = 0.25, unlikely: float = 0.8
) -> dict[str, Array]:
    shape = (length.shape[0], width)
    mask = np.arange(width)[None, :] < length[:, None]
    old = np.minimum(-random.exponential(unlikely, shape), -1e-4)
    draws = {
        "old_logprobs": old,
        # A heavy tail, so that any clip interval is left by some tokens, while many stay inside.
        "logprobs": np.minimum(old + drift * random.standard_t(2, shape).clip(-6, 6), -1e-5),
        "ref_logprobs": np.minimum(old + max(drift, 0.5) * random.randn(*shape), -1e-5),
        "old_entropy": random.gamma(2.0, 0.25, shape),
        "entropy": random.gamma(2.0, 0.25, shape),
    }
    if drift == 0.0:
        draws["logprobs"] = old
    return {"response_mask": mask, **{name: (values * mask).astype(np.float32) for name, values in draws.items()}}


def _with_lengths(situation: Situation) -> Situation:
    """Only the shortest and the longest responses."""
    width = situation.max_length
    length = np.where(np.arange(situation.samples) % 2 == 0, 1, width).astype(np.int64)
    return replace(
        situation, arrays={**situation.arrays, "length": length, **_per_token(np.random.RandomState(99), length, width)}
    )


def history(steps: int, entropy_from: float, entropy_to: float, gain: float) -> tuple[Record, ...]:
    """A plausible course of training: metrics as engines record them, with noise that repeats."""
    random = np.random.RandomState(steps)
    records = []
    for step in range(steps):
        done = step / max(1, steps - 1)
        accuracy = min(0.98, max(0.02, 0.3 + gain * done + 0.02 * random.randn()))
        record = {
            "training/global_step": step,
            "actor/lr": 5e-5,
            "actor/entropy": entropy_from + (entropy_to - entropy_from) * done + 0.01 * random.rand(),
            "actor/kl": 0.002 + 0.05 * done * (1 + 0.2 * random.rand()),
            "actor/grad_norm": 0.6 + 0.2 * random.rand(),
            "actor/pg_clipfrac": 0.01 + 0.02 * random.rand(),
            "actor/pg_loss": 0.02 * random.randn(),
            "actor/ratio_outside": 0.01 + 0.02 * random.rand(),
            "critic/rewards/mean": accuracy,
            "critic/score/mean": accuracy,
            "critic/advantages/mean": 0.01 * random.randn(),
            "critic/advantages/std": 0.8 + 0.1 * random.rand(),
            "critic/advantages/max": 2.5,
            "critic/advantages/min": -2.5,
            "reward/format_valid": min(1.0, 0.8 + 0.15 * done + 0.01 * random.rand()),
            "response_length/mean": 10 + 6 * done + 0.3 * random.randn(),
            "response_length/max": 24,
            "response_length/clip_ratio": 0.05,
            "groups/all_fail": (1 - accuracy) ** 2,
            "groups/mixed": 1 - (1 - accuracy) ** 2 - accuracy**2,
            "groups/all_correct": accuracy**2,
        }
        records.append({name: float(value) for name, value in record.items()})
    return tuple(records)


@cache
def histories() -> Mapping[str, tuple[Record, ...]]:
    """Courses of training that ``schedule`` must answer with finite numbers."""
    plain = history(20, 0.6, 0.2, 0.3)
    return {
        "nothing-yet": (),
        "one-step": plain[:1],
        "improving": plain,
        "entropy-collapsed": (*history(25, 0.6, 0.0, -0.2)[:-1], {**plain[-1], "actor/entropy": 0.0}),
        "entropy-exploded": history(15, 0.4, 4.0, -0.25),
        "spikes": tuple({**record, "actor/grad_norm": 1e6, "actor/kl": 1e4} for record in plain),
        "zeros": tuple(dict.fromkeys(record, 0.0) for record in plain),
        "few-metrics": tuple({"actor/entropy": record["actor/entropy"]} for record in plain),
        "no-metrics": ({}, {}),
        "very-long": history(300, 0.6, 0.1, 0.4),
    }


def permuted(situation: Situation, seed: int) -> tuple[Situation, NDArray[np.int64]]:
    """The same samples in another order, and the order: row i of the result is row ``order[i]`` of the original."""
    order = np.random.RandomState(seed).permutation(situation.samples)
    arrays = {name: values[order] for name, values in situation.arrays.items()}
    return replace(situation, name=f"{situation.name}/permuted", arrays=arrays), order


def relabelled(situation: Situation) -> Situation:
    """The same groups under other labels, in another order of labels."""
    arrays = {**situation.arrays, "group": 1_000 - 3 * situation.arrays["group"].astype(np.int64)}
    return replace(situation, name=f"{situation.name}/relabelled", arrays=arrays)


def padded(situation: Situation, columns: int) -> Situation:
    """More padding, and arbitrary values in all of it."""
    random = np.random.RandomState(17)
    mask = np.pad(situation.arrays["response_mask"], ((0, 0), (0, columns)))
    arrays: dict[str, Array] = {**situation.arrays, "response_mask": mask}
    for name in ("old_logprobs", "logprobs", "ref_logprobs"):
        noise = -random.exponential(2.0, mask.shape)
        arrays[name] = np.where(mask, np.pad(situation.arrays[name], ((0, 0), (0, columns))), noise).astype(np.float32)
    for name in ("old_entropy", "entropy"):
        noise = random.gamma(2.0, 0.5, mask.shape)
        arrays[name] = np.where(mask, np.pad(situation.arrays[name], ((0, 0), (0, columns))), noise).astype(np.float32)
    return replace(situation, name=f"{situation.name}/padded", arrays=arrays)


_PROVIDED: Final = {"reference": ("ref_logprobs",), "entropy": ("old_entropy", "entropy")}


def with_other(situation: Situation, need: str) -> Situation:
    """Other values for what ``need`` (of the contract's NEEDS) provides."""
    mask = situation.arrays["response_mask"]
    arrays = dict(situation.arrays)
    for name in _PROVIDED[need]:
        arrays[name] = np.where(mask, 0.5 * arrays[name] - 0.3, 0.0).astype(np.float32)
    return replace(situation, name=f"{situation.name}/other-{need}", arrays=arrays)
