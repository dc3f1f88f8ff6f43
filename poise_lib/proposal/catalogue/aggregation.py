"""Aggregation: how the engine reduces the loss of tokens to that of a mini-batch (the contract's ``AGGREGATION``)."""

from __future__ import annotations

from poise_lib.algorithms.contract import Family
from poise_lib.proposal.grammar import Code, Kind, Slot


def _aggregation(name: str, label: str, claim: str, effect: str, formula: str, source: str) -> Kind:
    return Kind(
        name=name,
        slot=Slot.AGGREGATION,
        family=Family.OBJECTIVE,
        label=label,
        claim=claim,
        effect=effect,
        formula=formula,
        code=Code(),
        aggregation=name,
        source=source,
    )


KINDS = (
    _aggregation(
        "seq-mean-token-mean",
        "sequence means",
        "Every response counts the same, however long it is.",
        "tokens of long responses weigh less",
        "mean over responses of the mean over tokens",
        "arXiv:2402.03300",
    ),
    _aggregation(
        "token-mean",
        "token mean",
        "Every token counts the same, so that long responses are not let off.",
        "long failures are unlearnt and long successes are kept",
        "mean over all tokens of the mini-batch",
        "arXiv:2503.14476",
    ),
    _aggregation(
        "seq-mean-token-sum-norm",
        "constant-length sums",
        "Sums over tokens are divided by a constant, which removes the bias towards long failures.",
        "length follows usefulness alone",
        "mean over responses of the sum over tokens, divided by L_max",
        "arXiv:2503.20783",
    ),
    _aggregation(
        "seq-mean-token-sum",
        "sequence sums",
        "The gradient of a whole response's log-probability, as REINFORCE has it.",
        "long responses move the policy further",
        "mean over responses of the sum over tokens",
        "arXiv:2402.14740",
    ),
)
