"""Objectives: the surrogate that turns advantages into a loss.  Each binds ``loss`` [B, T], most bind ``clipped``."""

from __future__ import annotations

from poise_lib.algorithms.contract import Family
from poise_lib.proposal.grammar import Code, Fact, Flag, Kind, Parameter, Slot

_LOG_RATIO = "log_ratio = ops.log_ratio(inputs.logprobs, inputs.old_logprobs, inputs.response_mask)"
_RATIO = "ratio = ops.log_ratio(inputs.logprobs, inputs.old_logprobs, inputs.response_mask).exp()"
_CLIP = Parameter("clip_ratio", 0.2, 0.05, 0.5, "half width of the clip interval around a ratio of 1", log=True)
_CLIPPED = (("clip_fraction", "clipped"),)
_TOKEN = frozenset({Fact.CLIPPED, Fact.TOKEN_RATIO})

KINDS = (
    Kind(
        name="ratio-clip",
        slot=Slot.OBJECTIVE,
        family=Family.OBJECTIVE,
        label="PPO clip",
        claim="The pessimistic clipped surrogate ends an update once a token has moved far enough.",
        effect="updates stay near the sampling policy",
        formula="loss = -min(rho * A, clip(rho, 1 - clip_ratio, 1 + clip_ratio) * A)",
        code=Code(
            loss=f"""\
{_RATIO}
loss, clipped = ops.clipped_surrogate(ratio, inputs.advantages, {{clip_ratio}}, {{clip_ratio}})""",
            metrics=_CLIPPED,
        ),
        parameters=(_CLIP,),
        provides=_TOKEN,
        source="arXiv:1707.06347",
    ),
    Kind(
        name="clip-higher",
        slot=Slot.OBJECTIVE,
        family=Family.OBJECTIVE,
        label="decoupled clip",
        claim="The upper bound lies further out than the lower one: unlikely tokens may grow, entropy is kept.",
        effect="entropy declines more slowly at the same accuracy",
        formula="loss = -min(rho * A, clip(rho, 1 - clip_ratio, 1 + clip_ratio + clip_extra) * A)",
        code=Code(
            loss=f"""\
{_RATIO}
width = {{clip_ratio}}
loss, clipped = ops.clipped_surrogate(ratio, inputs.advantages, width, width + hyper["clip_extra"])""",
            metrics=_CLIPPED,
        ),
        parameters=(_CLIP, Parameter("clip_extra", 0.1, 0.02, 0.5, "how much higher the upper bound lies", log=True)),
        switch="clip_extra",
        provides=_TOKEN,
        source="arXiv:2503.14476, equation 10",
    ),
    Kind(
        name="sequence-ratio",
        slot=Slot.OBJECTIVE,
        family=Family.OBJECTIVE,
        label="sequence ratio",
        claim="The ratio is that of the whole response, as the reward is; single tokens no longer clip by accident.",
        effect="the clip fraction follows responses, and gradient noise falls",
        formula="s = exp(mean over tokens of log rho); loss = -min(s * A, clip(s, 1 - clip_ratio, 1 + clip_ratio) * A)",
        code=Code(
            loss=f"""\
{_LOG_RATIO}
whole = ops.sequence_mean(log_ratio, inputs.response_mask).unsqueeze(-1)
ratio = (log_ratio + hyper["sequence_level"] * (whole - log_ratio)).exp()
loss, clipped = ops.clipped_surrogate(ratio, inputs.advantages, {{clip_ratio}}, {{clip_ratio}})""",
            metrics=_CLIPPED,
        ),
        parameters=(
            Parameter("clip_ratio", 0.03, 0.003, 0.2, "half width of the clip interval of a response", log=True),
        ),
        switch="sequence_level",
        flag=Flag("sequence_level", "1 has one ratio per response, 0 one per token"),
        provides=frozenset({Fact.CLIPPED}),
        source="arXiv:2507.18071",
    ),
    Kind(
        name="geometric-mean",
        slot=Slot.OBJECTIVE,
        family=Family.OBJECTIVE,
        label="geometric-mean ratio",
        claim="Token ratios are clipped one by one and then averaged geometrically, so no single token dominates.",
        effect="gradient spikes vanish although the clip interval is wide",
        formula="loss = -A * exp(mean over tokens of log rho, bounded by log_clip on the side that A favours)",
        code=Code(
            loss=f"""\
{_LOG_RATIO}
sign = torch.sign(inputs.advantages)
bounded = sign * (sign * log_ratio).clamp(max=hyper["log_clip"])
clipped = (sign * log_ratio > hyper["log_clip"]).float()
whole = ops.sequence_mean(bounded, inputs.response_mask).unsqueeze(-1)
loss = -inputs.advantages * (bounded + hyper["geometric"] * (whole - bounded)).exp()""",
            metrics=_CLIPPED,
        ),
        parameters=(Parameter("log_clip", 0.4, 0.1, 1.0, "bound of a token's log-ratio", log=True),),
        switch="geometric",
        flag=Flag("geometric", "1 takes the geometric mean over tokens, 0 each token by itself"),
        source="arXiv:2507.20673",
    ),
    Kind(
        name="soft-gate",
        slot=Slot.OBJECTIVE,
        family=Family.OBJECTIVE,
        label="soft gate",
        claim="A smooth gate fades off-policy tokens out where clipping would cut them off, sooner for negatives.",
        effect="more tokens keep a gradient and updates stay stable",
        formula="loss = -A * 4 / tau * sigmoid(tau * (rho - 1)), tau by the sign of A",
        code=Code(
            loss=f"""\
{_RATIO}
tau = torch.where(inputs.advantages > 0, hyper["tau_positive"], hyper["tau_negative"])
gated = 4.0 / tau * torch.sigmoid(tau * (ratio - 1.0))
loss = -inputs.advantages * (ratio + hyper["soft_gate"] * (gated - ratio))"""
        ),
        parameters=(
            Parameter("tau_positive", 1.0, 0.5, 10.0, "sharpness of the gate for positive advantages", log=True),
            Parameter("tau_negative", 1.05, 0.5, 10.0, "sharpness of the gate for negative advantages", log=True),
        ),
        switch="soft_gate",
        flag=Flag("soft_gate", "1 gates the ratio, 0 takes it bare"),
        source="arXiv:2511.20347",
    ),
    Kind(
        name="ratio-flip",
        slot=Slot.OBJECTIVE,
        family=Family.OBJECTIVE,
        label="flipped positive ratios",
        claim="Positive tokens that lag behind get the larger weight; a plain ratio favours those ahead.",
        effect="probability spreads over more correct tokens and entropy lasts",
        formula="loss = -A * w * rho / sg(rho), w = 1 / rho if A > 0 else rho, masked as PPO clips, w <= weight_cap",
        code=Code(
            loss=f"""\
{_LOG_RATIO}
ratio = log_ratio.detach().exp()
positive = inputs.advantages > 0
weight = torch.where(positive, ratio ** (1.0 - 2.0 * hyper["flip"]), ratio).clamp(max=hyper["weight_cap"])
outside = torch.where(positive, ratio > 1.0 + {{clip_ratio}}, ratio < 1.0 - {{clip_ratio}})
unit = (log_ratio - log_ratio.detach()).exp()
loss = -inputs.advantages * weight * torch.where(outside, unit.detach(), unit)
clipped = outside.float()""",
            metrics=_CLIPPED,
        ),
        parameters=(_CLIP, Parameter("weight_cap", 3.0, 1.5, 10.0, "the largest weight of a token", log=True)),
        switch="flip",
        flag=Flag("flip", "1 flips the ratio of positive tokens, 0 keeps it"),
        provides=_TOKEN,
        cost=0.1,
        source="arXiv:2510.06062",
    ),
    Kind(
        name="truncated-weights",
        slot=Slot.OBJECTIVE,
        family=Family.OBJECTIVE,
        label="truncated importance weights",
        claim="Importance weights are capped and held constant: every token keeps a gradient.",
        effect="rare but decisive tokens go on learning over all passes",
        formula="loss = -A * min(sg(rho), ratio_cap) * log pi",
        code=Code(
            loss=f"""\
{_RATIO}
weight = ratio.detach().clamp(max=hyper["ratio_cap"]) ** hyper["importance"]
loss = -inputs.advantages * weight * inputs.logprobs
clipped = (ratio.detach() > hyper["ratio_cap"]).float()""",
            metrics=_CLIPPED,
        ),
        parameters=(Parameter("ratio_cap", 1.5, 1.05, 4.0, "the largest importance weight", log=True),),
        switch="importance",
        flag=Flag("importance", "1 weighs by the capped ratio, 0 takes every token at 1"),
        source="arXiv:2506.13585",
    ),
    Kind(
        name="proximal-penalty",
        slot=Slot.OBJECTIVE,
        family=Family.OBJECTIVE,
        label="quadratic proximal penalty",
        claim="A quadratic penalty draws the ratio back, where clipping only stops pushing it further.",
        effect="fewer ratios end far outside the interval",
        formula="loss = -A * rho + proximal * |A| * (rho - 1)^2 / (2 * clip_ratio)",
        code=Code(
            loss=f"""\
{_RATIO}
penalty = inputs.advantages.abs() * (ratio - 1.0) ** 2 / (2.0 * {{clip_ratio}})
loss = -inputs.advantages * ratio + hyper["proximal"] * penalty"""
        ),
        parameters=(_CLIP, Parameter("proximal", 1.0, 0.25, 2.0, "weight of the penalty", log=True)),
        switch="proximal",
        provides=_TOKEN,
        source="arXiv:2401.16025",
    ),
    Kind(
        name="dual-clip",
        slot=Slot.OBJECTIVE,
        family=Family.OBJECTIVE,
        label="dual clip",
        claim="A failed token that grew by accident no longer produces an unbounded gradient.",
        effect="rare gradient spikes of negative samples vanish",
        formula="loss = min(PPO clip, dual_bound * |A|) where A < 0",
        code=Code(
            loss=f"""\
{_RATIO}
loss, clipped = ops.clipped_surrogate(ratio, inputs.advantages, {{clip_ratio}}, {{clip_ratio}})
if hyper["dual_bound"] > 0.0:
    bound = -inputs.advantages * hyper["dual_bound"]
    loss = torch.where(inputs.advantages < 0, torch.minimum(loss, bound), loss)""",
            metrics=_CLIPPED,
        ),
        parameters=(
            _CLIP,
            Parameter("dual_bound", 1.5, 1.1, 3.0, "largest ratio of a negative token; 0 sets none", log=True),
        ),
        switch="dual_bound",
        provides=_TOKEN,
        source="arXiv:1912.09729",
    ),
    Kind(
        name="plain-gradient",
        slot=Slot.OBJECTIVE,
        family=Family.OBJECTIVE,
        label="plain REINFORCE",
        claim="The policy gradient itself, without a ratio: as long as steps are small there is little to correct.",
        effect="learning is fast early, with more drift in later passes",
        formula="loss = -A * log pi",
        code=Code(loss="loss = -inputs.advantages * inputs.logprobs"),
        source="Williams, Machine Learning 8, 1992",
    ),
)
