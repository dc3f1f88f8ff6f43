"""Ends a run that is broken or hopeless: pure, one record of the trajectory after the other.

No rule looks at a clock, so that the same trajectory ends at the same step on any machine.  Records come from the
process that runs candidate code and are advisory: a candidate that lies here trains longer, and is scored all the same.

The rules are those of :class:`~poise_lib.resources.early_stop.EarlyStopping`, looked at in the order broken before
hopeless; the first that holds is the reason:

* NonFinite: loss or gradient norm of the step is not finite.
* KLBlowUp: KL to the reference is above a limit, several steps in a row.
* EntropyCollapse, FormatCollapse: below a share of its first value, several steps in a row.
* Hopeless: at a rung, the mean accuracy over the last few steps that the parent's curve has too is below the parent's by
  more than a margin.  Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943) keeps the better part of all
  arms at each rung; here the arms of a round may run one after the other, so each is measured against the one curve that
  is known when it starts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from poise_lib.evaluation.trajectory import ACCURACY, ENTROPY, FORMAT_VALID, GRAD_NORM, KL, LOSS, STEP
from poise_lib.names import (
    REASON_ENTROPY_COLLAPSE,
    REASON_FORMAT_COLLAPSE,
    REASON_HOPELESS,
    REASON_KL_BLOW_UP,
    REASON_NON_FINITE,
)
from poise_lib.resources.early_stop import EarlyStopping, EntropyCollapse, FormatCollapse

_MUST_BE_FINITE: Final = (LOSS, GRAD_NORM)


@dataclass(frozen=True, slots=True)
class Stop:
    """A run ends here."""

    reason: str
    """A CamelCase word."""
    message: str
    step: int
    """Steps that were finished."""


class Watch:
    """Looks at a run's records as they come.

    Records of one run come in the order of their steps.  One that goes back, because training went on from a
    checkpoint, replaces what came after it.

    Args:
        settings: the rules.
        steps: that the run would have; 0 where that is not known, and then no run is hopeless.
        reference: the parent's trajectory, or empty.
    """

    def __init__(self, settings: EarlyStopping, steps: int, reference: Sequence[Mapping[str, float]] = ()) -> None:
        self._settings, self._steps = settings, steps
        self._reference = {
            int(point[STEP]): point[ACCURACY] for point in reference if STEP in point and ACCURACY in point
        }
        self._history: dict[int, Mapping[str, float]] = {}

    def see(self, record: Mapping[str, float]) -> Stop | None:
        """Take the next step's record (step counted from 0 under :data:`STEP`); why the run ends with it, or None."""
        step = self._take(record)
        if not self._settings.enabled:
            return None
        rules = (self._non_finite, self._kl, self._entropy, self._format, self._hopeless)
        # At the last step nothing is left to be saved, and weights that are numbers can be scored.
        for rule in rules[:1] if step + 1 == self._steps else rules:
            found = rule(step)
            if found is not None:
                reason, message = found
                of = f" of {self._steps}" if self._steps else ""
                return Stop(reason, f"ended after step {step + 1}{of}: {message}", step + 1)
        return None

    def _take(self, record: Mapping[str, float]) -> int:
        given = record.get(STEP, math.nan)
        step = int(given) if math.isfinite(given) else max(self._history, default=-1) + 1
        self._history = {known: old for known, old in self._history.items() if known < step}
        self._history[step] = record
        return step

    def _non_finite(self, step: int) -> tuple[str, str] | None:
        if not self._settings.non_finite:
            return None
        record = self._history[step]
        bad = [f"{name} is {record[name]}" for name in _MUST_BE_FINITE if not math.isfinite(record.get(name, 0.0))]
        return (REASON_NON_FINITE, " and ".join(bad)) if bad else None

    def _last(self, metric: str, count: int) -> list[float]:
        """A metric over the last ``count`` records; empty when one of them lacks it."""
        records = list(self._history.values())[-count:]
        values = [record[metric] for record in records if metric in record]
        return values if len(values) == count else []

    def _kl(self, step: int) -> tuple[str, str] | None:
        rule = self._settings.kl
        values = self._last(KL, rule.steps) if rule.enabled else []
        # Not "above": what is not a number has blown up too.
        if not values or any(value <= rule.limit for value in values):
            return None
        numbers = ", ".join(f"{value:.3g}" for value in values[-3:])
        return REASON_KL_BLOW_UP, f"{KL} was above {rule.limit:g} in {_steps(rule.steps)}, last {numbers}"

    def _entropy(self, step: int) -> tuple[str, str] | None:
        return self._fell(REASON_ENTROPY_COLLAPSE, ENTROPY, self._settings.entropy)

    def _format(self, step: int) -> tuple[str, str] | None:
        return self._fell(REASON_FORMAT_COLLAPSE, FORMAT_VALID, self._settings.format)

    def _fell(self, reason: str, metric: str, rule: EntropyCollapse | FormatCollapse) -> tuple[str, str] | None:
        values = self._last(metric, rule.steps) if rule.enabled else []
        first = next((record[metric] for record in self._history.values() if metric in record), 0.0)
        # Where there was nothing at the start, nothing can be lost.
        if not values or not first > 0.0 or any(value >= rule.share * first for value in values):
            return None
        return reason, (
            f"{metric} was below {rule.share:g} of its first value {first:.3g} in {_steps(rule.steps)}, "
            f"last {values[-1]:.3g}"
        )

    def _hopeless(self, step: int) -> tuple[str, str] | None:
        rule = self._settings.hopeless
        reached = {math.ceil(rung * self._steps - 1e-9) for rung in rule.rungs}
        # The parent's curve is thinned; one that does not reach this step was a shorter run.
        if not rule.enabled or step + 1 not in reached or max(self._reference, default=-1) < step:
            return None
        shared = [known for known in self._reference if ACCURACY in self._history.get(known, {})]
        window = sorted(shared)[-rule.window :]
        if len(window) < rule.window:
            return None
        own = 100 * sum(self._history[known][ACCURACY] for known in window) / len(window)
        parent = 100 * sum(self._reference[known] for known in window) / len(window)
        if own >= parent - rule.margin:
            return None
        which = ", ".join(str(known + 1) for known in window)
        return REASON_HOPELESS, (
            f"mean training accuracy {own:.1f} against the parent's {parent:.1f} over steps {which}, more than "
            f"{rule.margin:g} points below"
        )


def _steps(count: int) -> str:
    return "this step" if count == 1 else f"{count} steps in a row"
