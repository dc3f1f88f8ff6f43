"""An archive entry: the slim record of a finished candidate that selection, proposal and reflection work on.

M_t of the paper is a sequence of entries e_i = (z, rho, tau, y, r) in the order of their creation.  What can be derived
from the whole archive (children, frontier, descendant gain) is computed where it is needed, never stored here.
"""

from __future__ import annotations

from pydantic import Field

from poise_lib.names import (
    EARLY_STOPS,
    REASON_COLLAPSED,
    REASON_TIME_LIMIT_REACHED,
    REASON_TRAINING_FAILED,
    REASON_VERIFICATION_FAILED,
)
from poise_lib.resources.base import Model
from poise_lib.resources.candidate import CandidatePhase, Component, Reflection

OWN_FAULTS = EARLY_STOPS | {
    REASON_VERIFICATION_FAILED,
    REASON_TRAINING_FAILED,
    REASON_COLLAPSED,
    REASON_TIME_LIMIT_REACHED,
}
"""The reasons for which a candidate ends unscored that say something about its algorithm; see :attr:`Entry.at_fault`."""


class Entry(Model):
    """One finished candidate."""

    name: str
    parents: tuple[str, ...] = ()
    round: int = 0
    slot: int = 0
    depth: int = 0
    """Generations from the root along the first parent."""
    title: str = ""
    phase: CandidatePhase = CandidatePhase.ARCHIVED
    """Archived, Rejected or Failed; only archived entries have metrics."""
    reason: str = ""
    """Why a candidate without a score ended: a REASON constant of :mod:`poise_lib.names`, or the word of a task."""
    mechanisms: tuple[str, ...] = ()
    composition: tuple[Component, ...] = ()
    """What was run last: that of the final code, after repairs."""
    proposed: tuple[Component, ...] = ()
    """What had been proposed, where implementation or repairs changed it; else empty."""
    source_digest: str | None = None
    behaviour_digest: str | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    utility: float | None = None
    trajectory: dict[str, float] = Field(default_factory=dict)
    """Summary of the training trajectory."""
    reflection: Reflection | None = None

    @property
    def at_fault(self) -> bool:
        """Whether the candidate ended unscored through a fault of its algorithm, from which others can learn.

        It counts when the algorithm was judged and found wanting:

        * VerificationFailed: its code was refused, and repairs did not save it; also when all that was wrong was that
          it behaves as its parent, for then the change is none.
        * TrainingFailed: it raised, left the finite numbers, did not learn at all, or hit a limit of time or memory.
        * Collapsed: after the probe run it scored far below the baseline.
        * TimeLimitReached: its training took longer than ``evaluation.verl.timeLimit``.
        * NonFinite, KLBlowUp, EntropyCollapse, FormatCollapse, Hopeless: its training was ended early.

        It does not count when nothing was judged, or when others may be to blame:

        * TaskFailed: every attempt of one of its tasks was lost with its process, pod or node.
        * Duplicate: it is sound, and only not worth training again.
        * GPUBudgetSpent: there was no room to train it.
        * UnknownAlgorithm, SourceTooLarge: a name was mistyped, or the API has no room for the code.
        * ScoringFailed, EvaluationFailed: trusted code gave up on scores that the training before it had earned, or a
          metric of the objective is missing; training checks every step's numbers, so divergence ends there.
        * anything else, and no reason at all: written by hand or by another version.  A fault missed costs one more
          try; a fault imagined turns the search from an idea that was never tried.
        """
        return self.phase is not CandidatePhase.ARCHIVED and self.reason in OWN_FAULTS
