"""The verification report: every check with evidence and a hint for repair.  The same source gives the same report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    """The candidate may not be trained."""
    WARNED = "warned"
    """Worth a look; the candidate may be trained."""
    SKIPPED = "skipped"
    """Not made: an earlier check failed, or the check does not apply; the evidence says which."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check and what was seen."""

    name: str
    status: Status
    evidence: str
    """What was seen, with numbers.  May quote the candidate: bounded, control characters removed."""
    hint: str = ""
    """How to repair it; empty unless it failed or warned."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the seconds went; kept apart from the report proper, which is the same on every run."""

    seconds: float
    """The whole verification."""
    sandbox_seconds: float
    """The child, from its start to its end, with imports."""
    cpu_seconds: float
    """Of the child."""


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """The verdict on one source."""

    passed: bool
    checks: tuple[Check, ...]
    isolation: tuple[str, ...]
    """Which of :data:`poise_lib.sandbox.model.LAYERS` held while candidate code ran; empty when none of it ran."""
    source_digest: str
    """``sha256:...`` of the source as UTF-8."""
    behaviour_digest: str | None
    """See :mod:`poise_lib.verification.behaviour`; None when the candidate did not get that far."""
    timing: Timing

    @property
    def findings(self) -> tuple[Check, ...]:
        """Checks that failed or warned."""
        return tuple(check for check in self.checks if check.status in (Status.FAILED, Status.WARNED))

    def to_dict(self, *, times: bool = False) -> dict[str, Any]:
        """JSON-ready, without times unless asked for, so that equal reports are equal documents."""
        document: dict[str, Any] = {
            "passed": self.passed,
            "checks": [asdict(check) | {"status": check.status.value} for check in self.checks],
            "isolation": list(self.isolation),
            "sourceDigest": self.source_digest,
            "behaviourDigest": self.behaviour_digest,
        }
        if times:
            document["timing"] = asdict(self.timing)
        return document
