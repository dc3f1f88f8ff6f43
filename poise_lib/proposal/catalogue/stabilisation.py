"""Stabilisation: bounds on advantages, weights of tokens, and terms of the loss that hold the policy."""

from __future__ import annotations

from poise_lib.algorithms.contract import Family
from poise_lib.proposal.grammar import Code, Fact, Kind, Parameter, Slot

KINDS = (
    Kind(
        name="advantage-clip",
        slot=Slot.CLIP,
        family=Family.STABILISATION,
        label="clipped advantages",
        claim="No response moves the policy by more than a bounded amount.",
        effect="gradient spikes vanish",
        formula="A := clip(A, -advantage_limit, advantage_limit)",
        code=Code(
            signal="""\
if hyper["advantage_limit"] > 0.0:
    signal = signal.clamp(-hyper["advantage_limit"], hyper["advantage_limit"])"""
        ),
        parameters=(Parameter("advantage_limit", 1.2, 0.5, 1.5, "largest size of an advantage; 0 sets no limit"),),
        switch="advantage_limit",
        requires=frozenset({Fact.WIDE_SIGNAL}),
        source="arXiv:2603.23951, BN and FA",
    ),
    Kind(
        name="soft-advantage-clip",
        slot=Slot.CLIP,
        family=Family.STABILISATION,
        label="saturating advantages",
        claim="Advantages saturate smoothly, so outliers keep their order and lose their force.",
        effect="gradient norms are even without a hard edge",
        formula="A := soft_limit * tanh(A / soft_limit)",
        code=Code(
            signal="""\
if hyper["soft_limit"] > 0.0:
    signal = hyper["soft_limit"] * torch.tanh(signal / hyper["soft_limit"])"""
        ),
        parameters=(
            Parameter("soft_limit", 2.0, 0.8, 5.0, "size at which advantages saturate; 0 lets them be", log=True),
        ),
        switch="soft_limit",
        requires=frozenset({Fact.WIDE_SIGNAL}),
    ),
    Kind(
        name="negative-clip",
        slot=Slot.CLIP,
        family=Family.STABILISATION,
        label="bounded negatives",
        claim="Only negative advantages are bounded: successes may be as loud as they are rare.",
        effect="entropy is spared and rare successes still count",
        formula="A := max(A, -negative_limit)",
        code=Code(
            signal="""\
if hyper["negative_limit"] > 0.0:
    signal = signal.clamp(min=-hyper["negative_limit"])"""
        ),
        parameters=(
            Parameter("negative_limit", 0.8, 0.3, 1.2, "size of the most negative advantage; 0 sets no limit"),
        ),
        switch="negative_limit",
        requires=frozenset({Fact.WIDE_SIGNAL}),
    ),
    Kind(
        name="fork-weighting",
        slot=Slot.TOKEN,
        family=Family.ROUTING,
        label="fork-token emphasis",
        claim="Tokens at which the policy is undecided are where a response is won or lost; they get more credit.",
        effect="learning speeds up without more drift on settled tokens",
        formula="A_t := A_t * (1 + fork_weight) where token entropy exceeds the response's mean",
        code=Code(
            token="advantage = advantage * fork_emphasis(batch, hyper)",
            helpers=(
                '''\
def fork_emphasis(batch: Batch, hyper: Hyper) -> Tensor:
    """Extra weight of tokens whose entropy exceeds the mean of their response; [B, T]."""
    entropy = ops.token_entropy(batch.entropy, batch.response_mask)
    fork = entropy > ops.sequence_mean(entropy, batch.response_mask).unsqueeze(-1)
    return 1.0 + hyper["fork_weight"] * fork.float()''',
            ),
        ),
        parameters=(Parameter("fork_weight", 0.5, 0.1, 3.0, "extra weight of an undecided token", log=True),),
        switch="fork_weight",
        needs=("entropy",),
        cost=0.1,
        source="after arXiv:2506.01939",
    ),
    Kind(
        name="probability-weighting",
        slot=Slot.TOKEN,
        family=Family.STABILISATION,
        label="probability-weighted tokens",
        claim="Tokens of low probability have the largest gradients and drown the others; they weigh less.",
        effect="gradient norms fall and common tokens learn faster",
        formula="A_t := A_t * (1 - probability_weight * (1 - pi_old))",
        code=Code(
            token="""\
improbable = 1.0 - (batch.old_logprobs * batch.response_mask.float()).clamp(max=0.0).exp()
advantage = advantage * (1.0 - hyper["probability_weight"] * improbable)"""
        ),
        parameters=(Parameter("probability_weight", 0.3, 0.05, 0.8, "what an unlikely token loses of its weight"),),
        switch="probability_weight",
        source="arXiv:2505.12929",
    ),
    Kind(
        name="reference-kl",
        slot=Slot.REGULARISATION,
        family=Family.STABILISATION,
        label="reference KL",
        claim="A KL term keeps the policy close to the reference.",
        effect="drift stays bounded",
        formula="loss += kl_coef * k3(pi || ref)",
        code=Code(
            loss="""\
kl = ops.kl_k3(inputs.logprobs, inputs.ref_logprobs, inputs.response_mask)
loss = loss + {kl_coef} * kl""",
            metrics=(("kl", "kl.detach()"),),
        ),
        parameters=(Parameter("kl_coef", 0.001, 2e-4, 0.05, "weight of the k3 KL term to the reference", log=True),),
        switch="kl_coef",
        provides=frozenset({Fact.KL_TERM}),
        needs=("reference",),
        source="arXiv:2402.03300",
    ),
    Kind(
        name="entropy-bonus",
        slot=Slot.REGULARISATION,
        family=Family.STABILISATION,
        label="entropy bonus",
        claim="A small reward for entropy keeps exploration alive.",
        effect="entropy declines more slowly",
        formula="loss -= entropy_coef * entropy",
        code=Code(loss="loss = loss - {entropy_coef} * ops.token_entropy(inputs.entropy, inputs.response_mask)"),
        parameters=(Parameter("entropy_coef", 0.003, 2e-4, 0.03, "weight of the entropy bonus", log=True),),
        switch="entropy_coef",
        provides=frozenset({Fact.ENTROPY_TERM}),
        needs=("entropy",),
        cost=0.05,
        source="arXiv:1602.01783",
    ),
    Kind(
        name="positive-imitation",
        slot=Slot.REGULARISATION,
        family=Family.OBJECTIVE,
        label="imitation of successes",
        claim="Responses above their baseline are also imitated outright, which clipping cannot stop.",
        effect="rare successes are kept once they were found",
        formula="loss -= imitation * log pi where A > 0",
        code=Code(
            loss="""\
success = (inputs.advantages > 0).float()
loss = loss - hyper["imitation"] * success * inputs.logprobs"""
        ),
        parameters=(Parameter("imitation", 0.05, 0.005, 0.3, "weight of the imitation term", log=True),),
        switch="imitation",
        source="arXiv:2504.05118",
    ),
)
