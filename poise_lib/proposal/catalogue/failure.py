"""Failure-side control: what all-fail groups and invalid responses receive.  Signal [B], or advantage [B, T]."""

from __future__ import annotations

from poise_lib.algorithms.contract import Family
from poise_lib.names import METRIC_FORMAT_VALID
from poise_lib.proposal.grammar import Code, Fact, Flag, Kind, Parameter, Slot

_FAIL = frozenset({Fact.FAIL_SIGNAL})

KINDS = (
    Kind(
        name="regime-penalties",
        slot=Slot.FAILURE,
        family=Family.FAILURE_CONTROL,
        label="all-fail penalties",
        claim="Groups with no success get fixed penalties by validity, so that they teach the format and not noise.",
        effect="format validity rises in groups that used to be dead",
        formula="A := -invalid_penalty if invalid else -wrong_penalty, in all-fail groups",
        code=Code(
            signal="signal = penalise_failed(signal, batch, hyper)",
            helpers=(
                '''\
def penalise_failed(signal: Tensor, batch: Batch, hyper: Hyper) -> Tensor:
    """Replace the signal of all-fail groups by penalties that depend on validity only; [B]."""
    failed = ops.group_sum(batch.correct.float(), batch.group) == 0.0
    invalid = (~batch.valid).float()
    penalty = hyper["invalid_penalty"] * invalid + hyper["wrong_penalty"] * (1.0 - invalid)
    share = hyper["fail_penalties"] * failed.float()
    return (1.0 - share) * signal - share * penalty''',
            ),
        ),
        parameters=(
            Parameter("invalid_penalty", 2.0, 0.5, 3.0, "penalty of an invalid response", log=True),
            Parameter("wrong_penalty", 0.5, 0.02, 1.0, "penalty of a valid but wrong response", log=True),
        ),
        switch="fail_penalties",
        flag=Flag("fail_penalties", "1 penalises all-fail groups by validity, 0 leaves their signal"),
        provides=_FAIL,
        source="arXiv:2603.23951, FA",
    ),
    Kind(
        name="uniform-penalty",
        slot=Slot.FAILURE,
        family=Family.FAILURE_CONTROL,
        label="uniform failure penalty",
        claim="A prompt that always fails pushes away from what was tried, gently and whatever it was.",
        effect="all-fail groups become rarer and entropy stays up",
        formula="A := A - fail_penalty in all-fail groups",
        code=Code(
            signal="""\
failed = ops.group_sum(batch.correct.float(), batch.group) == 0.0
signal = signal - hyper["fail_penalty"] * failed.float()"""
        ),
        parameters=(
            Parameter("fail_penalty", 0.2, 0.02, 1.0, "what every member of an all-fail group loses", log=True),
        ),
        switch="fail_penalty",
        provides=_FAIL,
        conflicts=frozenset({"regime-penalties"}),
        source="arXiv:2603.23951, PR",
    ),
    Kind(
        name="invalid-floor",
        slot=Slot.FAILURE,
        family=Family.FAILURE_CONTROL,
        label="invalid floor",
        claim="Every invalid response gets the same low advantage: invalid << wrong << correct in all groups.",
        effect="format losses are repaired within a few steps",
        formula="A := -invalid_floor where invalid",
        code=Code(
            signal="""\
sunk = hyper["floor_invalid"] * (~batch.valid).float()
signal = (1.0 - sunk) * signal - sunk * hyper["invalid_floor"]"""
        ),
        parameters=(Parameter("invalid_floor", 2.0, 0.5, 4.0, "size of the negative advantage", log=True),),
        switch="floor_invalid",
        flag=Flag("floor_invalid", "1 gives invalid responses the floor, 0 leaves their signal"),
        provides=_FAIL,
        conflicts=frozenset({"regime-penalties"}),
        raises=frozenset({METRIC_FORMAT_VALID}),
        source="arXiv:2603.23951, VM-AV",
    ),
    Kind(
        name="format-stream",
        slot=Slot.FAILURE,
        family=Family.FAILURE_CONTROL,
        label="format stream",
        claim="Format has a stream of its own, so its lesson does not dilute that of correctness.",
        effect="validity rises without a dip in accuracy",
        formula="A := A + format_weight * (valid - mean of valid over the group)",
        code=Code(
            signal="""\
valid = batch.valid.float()
signal = signal + hyper["format_weight"] * (valid - ops.group_mean(valid, batch.group))"""
        ),
        parameters=(Parameter("format_weight", 0.5, 0.1, 2.0, "weight of the format stream", log=True),),
        switch="format_weight",
        provides=_FAIL,
        conflicts=frozenset({"invalid-floor"}),
        raises=frozenset({METRIC_FORMAT_VALID}),
        source="arXiv:2603.23951, DFR and CDA",
    ),
    Kind(
        name="entropy-signal",
        slot=Slot.FAILURE,
        family=Family.FAILURE_CONTROL,
        label="entropy-centred failures",
        claim="Where all failed, the less certain attempts are preferred, which explores without pushing away.",
        effect="all-fail groups become mixed sooner",
        formula="A := A + entropy_signal * z-score of mean token entropy in all-fail groups",
        code=Code(
            signal="signal = signal + prefer_uncertain(batch, hyper)",
            helpers=(
                '''\
def prefer_uncertain(batch: Batch, hyper: Hyper) -> Tensor:
    """Zero-centred signal in all-fail groups that favours responses of higher token entropy; [B]."""
    failed = ops.group_sum(batch.correct.float(), batch.group) == 0.0
    uncertainty = ops.sequence_mean(ops.token_entropy(batch.entropy, batch.response_mask), batch.response_mask)
    standardised = ops.group_standardised(uncertainty, batch.group, eps_outside=1e-2)
    return hyper["entropy_signal"] * standardised * failed.float()''',
            ),
        ),
        parameters=(Parameter("entropy_signal", 0.2, 0.02, 1.0, "size of the signal", log=True),),
        switch="entropy_signal",
        provides=_FAIL,
        needs=("entropy",),
        cost=0.15,
        source="arXiv:2603.23951, DFR",
    ),
    Kind(
        name="reference-fallback",
        slot=Slot.FAILURE,
        family=Family.FAILURE_CONTROL,
        label="reference fallback",
        claim="Groups that fail altogether are drawn back to the reference instead of away from what they tried.",
        effect="KL stays low on prompts that the policy cannot solve",
        formula="A_t := A_t - fallback * log(pi_old / ref)_t in all-fail groups",
        code=Code(
            token="advantage = advantage - fall_back(batch, hyper)",
            helpers=(
                '''\
def fall_back(batch: Batch, hyper: Hyper) -> Tensor:
    """Cost of each token's drift from the reference in all-fail groups; [B, T]."""
    failed = ops.group_sum(batch.correct.float(), batch.group) == 0.0
    drift = ops.kl_k1(batch.old_logprobs, batch.ref_logprobs, batch.response_mask).clamp(-2.0, 2.0)
    return hyper["fallback"] * drift * failed.float().unsqueeze(-1)''',
            ),
        ),
        parameters=(Parameter("fallback", 0.1, 0.01, 0.5, "weight of the drift", log=True),),
        switch="fallback",
        needs=("reference",),
        cost=0.15,
        source="arXiv:2603.23951, RF",
    ),
)
