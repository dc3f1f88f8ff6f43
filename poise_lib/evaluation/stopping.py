"""Ends a run that is broken or hopeless: pure, one record of the trajectory after the other.

No rule looks at a clock, so that the same trajectory ends at the same step on any machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from poise_lib.resources.early_stop import EarlyStopping


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

    Args:
        settings: the rules.
        steps: that the run would have.
        reference: the parent's trajectory, or empty.
    """

    def __init__(self, settings: EarlyStopping, steps: int, reference: Sequence[Mapping[str, float]] = ()) -> None:
        self._settings, self._steps, self._reference = settings, steps, reference

    def see(self, record: Mapping[str, float]) -> Stop | None:
        """Take the next step's record; why the run ends with it, or None."""
        return None
