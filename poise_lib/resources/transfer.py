"""Carry a search between places: what belongs to a place (owners, uids, times) is stripped, parents come first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from poise_lib.errors import InvalidInputError
from poise_lib.resources.base import ObjectMeta
from poise_lib.resources.candidate import Candidate
from poise_lib.resources.evaluation import Evaluation
from poise_lib.resources.loading import Resource
from poise_lib.resources.search import Search

T = TypeVar("T", Candidate, Evaluation)
_KUBECTL = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True)
class Bundle:
    """A whole search."""

    search: Search
    candidates: tuple[Candidate, ...]
    """Every parent before its children."""
    evaluations: tuple[Evaluation, ...]

    def resources(self) -> tuple[Resource, ...]:
        """The search, then candidates, then evaluations: none refers to what comes later."""
        return (self.search, *self.candidates, *self.evaluations)


def stripped(metadata: ObjectMeta) -> ObjectMeta:
    """Metadata without what a server sets and what only means something where it was: owners, finalizers, uid,
    times."""
    annotations = {key: value for key, value in metadata.annotations.items() if key != _KUBECTL}
    return ObjectMeta(name=metadata.name, namespace=metadata.namespace, labels=metadata.labels, annotations=annotations)


def bundle(resources: Sequence[Resource]) -> Bundle:
    """The one search among ``resources`` with all that is its own, stripped and in order.

    Raises:
        InvalidInputError: there is not exactly one search, an object is there twice or belongs to another search, or a
            candidate or evaluation names a parent or candidate that is not there.
    """
    searches = [item for item in resources if isinstance(item, Search)]
    if len(searches) != 1:
        raise InvalidInputError(f"there are {len(searches)} Searches among the documents; exactly one is needed")
    search = searches[0]
    candidates = _unique([item for item in resources if isinstance(item, Candidate)])
    evaluations = _unique([item for item in resources if isinstance(item, Evaluation)])
    members: list[Candidate | Evaluation] = [*candidates.values(), *evaluations.values()]
    for item in members:
        if item.spec.search != search.metadata.name:
            raise InvalidInputError(
                f"{item.kind} {item.metadata.name}: spec.search is {item.spec.search!r}, "
                f"but the Search beside it is {search.metadata.name!r}"
            )
    for run in evaluations.values():
        if run.spec.candidate not in candidates:
            raise InvalidInputError(
                f"Evaluation {run.metadata.name}: spec.candidate {run.spec.candidate!r} is not among the documents"
            )
    return Bundle(
        search.model_copy(update={"metadata": stripped(search.metadata)}),
        tuple(item.model_copy(update={"metadata": stripped(item.metadata)}) for item in _parents_first(candidates)),
        tuple(
            evaluations[name].model_copy(update={"metadata": stripped(evaluations[name].metadata)})
            for name in sorted(evaluations)
        ),
    )


def _unique(items: Sequence[T]) -> dict[str, T]:
    found: dict[str, T] = {}
    for item in items:
        if item.metadata.name in found:
            raise InvalidInputError(f"{item.kind} {item.metadata.name} is there twice")
        found[item.metadata.name] = item
    return found


def _parents_first(candidates: dict[str, Candidate]) -> list[Candidate]:
    """By round, slot and name, yet never before a parent."""
    waiting = sorted(candidates.values(), key=lambda item: (item.spec.round, item.spec.slot, item.metadata.name))
    for item in waiting:
        for parent in item.spec.parents:
            if parent not in candidates:
                raise InvalidInputError(
                    f"Candidate {item.metadata.name}: spec.parents names {parent!r}, which is not among the documents"
                )
    ordered: list[Candidate] = []
    placed: set[str] = set()
    while waiting:
        ready = [item for item in waiting if placed.issuperset(item.spec.parents)]
        if not ready:
            raise InvalidInputError(f"Candidate {waiting[0].metadata.name}: is its own ancestor by spec.parents")
        ordered += ready
        placed |= {item.metadata.name for item in ready}
        waiting = [item for item in waiting if item.metadata.name not in placed]
    return ordered
