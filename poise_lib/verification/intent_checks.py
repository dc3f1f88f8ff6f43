"""Intent consistency: does the code do what the candidate says it does, and is that something of its own?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from poise_lib.verification import plan as calls
from poise_lib.verification import situations as at
from poise_lib.verification.behaviour import Behaviour, behaviour_of
from poise_lib.verification.contract_checks import distance
from poise_lib.verification.declarations import Declarations
from poise_lib.verification.protocol import Answer, Float32
from poise_lib.verification.report import Check, Status

VISIBLE: Final = 1e-5
"""Relative change of a gradient that counts as one: well above float32 noise, well below any meant effect."""
WEAK_DIRECTION: Final = 0.2
_GRADIENTS: Final = ("gradient", "entropy_gradient")


def gradients(answer: Answer, call: str) -> list[Float32]:
    """The gradients of a call's reduced loss; empty when it failed."""
    result = answer.results.calls.get(call)
    if result is None or result.error:
        return []
    return [answer.array(call, stage) for stage in _GRADIENTS if stage in result.arrays and result.arrays[stage].stored]


def learning_signal(answer: Answer) -> Check:
    """Where outcomes are mixed, there is something to learn from: the gradient is not zero."""
    size = {name: _size(gradients(answer, calls.base(name))) for name in (at.RICH, at.LATE, at.ON_POLICY)}
    shown = ", ".join(f"{name} {value:.2g}" for name, value in size.items())
    if min(size.values()) > 0.0:
        return Check("learning-signal", Status.PASSED, f"gradient norms with mixed outcomes: {shown}")
    hint = (
        "the loss must depend on logprobs through the advantages; look for detach, torch.no_grad, or zeroed advantages"
    )
    return Check("learning-signal", Status.FAILED, f"no gradient in a batch with mixed outcomes: {shown}", hint)


def direction(answer: Answer) -> Check:
    """In mixed groups, correct responses become more likely against wrong ones.

    Measured as the correlation, within groups, of correctness with the push that each response's log-probability gets
    at a ratio of 1.  A negative one fails: the only goal is verified correctness, and an algorithm that works against
    it in every kind of mixed group at once is a sign error, not an idea.  A weak one warns: signals from format,
    length or entropy may outweigh correctness on purpose.
    """
    situation = at.all_situations()[at.ON_POLICY]
    push = -gradients(answer, calls.base(at.ON_POLICY))[0].astype(np.float64).sum(-1)
    correct = situation.arrays["correct"].astype(np.float64)
    group = situation.arrays["group"]
    for label in np.unique(group):
        members = group == label
        push[members] -= push[members].mean()
        correct[members] -= correct[members].mean()
    size = float(np.linalg.norm(push) * np.linalg.norm(correct))
    agreement = float(push @ correct) / size if size > 0 else 0.0
    evidence = f"correlation of correctness with the push on a response, within mixed groups: {agreement:.2f}"
    if agreement < 0:
        hint = (
            "the sign is flipped: the loss is minimised, so it is -advantage * ratio, with advantages high for correct"
        )
        return Check("direction", Status.FAILED, evidence, hint)
    if agreement < WEAK_DIRECTION:
        hint = "correctness hardly decides what is learnt; make sure that this is meant"
        return Check("direction", Status.WARNED, evidence, hint)
    return Check("direction", Status.PASSED, evidence)


def mechanisms_act(answer: Answer, declared: Declarations) -> Check:
    """Each declared mechanism changes a gradient, in some situation, when it is switched off."""
    idle, shown = [], []
    for mechanism in declared.mechanisms:
        where, change = _largest_change(answer, [(name, calls.off(mechanism.name, name)) for name in calls.VARIED])
        if change > VISIBLE:
            shown.append(f"{mechanism.name} {change:.1e} in {where}")
        else:
            idle.append(f"{mechanism.name} ({mechanism.hyperparameter} = {mechanism.off:g})")
    if idle:
        return Check(
            "mechanisms-act",
            Status.FAILED,
            f"no effect in any of {len(calls.VARIED)} situations when switched off: {', '.join(idle)}",
            "let the code read the switch, and let off really disable the mechanism; or drop the claim",
        )
    return Check("mechanisms-act", Status.PASSED, f"largest relative change of a gradient: {'; '.join(shown)}")


def hyperparameters_read(declared: Declarations) -> Check:
    """The name of each hyperparameter stands somewhere in a function."""
    unread = [name for name in declared.hyperparameters if name not in declared.strings]
    if unread:
        hint = 'read it as hyper["name"], or do not declare it'
        return Check("hyperparameters-read", Status.FAILED, f"never read: {', '.join(unread)}", hint)
    return Check("hyperparameters-read", Status.PASSED, f"all {len(declared.hyperparameters)} are read")


