"""Rewards: a hierarchy over correct, valid and length, never over text."""

from __future__ import annotations

from poise_lib.algorithms.contract import Family
from poise_lib.names import METRIC_FORMAT_VALID
from poise_lib.proposal.grammar import Code, Fact, Kind, Parameter, Slot

KINDS = (
    Kind(
        name="correctness",
        slot=Slot.REWARD,
        family=Family.REWARD,
        label="plain correctness",
        claim="A response earns 1 when it is correct, and nothing else counts.",
        effect="accuracy alone drives the update",
        formula="r = 1[correct]",
        code=Code(),
        provides=frozenset({Fact.UNIT_REWARD}),
    ),
    Kind(
        name="format-penalty",
        slot=Slot.REWARD,
        family=Family.REWARD,
        label="format penalty",
        claim="An invalid response loses more than a wrong one, so groups that fail still teach the format.",
        effect="the share of valid responses rises early and stays up",
        formula="r = 1[correct] - format_penalty * 1[invalid]",
        code=Code(reward='reward = reward - hyper["format_penalty"] * (~outcomes.valid).float()'),
        parameters=(Parameter("format_penalty", 0.5, 0.1, 2.0, "what an invalid response loses", log=True),),
        switch="format_penalty",
        provides=frozenset({Fact.FAIL_SIGNAL}),
        raises=frozenset({METRIC_FORMAT_VALID}),
        source="arXiv:2603.23951, RF and AV",
    ),
    Kind(
        name="graded-reward",
        slot=Slot.REWARD,
        family=Family.REWARD,
        label="graded reward",
        claim="A valid but wrong response earns a small share, which keeps invalid << valid-but-wrong << correct.",
        effect="format validity recovers without correct responses losing their lead",
        formula="r = 1 if correct, valid_share if valid but wrong, else 0",
        code=Code(reward='reward = torch.maximum(reward, hyper["valid_share"] * outcomes.valid.float())'),
        parameters=(Parameter("valid_share", 0.1, 0.02, 0.4, "what a valid but wrong response earns", log=True),),
        switch="valid_share",
        provides=frozenset({Fact.UNIT_REWARD, Fact.FAIL_SIGNAL}),
        raises=frozenset({METRIC_FORMAT_VALID}),
        source="arXiv:2603.23951, RF",
    ),
    Kind(
        name="overlong-shaping",
        slot=Slot.REWARD,
        family=Family.LENGTH_SHAPING,
        label="overlong shaping",
        claim="A response that nears the length limit is warned before it is cut off.",
        effect="fewer responses reach the limit",
        formula="r = 1[correct] - overlong_penalty * clip((L - (L_max - buffer)) / buffer, 0, 1)",
        code=Code(
            reward="""\
buffer = hyper["overlong_buffer"] * outcomes.max_length
excess = (outcomes.length.float() - (outcomes.max_length - buffer)) / buffer
reward = reward - hyper["overlong_penalty"] * excess.clamp(0.0, 1.0)"""
        ),
        parameters=(
            Parameter("overlong_penalty", 0.5, 0.1, 2.0, "what a response of the greatest length loses", log=True),
            Parameter("overlong_buffer", 0.3, 0.1, 0.6, "share of the length limit over which the penalty grows"),
        ),
        pull="shorter",
        switch="overlong_penalty",
        provides=frozenset({Fact.FAIL_SIGNAL, Fact.SOLVED_SIGNAL}),
        source="arXiv:2503.14476, equation 13",
    ),
    Kind(
        name="concise-correct",
        slot=Slot.REWARD,
        family=Family.LENGTH_SHAPING,
        label="concise-correct reward",
        claim="Among correct responses the shorter earns a little more; wrong ones are not judged by length.",
        effect="length falls in groups that are already solved",
        formula="r = 1[correct] * (1 - length_cost * L / L_max)",
        code=Code(
            reward='reward = reward * (1.0 - hyper["length_cost"] * outcomes.length.float() / outcomes.max_length)'
        ),
        parameters=(
            Parameter("length_cost", 0.1, 0.02, 0.5, "what a correct response of greatest length loses", log=True),
        ),
        pull="shorter",
        switch="length_cost",
        provides=frozenset({Fact.UNIT_REWARD, Fact.SOLVED_SIGNAL}),
    ),
)
