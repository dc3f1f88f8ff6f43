"""Controllers: coefficients that follow the state of training.  Each replaces one coefficient of another component.

Those that look at measurements are functions of the metrics so far (``schedule``), which keeps a candidate free of
state.  The names of metrics are the trajectory's, and those are VeRL's.
"""

from __future__ import annotations

from poise_lib.algorithms.contract import Family
from poise_lib.proposal.grammar import Code, Fact, Kind, Parameter, Slot


def _annealed(coefficient: str, rate: str, what: str) -> str:
    """Source of a helper that lets a coefficient of the loss fall linearly over training."""
    return f'''\
def annealed_{coefficient}(inputs: LossInputs, hyper: Hyper) -> float:
    """{what}"""
    progress = inputs.step / max(1, inputs.total_steps)
    return hyper["{coefficient}"] * (1.0 - hyper["{rate}"] * progress)'''


_HISTORY = "history: Sequence[Mapping[str, float]], hyper: Hyper"

KINDS = (
    Kind(
        name="entropy-target",
        slot=Slot.CONTROLLER,
        family=Family.CONTROLLER,
        label="adaptive entropy target",
        claim="The entropy bonus grows while entropy is below its target and fades while it is above.",
        effect="entropy settles near the target instead of collapsing",
        formula="entropy_coef := entropy_coef * s, log s += entropy_rate * (entropy_target - entropy) each step",
        code=Code(
            helpers=(
                f'''\
def entropy_scale({_HISTORY}) -> float:
    """Multiplier of the entropy bonus after the steps so far, within [0.1, 10]."""
    scale = 1.0
    for metrics in history:
        gap = hyper["entropy_target"] - metrics.get("actor/entropy", hyper["entropy_target"])
        scale = scale * math.exp(hyper["entropy_rate"] * min(max(gap, -1.0), 1.0))
        scale = min(max(scale, 0.1), 10.0)
    return scale''',
            ),
            coefficients=(("entropy_scale", "entropy_scale(history, hyper)"),),
        ),
        parameters=(
            Parameter("entropy_target", 0.3, 0.05, 1.0, "mean token entropy aimed at, nats", log=True),
            Parameter("entropy_rate", 0.5, 0.1, 3.0, "how fast the bonus follows", log=True),
        ),
        switch="entropy_rate",
        requires=frozenset({Fact.ENTROPY_TERM}),
        controls="entropy_coef",
        expression='hyper["entropy_coef"] * inputs.coefficients.get("entropy_scale", 1.0)',
        cost=0.1,
        source="arXiv:2603.23951, VM-AV",
    ),
    Kind(
        name="entropy-anneal",
        slot=Slot.CONTROLLER,
        family=Family.CONTROLLER,
        label="annealed entropy bonus",
        claim="Exploration is paid for early and withdrawn as training ends, when it only blurs the policy.",
        effect="entropy is high early and greedy accuracy catches up late",
        formula="entropy_coef := entropy_coef * (1 - entropy_anneal * progress)",
        code=Code(
            helpers=(
                _annealed("entropy_coef", "entropy_anneal", "Weight of the entropy bonus, falling over training."),
            )
        ),
        parameters=(Parameter("entropy_anneal", 0.8, 0.3, 1.0, "share of the bonus that is gone at the end"),),
        switch="entropy_anneal",
        requires=frozenset({Fact.ENTROPY_TERM}),
        controls="entropy_coef",
        expression="annealed_entropy_coef(inputs, hyper)",
        source="arXiv:2603.23951, DACE",
    ),
    Kind(
        name="kl-gate",
        slot=Slot.CONTROLLER,
        family=Family.CONTROLLER,
        label="adaptive KL gate",
        claim="The KL term tightens when the policy has drifted beyond a target and yields while it has room.",
        effect="drift levels off near the target",
        formula="kl_coef := kl_coef * clip(KL / kl_target, 0.1, 10)^kl_gate, KL of the last step",
        code=Code(
            helpers=(
                f'''\
def kl_scale({_HISTORY}) -> float:
    """Multiplier of the KL term from the drift of the last step, within [0.1, 10] ** kl_gate."""
    drift = history[-1].get("actor/kl", hyper["kl_target"]) if history else hyper["kl_target"]
    return min(max(drift / hyper["kl_target"], 0.1), 10.0) ** hyper["kl_gate"]''',
            ),
            coefficients=(("kl_scale", "kl_scale(history, hyper)"),),
        ),
        parameters=(
            Parameter("kl_target", 0.05, 0.005, 0.5, "KL to the reference aimed at, nats per token", log=True),
            Parameter("kl_gate", 1.0, 0.25, 2.0, "how sharply the term responds", log=True),
        ),
        switch="kl_gate",
        requires=frozenset({Fact.KL_TERM}),
        controls="kl_coef",
        expression='hyper["kl_coef"] * inputs.coefficients.get("kl_scale", 1.0)',
        cost=0.1,
        source="after arXiv:1707.06347, section 4",
    ),
    Kind(
        name="failure-gated-kl",
        slot=Slot.CONTROLLER,
        family=Family.CONTROLLER,
        label="failure-gated KL",
        claim="While most groups fail the reference is the better guide, so the KL term grows with their share.",
        effect="early drift is held back and released as accuracy comes",
        formula="kl_coef := kl_coef * (1 + failure_gate * share of all-fail groups)",
        code=Code(
            helpers=(
                f'''\
def kl_scale({_HISTORY}) -> float:
    """Multiplier of the KL term from the share of all-fail groups of the last step."""
    failing = history[-1].get("groups/all_fail", 0.0) if history else 0.0
    return 1.0 + hyper["failure_gate"] * min(max(failing, 0.0), 1.0)''',
            ),
            coefficients=(("kl_scale", "kl_scale(history, hyper)"),),
        ),
        parameters=(Parameter("failure_gate", 3.0, 0.5, 20.0, "extra weight when every group fails", log=True),),
        switch="failure_gate",
        requires=frozenset({Fact.KL_TERM}),
        controls="kl_coef",
        expression='hyper["kl_coef"] * inputs.coefficients.get("kl_scale", 1.0)',
        cost=0.1,
        source="arXiv:2603.23951, RF",
    ),
    Kind(
        name="clip-schedule",
        slot=Slot.CONTROLLER,
        family=Family.CONTROLLER,
        label="clip schedule",
        claim="A wide interval lets the policy travel early; it narrows so that late updates only polish.",
        effect="fast early gains and a calm end",
        formula="clip_ratio := clip_ratio * (1 - clip_anneal * progress)",
        code=Code(
            helpers=(_annealed("clip_ratio", "clip_anneal", "Half width of the interval, narrowing over training."),)
        ),
        parameters=(Parameter("clip_anneal", 0.5, 0.2, 0.9, "share of the width that is gone at the end"),),
        switch="clip_anneal",
        requires=frozenset({Fact.CLIPPED}),
        controls="clip_ratio",
        expression="annealed_clip_ratio(inputs, hyper)",
    ),
    Kind(
        name="clip-feedback",
        slot=Slot.CONTROLLER,
        family=Family.CONTROLLER,
        label="clip feedback",
        claim="The interval widens while too few tokens reach it and narrows while too many do.",
        effect="the clip fraction settles near its target",
        formula="clip_ratio := clip_ratio * s, log s += clip_gain * (clip_target - clip fraction) each step",
        code=Code(
            helpers=(
                f'''\
def clip_scale({_HISTORY}) -> float:
    """Multiplier of the clip interval after the steps so far, within [0.5, 2]."""
    scale = 1.0
    for metrics in history:
        gap = hyper["clip_target"] - metrics.get("actor/pg_clipfrac", hyper["clip_target"])
        scale = scale * math.exp(hyper["clip_gain"] * min(max(gap, -1.0), 1.0))
        scale = min(max(scale, 0.5), 2.0)
    return scale''',
            ),
            coefficients=(("clip_scale", "clip_scale(history, hyper)"),),
        ),
        parameters=(
            Parameter("clip_target", 0.02, 0.002, 0.2, "share of clipped tokens aimed at", log=True),
            Parameter("clip_gain", 2.0, 0.5, 10.0, "how fast the interval follows", log=True),
        ),
        switch="clip_gain",
        requires=frozenset({Fact.CLIPPED}),
        controls="clip_ratio",
        expression='hyper["clip_ratio"] * inputs.coefficients.get("clip_scale", 1.0)',
        cost=0.1,
    ),
    Kind(
        name="difficulty-schedule",
        slot=Slot.CONTROLLER,
        family=Family.CONTROLLER,
        label="difficulty schedule",
        claim="Hard prompts are favoured late only: first the policy learns what is in its reach.",
        effect="easy benchmarks rise first, hard ones catch up",
        formula="difficulty_weight := difficulty_weight * (1 - difficulty_delay * (1 - progress))",
        code=Code(
            helpers=(
                '''\
def delayed_difficulty_weight(batch: Batch, hyper: Hyper) -> float:
    """Extra weight of hard prompts, growing over training."""
    remaining = 1.0 - batch.step / max(1, batch.total_steps)
    return hyper["difficulty_weight"] * (1.0 - hyper["difficulty_delay"] * remaining)''',
            )
        ),
        parameters=(Parameter("difficulty_delay", 0.8, 0.3, 1.0, "share of the weight that is withheld at the start"),),
        switch="difficulty_delay",
        requires=frozenset({Fact.DIFFICULTY_TERM}),
        controls="difficulty_weight",
        expression="delayed_difficulty_weight(batch, hyper)",
    ),
    Kind(
        name="accuracy-gated-efficiency",
        slot=Slot.CONTROLLER,
        family=Family.CONTROLLER,
        label="accuracy-gated efficiency",
        claim="Length counts only as far as accuracy has come: correctness first, then economy.",
        effect="length falls after accuracy has risen, not before",
        formula="efficiency_weight := efficiency_weight * accuracy^accuracy_gate, accuracy of the last step",
        code=Code(
            helpers=(
                f'''\
def efficiency_scale({_HISTORY}) -> float:
    """Multiplier of the efficiency term from the accuracy of the last step."""
    accuracy = history[-1].get("critic/score/mean", 0.0) if history else 0.0
    return min(max(accuracy, 0.0), 1.0) ** hyper["accuracy_gate"]''',
            ),
            coefficients=(("efficiency_scale", "efficiency_scale(history, hyper)"),),
        ),
        parameters=(Parameter("accuracy_gate", 1.0, 0.5, 3.0, "power of the accuracy", log=True),),
        switch="accuracy_gate",
        requires=frozenset({Fact.EFFICIENCY_TERM}),
        controls="efficiency_weight",
        expression='hyper["efficiency_weight"] * batch.coefficients.get("efficiency_scale", 1.0)',
        cost=0.1,
        source="after arXiv:2603.23951, CAG",
    ),
)
