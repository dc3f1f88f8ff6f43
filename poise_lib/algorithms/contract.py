"""The candidate contract: the narrow interface between a policy-optimisation algorithm and an engine.

A candidate is one Python module.  An engine (the embedded one, or VeRL through an adapter) samples responses, asks the
candidate for advantages and for a loss, and does everything else itself.  Frozen dataclasses go in, tensors come out; a
candidate does no I/O and keeps no state between calls.  What the module defines:

============================================  =========================================================================
``TITLE: str``, ``SOURCE: str``               a human title; where the algorithm comes from (paper, section) or ``""``
``AGGREGATION: str``                          how the engine reduces the loss, one of :data:`AGGREGATIONS`
``NEEDS: tuple[str, ...]``                    what costs extra, of :data:`NEEDS_ALLOWED` ("reference", "entropy")
``HYPERPARAMETERS``                           ``dict[str, Hyperparameter]``
``MECHANISMS``                                ``tuple[Mechanism, ...]``: what can be ablated, one switch each
``advantages(batch, hyper)``                  :class:`Batch` -> Tensor[B, T]
``policy_loss(inputs, hyper)``                :class:`LossInputs` -> :class:`LossOutput`
``rewards(outcomes, hyper)``, optional        :class:`Outcomes` -> Tensor[B]; the default is ``correct`` as 0/1
``schedule(history, hyper)``, optional        per-step metrics so far -> named coefficients for the next step
============================================  =========================================================================

``hyper`` is a plain mapping of every declared hyperparameter to a float. All of the objective belongs to the
candidate: clipping, KL and entropy terms; an engine adds none. The loss is not reduced by the candidate; the engine
reduces it with counts over the whole mini-batch (:mod:`poise_lib.algorithms.aggregation`), so that splitting a
mini-batch into micro-batches changes nothing.

``history`` holds one mapping for each finished step.  Its names are VeRL's: ``actor/entropy`` (nats), ``actor/kl``,
``critic/rewards/mean``, ``response_length/mean`` and the others of :mod:`poise_lib.evaluation.trajectory`.  An engine
may leave some out, so a ``schedule`` has to do without a name that is missing.

Shapes: B samples (responses), T response positions (padded on the right), ``group`` tells which samples answer the same
prompt.  Group members need not be adjacent, and groups may differ in size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

AGGREGATIONS: Final = (
    "token-mean",
    "seq-mean-token-mean",
    "seq-mean-token-sum",
    "seq-mean-token-sum-norm",
    "seq-mean",
)
"""Reductions of a loss: over all valid tokens (DAPO); per-sequence mean, then mean over sequences (GRPO); per-sequence
sum, then mean (REINFORCE); the same divided by the longest response allowed (Dr. GRPO); the mean of a loss [B]."""

NEEDS_ALLOWED: Final = ("reference", "entropy")


class Family(StrEnum):
    """Mechanism families: the four of arXiv:2603.23951, refined so that a grammar can be typed by them."""

    CORE_SIGNAL = "core-signal"
    """How a reward becomes an advantage: baseline and scale."""
    ROUTING = "routing"
    """Which groups or samples get which signal; conditional normalisation."""
    FAILURE_CONTROL = "failure-control"
    """What all-fail groups and invalid responses receive."""
    STABILISATION = "stabilisation"
    """Clipping of advantages, KL and entropy terms, damping."""
    LENGTH_SHAPING = "length-shaping"
    """Signals from response length."""
    OBJECTIVE = "objective"
    """The surrogate: ratio level, clipping or gating, aggregation."""
    CONTROLLER = "controller"
    """Coefficients that follow the state of training."""
    REWARD = "reward"
    """Reward hierarchies over correct, valid and length."""


@dataclass(frozen=True, slots=True)
class Hyperparameter:
    """A named number of a candidate: its default and the closed range in which it makes sense."""

    default: float
    low: float
    high: float
    description: str = ""


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One idea of a candidate, which can be switched off on its own.

    Setting ``hyperparameter`` to ``off`` must disable the mechanism and nothing else: ablations rely on it.
    """

    name: str
    family: Family
    claim: str
    hyperparameter: str
    off: float


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What the verifier found for B responses; all that a reward may depend on (never text)."""

    correct: Tensor
    """[B] bool: the answer is right (implies ``valid``)."""
    valid: Tensor
    """[B] bool: the response keeps the format."""
    length: Tensor
    """[B] int64: response length in tokens, the end token included."""
    group: Tensor
    """[B] int64: responses to the same prompt share a value."""
    max_length: int
    """The longest response the engine allows, tokens."""
    step: int
    total_steps: int
    coefficients: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Batch:
    """All samples of one step, as :func:`advantages` sees them.  Nothing here carries a gradient."""

    rewards: Tensor
    """[B] float32: from the candidate's ``rewards``, else ``correct`` as 0/1."""
    correct: Tensor
    """[B] bool."""
    valid: Tensor
    """[B] bool."""
    group: Tensor
    """[B] int64."""
    length: Tensor
    """[B] int64, tokens."""
    max_length: int
    """The longest response the engine allows, tokens."""
    response_mask: Tensor
    """[B, T] bool: True at positions that hold a token of the response."""
    old_logprobs: Tensor
    """[B, T] float32: log-probabilities under the policy that sampled; 0 outside the mask."""
    ref_logprobs: Tensor | None
    """[B, T] float32 under the fixed reference policy; None unless NEEDS names "reference"."""
    entropy: Tensor | None
    """[B, T] float32, nats: entropy of the sampling policy at each position; None unless NEEDS names "entropy"."""
    coefficients: Mapping[str, float]
    """What ``schedule`` returned for this step; empty without one."""
    step: int
    """Steps done so far, from 0."""
    total_steps: int


