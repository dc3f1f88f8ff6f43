"""Baselines: what a reward is compared with.  Each binds ``baseline`` [B]; off, each falls back to the group mean."""

from __future__ import annotations

from poise_lib.algorithms.contract import Family
from poise_lib.proposal.grammar import Code, Fact, Flag, Kind, Parameter, Slot


def _mixed(weight: str, other: str) -> str:
    """Lines that blend the group mean with another baseline."""
    return f"""\
group_mean = ops.group_mean(batch.rewards, batch.group)
baseline = group_mean + {weight} * ({other} - group_mean)"""


KINDS = (
    Kind(
        name="group-mean",
        slot=Slot.BASELINE,
        family=Family.CORE_SIGNAL,
        label="group mean",
        claim="Each response is compared with the mean of its group.",
        effect="uniform groups are silent",
        formula="mu = mean of r over the group",
        code=Code(signal='baseline = hyper["centre"] * ops.group_mean(batch.rewards, batch.group)'),
        switch="centre",
        flag=Flag("centre", "1 compares with the group mean, 0 takes the reward as it is"),
        provides=frozenset({Fact.UNIT_BASELINE}),
        source="arXiv:2402.03300",
    ),
    Kind(
        name="leave-one-out",
        slot=Slot.BASELINE,
        family=Family.CORE_SIGNAL,
        label="leave-one-out baseline",
        claim="A response stays out of its own baseline: the estimate is unbiased and rare successes count.",
        effect="lone successes move the policy further",
        formula="mu_i = mean of r over the others of the group",
        code=Code(
            signal=_mixed('hyper["leave_one_out"]', "ops.leave_one_out_mean(batch.rewards, batch.group)"),
        ),
        switch="leave_one_out",
        flag=Flag("leave_one_out", "1 leaves a response out of its own baseline, 0 counts it in"),
        source="arXiv:2402.14740, section 2.2",
    ),
    Kind(
        name="valid-subset-baseline",
        slot=Slot.BASELINE,
        family=Family.CORE_SIGNAL,
        label="valid-subset baseline",
        claim="Invalid responses do not lower the bar for valid ones; a Beta prior keeps small subsets calibrated.",
        effect="valid but wrong responses are punished for being wrong, not excused by invalid neighbours",
        formula="mu = (sum of r over valid + prior_success) / (|valid| + prior_success + prior_failure)",
        code=Code(
            signal="baseline = valid_subset_mean(batch, hyper)",
            helpers=(
                '''\
def valid_subset_mean(batch: Batch, hyper: Hyper) -> Tensor:
    """Mean reward of the group's valid responses under a Beta prior; the group mean when switched off; [B]."""
    group_mean = ops.group_mean(batch.rewards, batch.group)
    earned = ops.group_sum(batch.rewards, batch.group, batch.valid) + hyper["prior_success"]
    count = ops.group_count(batch.group, batch.valid) + hyper["prior_success"] + hyper["prior_failure"]
    return group_mean + hyper["valid_only"] * (earned / count - group_mean)''',
            ),
        ),
        parameters=(
            Parameter("prior_success", 0.5, 0.05, 2.0, "imagined successes in each group", log=True),
            Parameter("prior_failure", 0.5, 0.05, 4.0, "imagined failures in each group", log=True),
        ),
        switch="valid_only",
        flag=Flag("valid_only", "1 averages over valid responses under the prior, 0 over the whole group"),
        requires=frozenset({Fact.UNIT_REWARD}),
        provides=frozenset({Fact.UNIT_BASELINE, Fact.FAIL_SIGNAL, Fact.SOLVED_SIGNAL, Fact.UNBALANCED}),
        cost=0.1,
        source="arXiv:2603.23951, VM-AV",
    ),
    Kind(
        name="batch-mixed-baseline",
        slot=Slot.BASELINE,
        family=Family.CORE_SIGNAL,
        label="batch-mixed baseline",
        claim="Part of the baseline comes from the whole batch, so uniform groups keep a signal.",
        effect="all-fail groups push away and solved ones are reinforced",
        formula="mu = (1 - batch_share) * mean over the group + batch_share * mean over the batch",
        code=Code(signal=_mixed('hyper["batch_share"]', "batch.rewards.mean()")),
        parameters=(Parameter("batch_share", 0.2, 0.05, 1.0, "weight of the batch mean in the baseline", log=True),),
        switch="batch_share",
        provides=frozenset({Fact.UNIT_BASELINE, Fact.FAIL_SIGNAL, Fact.SOLVED_SIGNAL}),
        source="arXiv:2603.23951, SA",
    ),
    Kind(
        name="shrunk-baseline",
        slot=Slot.BASELINE,
        family=Family.CORE_SIGNAL,
        label="shrunk baseline",
        claim="A small group's mean is a noisy guess; it is drawn to the batch mean as if by extra samples.",
        effect="the advantage varies less between groups of equal difficulty",
        formula="mu = (n * mean over the group + pseudo_samples * mean over the batch) / (n + pseudo_samples)",
        code=Code(
            signal="baseline = shrunk_mean(batch, hyper)",
            helpers=(
                '''\
def shrunk_mean(batch: Batch, hyper: Hyper) -> Tensor:
    """Group mean drawn to the batch mean by ``pseudo_samples`` imagined members; [B]."""
    count = ops.group_count(batch.group)
    pull = hyper["pseudo_samples"] / (count + hyper["pseudo_samples"])
    group_mean = ops.group_mean(batch.rewards, batch.group)
    return group_mean + pull * (batch.rewards.mean() - group_mean)''',
            ),
        ),
        parameters=(Parameter("pseudo_samples", 1.0, 0.2, 8.0, "imagined group members at the batch mean", log=True),),
        switch="pseudo_samples",
        provides=frozenset({Fact.UNIT_BASELINE, Fact.FAIL_SIGNAL, Fact.SOLVED_SIGNAL}),
    ),
    Kind(
        name="optimistic-baseline",
        slot=Slot.BASELINE,
        family=Family.CORE_SIGNAL,
        label="optimistic baseline",
        claim="The baseline expects a little more than was seen, so failure costs something in every group.",
        effect="all-fail groups get a mild push and solved groups stay quiet",
        formula="mu = (sum of r + optimism) / (n + optimism)",
        code=Code(
            signal="baseline = optimistic_mean(batch, hyper)",
            helpers=(
                '''\
def optimistic_mean(batch: Batch, hyper: Hyper) -> Tensor:
    """Group mean with ``optimism`` imagined successes added; [B]."""
    total = ops.group_sum(batch.rewards, batch.group) + hyper["optimism"]
    return total / (ops.group_count(batch.group) + hyper["optimism"])''',
            ),
        ),
        parameters=(Parameter("optimism", 0.5, 0.05, 4.0, "imagined successes in each group", log=True),),
        switch="optimism",
        provides=frozenset({Fact.UNIT_BASELINE, Fact.FAIL_SIGNAL, Fact.UNBALANCED}),
        source="arXiv:2603.23951, CDA",
    ),
)
