"""Scales: what the centred reward is divided by.  Each rebinds ``signal`` [B]."""

from __future__ import annotations

from poise_lib.algorithms.contract import Family
from poise_lib.proposal.grammar import Code, Fact, Flag, Kind, Parameter, Slot

_WIDE = frozenset({Fact.WIDE_SIGNAL})
_SIGMA = Parameter("sigma_floor", 0.1, 0.02, 0.6, "smallest deviation divided by", log=True)

KINDS = (
    Kind(
        name="unscaled",
        slot=Slot.SCALE,
        family=Family.CORE_SIGNAL,
        label="unscaled rewards",
        claim="Centred rewards are used as they are, so that a group weighs by how undecided it is.",
        effect="hard and easy groups weigh less than undecided ones",
        formula="A = r - mu",
        code=Code(),
        source="arXiv:2503.20783",
    ),
    Kind(
        name="group-normalisation",
        slot=Slot.SCALE,
        family=Family.CORE_SIGNAL,
        label="group normalisation",
        claim="Easy and hard groups get signals of the same size.",
        effect="rare successes and rare failures weigh more",
        formula="A = (r - mu) / sqrt(var over the group + eps)^normalise",
        code=Code(
            signal="signal = signal / group_deviation(batch, hyper)",
            helpers=(
                '''\
def group_deviation(batch: Batch, hyper: Hyper) -> Tensor:
    """Deviation of the group's rewards, epsilon inside the root, to the power ``normalise``; [B]."""
    return (ops.group_var(batch.rewards, batch.group) + hyper["eps"]).sqrt() ** hyper["normalise"]''',
            ),
        ),
        parameters=(
            Parameter("eps", 1e-6, 1e-8, 1e-2, "added to the group variance, inside the root", log=True),
            Parameter("normalise", 1.0, 0.25, 1.0, "power of the group deviation in the denominator"),
        ),
        switch="normalise",
        provides=_WIDE,
        # What another baseline leaves in a uniform group (or a group of one) would be divided by the root of epsilon.
        conflicts=frozenset(
            {"leave-one-out", "batch-mixed-baseline", "shrunk-baseline", "optimistic-baseline", "valid-subset-baseline"}
        ),
        source="arXiv:2402.03300",
    ),
    Kind(
        name="batch-normalisation",
        slot=Slot.SCALE,
        family=Family.CORE_SIGNAL,
        label="batch normalisation",
        claim="One scale for the whole batch: a group weighs by how undecided it is, and the update keeps its size.",
        effect="gradient norms vary less between steps",
        formula="A = (r - mu) / (root mean square of r - mu over the batch + rms_floor)",
        code=Code(
            signal="signal = batch_normalised(signal, hyper)",
            helpers=(
                '''\
def batch_normalised(signal: Tensor, hyper: Hyper) -> Tensor:
    """Centred rewards over their root mean square in the batch; unchanged when switched off; [B]."""
    root_mean_square = (signal * signal).mean().sqrt()
    return signal / (root_mean_square + hyper["rms_floor"]) ** hyper["batch_scale"]''',
            ),
        ),
        parameters=(Parameter("rms_floor", 0.01, 1e-4, 0.3, "added to the root mean square", log=True),),
        switch="batch_scale",
        flag=Flag("batch_scale", "1 divides by the batch's scale, 0 does not"),
        provides=_WIDE,
        source="arXiv:2603.23951, BN; arXiv:2501.03262",
    ),
    Kind(
        name="moment-scale",
        slot=Slot.SCALE,
        family=Family.CORE_SIGNAL,
        label="analytic variance",
        claim="The deviation follows from the moments, and a floor keeps near-uniform groups from exploding.",
        effect="no advantage spikes where a group is almost uniform",
        formula="A = (r - mu) / max(sqrt(E[r^2] - E[r]^2), sigma_floor)",
        code=Code(
            signal="signal = signal / analytic_deviation(batch, hyper)",
            helpers=(
                '''\
def analytic_deviation(batch: Batch, hyper: Hyper) -> Tensor:
    """Group deviation from the first two moments, bounded from below; 1 when switched off; [B]."""
    mean = ops.group_mean(batch.rewards, batch.group)
    mean_square = ops.group_mean(batch.rewards * batch.rewards, batch.group)
    deviation = (mean_square - mean * mean).clamp(min=0.0).sqrt()
    return deviation.clamp(min=hyper["sigma_floor"]) ** hyper["analytic_scale"]''',
            ),
        ),
        parameters=(_SIGMA,),
        switch="analytic_scale",
        flag=Flag("analytic_scale", "1 divides by the bounded deviation, 0 does not"),
        provides=_WIDE,
        source="arXiv:2603.23951, AV",
    ),
    Kind(
        name="bernoulli-scale",
        slot=Slot.SCALE,
        family=Family.CORE_SIGNAL,
        label="Bernoulli scale",
        claim="The deviation is that of a coin with the baseline's success rate, so scale and baseline agree.",
        effect="rare successes are amplified by a calibrated amount",
        formula="A = (r - mu) / max(sqrt(mu * (1 - mu)), sigma_floor)",
        code=Code(
            signal="signal = signal / bernoulli_deviation(baseline, hyper)",
            helpers=(
                '''\
def bernoulli_deviation(baseline: Tensor, hyper: Hyper) -> Tensor:
    """Deviation of a coin with success rate ``baseline``, bounded from below; 1 when switched off; [B]."""
    rate = baseline.clamp(0.0, 1.0)
    deviation = (rate * (1.0 - rate)).sqrt().clamp(min=hyper["sigma_floor"])
    return deviation ** hyper["bernoulli_scale"]''',
            ),
        ),
        parameters=(_SIGMA,),
        switch="bernoulli_scale",
        flag=Flag("bernoulli_scale", "1 divides by the coin's deviation, 0 does not"),
        requires=frozenset({Fact.UNIT_REWARD, Fact.UNIT_BASELINE}),
        provides=_WIDE,
        source="arXiv:2603.23951, VM-AV",
    ),
    Kind(
        name="damped-normalisation",
        slot=Slot.SCALE,
        family=Family.STABILISATION,
        label="damped normalisation",
        claim="A constant in the denominator caps the advantage of outliers without a hard edge.",
        effect="fewer gradient spikes at the same average signal",
        formula="A = (r - mu) / (deviation of the group + damping)",
        code=Code(
            signal="signal = signal / damped_deviation(batch, hyper)",
            helpers=(
                '''\
def damped_deviation(batch: Batch, hyper: Hyper) -> Tensor:
    """Group deviation plus a constant; 1 when switched off; [B]."""
    return (ops.group_std(batch.rewards, batch.group) + hyper["damping"]) ** hyper["damped_scale"]''',
            ),
        ),
        parameters=(Parameter("damping", 0.2, 0.05, 1.0, "added to the group deviation", log=True),),
        switch="damped_scale",
        flag=Flag("damped_scale", "1 divides by the damped deviation, 0 does not"),
        provides=_WIDE,
        source="arXiv:2603.23951, RF",
    ),
    Kind(
        name="anchored-deviation",
        slot=Slot.SCALE,
        family=Family.CORE_SIGNAL,
        label="outcome-anchored scale",
        claim="Shaped rewards are scaled by the outcome's deviation, so shaping cannot inflate correctness.",
        effect="accuracy keeps rising while shaping acts",
        formula="A = (r - mu) / sd(correct) where that is positive, else / max(sd(r), anchor_floor)",
        code=Code(
            signal="signal = signal / anchored_deviation(batch, hyper)",
            helpers=(
                '''\
def anchored_deviation(batch: Batch, hyper: Hyper) -> Tensor:
    """Deviation of the outcome where the group is mixed, else of the reward; 1 when switched off; [B]."""
    outcome = ops.group_std(batch.correct.float(), batch.group)
    total = ops.group_std(batch.rewards, batch.group)
    deviation = torch.where(outcome > 0, outcome, total.clamp(min=hyper["anchor_floor"]))
    return deviation ** hyper["anchored_scale"]''',
            ),
        ),
        parameters=(Parameter("anchor_floor", 0.3, 0.1, 1.0, "smallest deviation of a uniform group", log=True),),
        switch="anchored_scale",
        flag=Flag("anchored_scale", "1 divides by the anchored deviation, 0 does not"),
        provides=_WIDE,
        source="arXiv:2603.23951, MSA",
    ),
    Kind(
        name="absolute-deviation",
        slot=Slot.SCALE,
        family=Family.CORE_SIGNAL,
        label="mean-absolute scale",
        claim="The mean absolute deviation gives each group the same total push, however rare its successes.",
        effect="lone successes weigh more than under a standard deviation",
        formula="A = (r - mu) / max(mean of |r - mu| over the group, absolute_floor)",
        code=Code(
            signal="signal = signal / absolute_deviation(signal, batch, hyper)",
            helpers=(
                '''\
def absolute_deviation(signal: Tensor, batch: Batch, hyper: Hyper) -> Tensor:
    """Mean absolute signal of the group, bounded from below; 1 when switched off; [B]."""
    deviation = ops.group_mean(signal.abs(), batch.group).clamp(min=hyper["absolute_floor"])
    return deviation ** hyper["absolute_scale"]''',
            ),
        ),
        parameters=(Parameter("absolute_floor", 0.2, 0.05, 0.6, "smallest deviation divided by", log=True),),
        switch="absolute_scale",
        flag=Flag("absolute_scale", "1 divides by the mean absolute deviation, 0 does not"),
        provides=_WIDE,
    ),
)