def hyperparameters_act(answer: Answer, declared: Declarations) -> Check:
    """Each hyperparameter changes a gradient somewhere between the ends of its range; a warning, not a failure.

    One that acts only far out (a floor that no probe reaches) is no lie.
    """
    idle = []
    for name in declared.hyperparameters:
        pairs = [
            (where, calls.moved(name, end, where))
            for end in ("low", "high")
            for where in calls.VARIED
            if calls.moved(name, end, where) in answer.results.calls
        ]
        if _largest_change(answer, pairs)[1] <= VISIBLE:
            idle.append(name)
    if idle:
        evidence = f"no effect at either end of the range, all others at their defaults: {', '.join(idle)}"
        hint = "widen the range, or drop the hyperparameter"
        return Check("hyperparameters-act", Status.WARNED, evidence, hint)
    return Check("hyperparameters-act", Status.PASSED, f"all {len(declared.hyperparameters)} change a gradient")


def ranges_safe(answer: Answer, declared: Declarations) -> Check:
    """Finite, and no exception, at both ends of every range and with every mechanism off; a warning."""
    bad = []
    for call, result in answer.results.calls.items():
        if not call.startswith(("moved/", "off/")):
            continue
        broken = result.error or next(
            (stage for stage in result.arrays if result.arrays[stage].stored and _broken(answer, call, stage)), ""
        )
        if broken:
            name = "/".join(call.split("/")[1:-1])
            bad.append(f"{name}: {broken}" if result.error else f"{name}: {broken} is not finite")
    bad = list(dict.fromkeys(bad))
    if bad:
        hint = "narrow the range in HYPERPARAMETERS, or guard the computation"
        return Check("ranges-safe", Status.WARNED, "; ".join(bad[:4]), hint)
    return Check("ranges-safe", Status.PASSED, f"finite at both ends of {len(declared.hyperparameters)} ranges")


def needs_used(answer: Answer, declared: Declarations) -> Check:
    """What NEEDS asks for costs a forward pass or memory, so something must come of it; a warning."""
    # A bonus on entropy does not change with its values; that it has a gradient shows it.
    flows = any(_size(gradients(answer, calls.base(name))[1:]) > 0 for name in at.all_situations())
    idle = [
        need
        for need in declared.needs
        if _largest_change(answer, [(name, calls.without(need, name)) for name in calls.TRANSFORMED])[1] <= VISIBLE
        and not (need == "entropy" and flows)
    ]
    if idle:
        hint = "take it out of NEEDS"
        return Check("needs-used", Status.WARNED, f"other values change nothing: {', '.join(idle)}", hint)
    return Check("needs-used", Status.PASSED, f"NEEDS: {', '.join(declared.needs) or 'nothing'}")


def behaviour(answer: Answer) -> Behaviour:
    """What the candidate does in all situations; see :mod:`poise_lib.verification.behaviour`."""
    return behaviour_of({name: gradients(answer, calls.base(name)) for name in at.all_situations()})


def novelty(own: Behaviour, parent_digests: Mapping[str, str]) -> Check:
    """The candidate is not one of the given algorithms under another name."""
    twins = sorted(name for name, digest in parent_digests.items() if own.matches(digest))
    if twins:
        return Check(
            "novelty",
            Status.FAILED,
            f"behaves exactly as {', '.join(twins)} in all {len(at.all_situations())} situations",
            "change what the code does, not its wording; a common scale of all advantages does not count",
        )
    return Check("novelty", Status.PASSED, f"differs from {len(parent_digests)} known algorithms")


def _size(parts: list[Float32]) -> float:
    return float(np.sqrt(sum(float((part.astype(np.float64) ** 2).sum()) for part in parts)))


def _broken(answer: Answer, call: str, stage: str) -> bool:
    return not bool(np.isfinite(answer.array(call, stage)).all())


def _largest_change(answer: Answer, pairs: list[tuple[str, str]]) -> tuple[str, float]:
    """(situation, relative change) of the largest difference between a base call's gradients and another call's.

    A call that fails counts as no change: a mechanism that cannot be switched off is not shown to act.
    """
    best = ("", 0.0)
    for situation, call in pairs:
        before, after = gradients(answer, calls.base(situation)), gradients(answer, call)
        changes = [distance(one, other) for one, other in zip(before, after, strict=False)]
        change = max((value for value in changes if np.isfinite(value)), default=0.0)
        if change > best[1]:
            best = (situation, change)
    return best
