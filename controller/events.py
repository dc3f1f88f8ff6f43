"""Events that tell the story of a search, read off the change of a status."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from controller.api import EVENTS, Api, ApiError, Document
from controller.cache import Broken
from poise_lib.names import API_VERSION
from poise_lib.resources import Candidate, Evaluation, Search
from poise_lib.resources.candidate import CandidatePhase
from poise_lib.resources.evaluation import EvaluationPhase
from poise_lib.resources.search import SearchPhase

MAX_MESSAGE: Final = 1000
COMPONENT: Final = "poise-controller"
_BAD: Final = frozenset({CandidatePhase.FAILED, CandidatePhase.REJECTED, EvaluationPhase.FAILED, SearchPhase.FAILED})

Resource = Search | Candidate | Evaluation

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that people want to read in ``kubectl describe``."""

    about: Resource | Broken
    reason: str
    message: str
    warning: bool = False


def happenings(before: Resource | None, after: Resource, search: Search) -> Iterator[Happening]:
    """What a change of a status means, told of the object itself and, where it matters, of its search."""
    old = before.status.phase if before is not None else None
    new = after.status.phase
    if isinstance(after, Search):
        yield from _of_search(before, after)
    elif old is not new and new.value not in ("Pending", "Implementing"):
        text = sentence(after)
        yield Happening(after, new.value, text, new in _BAD)
        if isinstance(after, Candidate) and new in (
            CandidatePhase.ARCHIVED,
            CandidatePhase.FAILED,
            CandidatePhase.REJECTED,
        ):
            yield Happening(search, f"Candidate{new.value}", text, new in _BAD)


def _of_search(before: Resource | None, after: Search) -> Iterator[Happening]:
    old = before.status if isinstance(before, Search) else None
    status = after.status
    if old is None or old.phase is not status.phase:
        yield Happening(after, status.phase.value, status.message, status.phase is SearchPhase.FAILED)
    objective, known = status.objective, old.objective if old is not None else None
    if objective is not None and objective.text and (known is None or known.text != objective.text):
        yield Happening(after, "ObjectiveRead", objective.text)
    if status.selection is not None and (old is None or old.round != status.round):
        parents = ", ".join(parent.name for parent in status.selection.parents)
        yield Happening(after, "RoundStarted", f"round {status.round} from {parents}")
    best, previous = status.best, old.best if old is not None else None
    if best is not None and previous is not None and best.candidate != previous.candidate and old is not None:
        text = f"{best.candidate} {best.title}: {best.utility:.1f} against {previous.utility:.1f} before"
        yield Happening(after, "NewBest", text)


def sentence(item: Candidate | Evaluation) -> str:
    """One line on where a candidate or an evaluation stands."""
    parts = [item.metadata.name]
    if isinstance(item, Candidate):
        parts.append(item.spec.proposal.title)
        if item.status.utility is not None:
            parts.append(f"utility {item.status.utility:.1f}")
    elif "overall" in item.status.metrics:
        parts.append(f"overall {item.status.metrics['overall']:.1f}")
    text = ", ".join(parts)
    return f"{text}: {item.status.message}" if item.status.message else text


async def publish(api: Api, happening: Happening) -> None:
    """Post an Event; the same one twice is one, and one that cannot be posted is not worth a failure."""
    event = document(happening, datetime.now(UTC))
    try:
        await api.create(EVENTS, event["metadata"]["namespace"], event)
    except (ApiError, OSError) as error:
        if not (isinstance(error, ApiError) and error.conflict):
            log.warning("an event could not be posted", reason=happening.reason, error=str(error))


def unreadable(item: Broken) -> Happening:
    """An object is there, and the controller cannot make sense of it."""
    return Happening(item, "Unreadable", f"left out, because it does not fit its model: {item.problem}", warning=True)


def document(happening: Happening, now: datetime) -> Document:
    """The Event; its name is a digest of what it says, so that saying it again changes nothing."""
    metadata = happening.about if isinstance(happening.about, Broken) else happening.about.metadata
    identity = f"{metadata.uid}/{happening.reason}/{happening.message}"
    when = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata.name}.{hashlib.sha256(identity.encode()).hexdigest()[:16]}",
            "namespace": metadata.namespace,
        },
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": happening.about.kind,
            "name": metadata.name,
            "namespace": metadata.namespace,
            "uid": metadata.uid or "",
        },
        "reason": happening.reason,
        "message": happening.message[:MAX_MESSAGE],
        "type": "Warning" if happening.warning else "Normal",
        "source": {"component": COMPONENT},
        "firstTimestamp": when,
        "lastTimestamp": when,
        "count": 1,
    }
