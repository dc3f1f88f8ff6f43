"""DAPO: decoupled clipping, a token-level loss, and soft punishment of overlong responses.

    R_i = +1 or -1 (right or wrong) + overlong_penalty * P(L_i)
    P(L) = 0 up to L_max - buffer, then falls linearly to -1 at L_max
    A_i = (R_i - mu_g) / sqrt(var_g + eps)
    loss = -min(rho * A, clip(rho, 1 - clip_low, 1 + clip_high) * A), averaged over all tokens; no KL term

The paper's buffer is 4,096 of 20,480 tokens; here it is the same share of the engine's limit. The token-level loss
is the module's AGGREGATION. Not expressed: dynamic sampling. It draws new prompts until every group is mixed, which
is the engine's business; here a uniform group gets the weight zero by itself and the step is smaller by that much.
"""

from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import (
    Batch,
    Family,
    Hyper,
    Hyperparameter,
    LossInputs,
    LossOutput,
    Mechanism,
    Outcomes,
)

TITLE = "DAPO"
SOURCE = "Yu et al., DAPO, arXiv:2503.14476, equations 7 to 13"
AGGREGATION = "token-mean"
HYPERPARAMETERS = {
    "eps": Hyperparameter(1e-6, 1e-8, 1e-2, "added to the group variance, inside the root"),
    "eps_outside": Hyperparameter(0.0, 0.0, 1e-2, "added to the group deviation, outside the root"),
    "ddof": Hyperparameter(0.0, 0.0, 1.0, "0 takes the population's deviation, 1 the sample's"),
    "lone_reward": Hyperparameter(
        0.0, 0.0, 1.0, "advantage of a response alone in its group, as a share of its reward"
    ),
    "normalise": Hyperparameter(1.0, 0.0, 1.0, "power of the group deviation in the denominator; 0 only centres"),
    "clip_low": Hyperparameter(0.2, 0.0, 1.0, "the ratio is clipped from below at 1 - clip_low"),
    "clip_high": Hyperparameter(0.28, 0.0, 1.0, "the ratio is clipped from above at 1 + clip_high"),
    "overlong_penalty": Hyperparameter(1.0, 0.0, 2.0, "what a response of the greatest length loses"),
    "overlong_buffer": Hyperparameter(0.2, 0.01, 0.9, "share of the length limit over which the penalty grows"),
}
MECHANISMS = (
    Mechanism("clip-higher", Family.OBJECTIVE, "Lets unlikely tokens grow, which keeps entropy up.", "clip_high", 0.2),
    Mechanism(
        "overlong-shaping",
        Family.LENGTH_SHAPING,
        "Warns of the length limit before truncation.",
        "overlong_penalty",
        0.0,
    ),
    Mechanism(
        "group-normalisation", Family.CORE_SIGNAL, "Equalises the scale of easy and hard groups.", "normalise", 0.0
    ),
)


def rewards(outcomes: Outcomes, hyper: Hyper) -> Tensor:
    """Plus or minus one for the outcome, less the soft overlong punishment."""
    outcome = 2.0 * outcomes.correct.float() - 1.0
    buffer = hyper["overlong_buffer"] * outcomes.max_length
    excess = (outcomes.length.float() - (outcomes.max_length - buffer)) / buffer
    return outcome - hyper["overlong_penalty"] * excess.clamp(0.0, 1.0)


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """Group-standardised rewards, the same for every token of a response (GRPO's, with its variations)."""
    relative = ops.group_standardised(
        batch.rewards,
        batch.group,
        eps_inside=hyper["eps"],
        eps_outside=hyper["eps_outside"],
        ddof=hyper["ddof"],
        power=hyper["normalise"],
    )
    alone = ops.group_count(batch.group) == 1
    return ops.spread(relative + hyper["lone_reward"] * batch.rewards * alone, batch.response_mask)


def policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput:
    """Clipped surrogate with an upper bound of its own."""
    return ops.clipped_objective(inputs, hyper["clip_low"], hyper["clip_high"])