@dataclass(frozen=True, slots=True)
class LossInputs:
    """One micro-batch in the middle of an update; ``logprobs`` and ``entropy`` carry gradients."""

    logprobs: Tensor
    """[B, T] float32 under the current policy; 0 outside the mask."""
    old_logprobs: Tensor
    """[B, T] float32 under the policy at the start of the step."""
    ref_logprobs: Tensor | None
    """[B, T] float32; None unless NEEDS names "reference"."""
    rollout_logprobs: Tensor | None
    """[B, T] float32 as the rollout engine reported them, when it is another program than the trainer; else None."""
    advantages: Tensor
    """[B, T] float32: this micro-batch's rows of what ``advantages`` returned."""
    response_mask: Tensor
    """[B, T] bool."""
    entropy: Tensor | None
    """[B, T] float32, nats, of the current policy; None unless NEEDS names "entropy"."""
    coefficients: Mapping[str, float]
    step: int
    total_steps: int


@dataclass(frozen=True, slots=True)
class LossOutput:
    """A loss that the engine reduces, and metrics that it averages.

    ``loss``: [B, T] per token, or [B] per sequence when AGGREGATION is "seq-mean".
    ``metrics``: name -> detached [B, T] (averaged over the mask) or [B] (averaged over samples).  ``clip_fraction`` is
    the name that diagnostics look for.
    """

    loss: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)


Hyper = Mapping[str, float]
RewardsFn = Callable[[Outcomes, Hyper], "Tensor"]
AdvantagesFn = Callable[[Batch, Hyper], "Tensor"]
PolicyLossFn = Callable[[LossInputs, Hyper], LossOutput]
ScheduleFn = Callable[[Sequence[Mapping[str, float]], Hyper], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A loaded candidate: its declarations and its functions, with the defaults filled in."""

    name: str
    title: str
    source: str
    aggregation: str
    needs: tuple[str, ...]
    hyperparameters: Mapping[str, Hyperparameter]
    mechanisms: tuple[Mechanism, ...]
    rewards: RewardsFn | None
    advantages: AdvantagesFn
    policy_loss: PolicyLossFn
    schedule: ScheduleFn | None

    def hyper(self, overrides: Mapping[str, float] | None = None) -> dict[str, float]:
        """Every declared hyperparameter at its default, with ``overrides`` on top.

        Raises:
            KeyError: an override names no declared hyperparameter.
        """
        values = {name: declared.default for name, declared in self.hyperparameters.items()}
        for name, value in (overrides or {}).items():
            if name not in values:
                raise KeyError(f"{self.name} has no hyperparameter {name!r}; it declares {sorted(values)}")
            values[name] = float(value)
        return values
