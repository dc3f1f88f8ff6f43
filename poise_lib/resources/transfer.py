"""Carry a search between places: state directories and namespaces of clusters.

What belongs to a place (owners, uids, generations, times of objects, marks of deployment tools) is stripped, parents
come before children, and what needs an artifact that stayed behind starts anew.  Times of the search itself travel: its
deadline goes on counting from where it started.

Everything here is a function of documents; who reads and writes them is :mod:`poise_lib.cli`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, TypeVar

from poise_lib.errors import InvalidInputError
from poise_lib.names import ANNOTATION_IMPORT, LABEL_SEARCH
from poise_lib.resources.base import ObjectMeta
from poise_lib.resources.candidate import Candidate, CandidateStatus
from poise_lib.resources.evaluation import FINAL_EVALUATION_PHASES, Evaluation, EvaluationStatus
from poise_lib.resources.loading import Resource
from poise_lib.resources.search import Search, SearchStatus

Member: TypeAlias = Candidate | Evaluation
Key: TypeAlias = tuple[str, str]
"""Kind and name."""
Status: TypeAlias = SearchStatus | CandidateStatus | EvaluationStatus
T = TypeVar("T", Candidate, Evaluation)
R = TypeVar("R", Search, Candidate, Evaluation)

TOOLS: Final = (
    "kubectl.kubernetes.io/",
    "argocd.argoproj.io/",
    "meta.helm.sh/",
    "helm.toolkit.fluxcd.io/",
    "kustomize.toolkit.fluxcd.io/",
)
"""Prefixes of labels and annotations by which tools know what they deployed: in another place they would prune it."""
FRESH: Final = {"Search": SearchStatus(), "Candidate": CandidateStatus(), "Evaluation": EvaluationStatus()}
"""The status of an object to which nothing has happened yet."""


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
    """Metadata without what a server sets and what only means something where it was: namespace, owners, finalizers,
    uid, times, marks of deployment tools."""
    return ObjectMeta(name=metadata.name, labels=_kept(metadata.labels), annotations=_kept(metadata.annotations))


def _kept(marks: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in marks.items() if not key.startswith(TOOLS) and key != ANNOTATION_IMPORT}


def without_place(item: R) -> R:
    """An object as it would stand anywhere: metadata :func:`stripped`, and a status that speaks of no generation."""
    return item.model_copy(update={"metadata": stripped(item.metadata), "status": _of_no_generation(item.status)})


def _of_no_generation(status: Status) -> Status:
    changes: dict[str, Any] = {"observed_generation": None}
    if isinstance(status, SearchStatus):
        changes["conditions"] = tuple(
            condition.model_copy(update={"observed_generation": None}) for condition in status.conditions
        )
    return status.model_copy(update=changes)


def portable(item: Resource) -> dict[str, Any]:
    """The manifest of a stripped object: no namespace, so that it can be applied to any, and no empty owners."""
    document = item.to_document()
    for field in ("namespace", "ownerReferences", "finalizers"):
        document["metadata"].pop(field)
    return document


def without_artifacts(found: Bundle, has: Callable[[str], bool]) -> Bundle:
    """The bundle for a place whose artifact store lacks some of what it names.

    A run that is trained but not scored needs its weights; where they are not, it is Pending again and will be trained
    again, with the same seed to the same result.  A finished run needs nothing: it is never repeated.
    """
    return replace(found, evaluations=tuple(_again(run, has) for run in found.evaluations))


def _again(run: Evaluation, has: Callable[[str], bool]) -> Evaluation:
    policy = run.status.policy
    if run.status.phase in FINAL_EVALUATION_PHASES or policy is None or has(policy):
        return run
    return run.model_copy(update={"status": FRESH["Evaluation"]})


def key_of(item: Resource) -> Key:
    """What an object is told apart by within its namespace."""
    return item.kind, item.metadata.name


def in_namespace(found: Bundle, namespace: str) -> Bundle:
    """The bundle with a namespace, and with the label by which its members are found in a cluster."""
    search = found.search.metadata
    label = {LABEL_SEARCH: search.name}

    def member(item: T) -> T:
        metadata = item.metadata
        changes = {"namespace": namespace, "labels": {**metadata.labels, **label}}
        return item.model_copy(update={"metadata": metadata.model_copy(update=changes)})

    return Bundle(
        found.search.model_copy(update={"metadata": search.model_copy(update={"namespace": namespace})}),
        tuple(map(member, found.candidates)),
        tuple(map(member, found.evaluations)),
    )


def complaints(found: Bundle, present: Mapping[Key, Resource], source: str) -> list[str]:
    """Why the bundle cannot be what is there already, a sentence each that names the object.

    ``spec.suspend`` of the Search does not count: it is no part of what the search is.
    """
    problems = []
    for item in found.resources():
        there = present.get(key_of(item))
        if there is None:
            continue
        if there.metadata.deletion_timestamp is not None:
            problems.append(f"{_called(item)} is being deleted there; wait for it, then import again")
        elif fields := _differing(_comparable(item), _comparable(there)):
            problems.append(f"{_called(item)} is there already with another {', '.join(fields)} than in {source}")
    return problems


def strangers(found: Bundle, present: Mapping[Key, Resource], source: str) -> list[str]:
    """What of an archive without its Search does not stem from the bundle, a sentence each that names the object."""
    mine = {key_of(item): item for item in found.resources()}
    problems = []
    for key, there in present.items():
        item = mine.get(key)
        if item is None:
            problems.append(f"{_called(there)} is there already, but not in {source}")
        elif _of_no_generation(there.status) not in (FRESH[there.kind], item.status):
            problems.append(
                f"{_called(there)} is there already with another status ({there.status.phase.value}) than in {source} "
                f"({item.status.phase.value})"
            )
    return problems


def _comparable(item: Resource) -> dict[str, Any]:
    spec = item.spec.to_document()
    spec.pop("suspend", None)
    return spec


def _differing(one: dict[str, Any], other: dict[str, Any], prefix: str = "spec") -> list[str]:
    """Paths of the fields that differ, at most a few."""
    paths: list[str] = []
    for field in [*one, *(name for name in other if name not in one)]:
        left, right = one.get(field), other.get(field)
        if left == right:
            continue
        path = f"{prefix}.{field}"
        if isinstance(left, dict) and isinstance(right, dict):
            paths += _differing(left, right, path)
        else:
            paths.append(path)
    return paths[:4]


def _called(item: Resource) -> str:
    return f"{item.kind} {item.metadata.name}"


def by_key(items: Iterable[Resource]) -> dict[Key, Resource]:
    """Objects by kind and name."""
    return {key_of(item): item for item in items}


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
        without_place(search),
        tuple(map(without_place, _parents_first(candidates))),
        tuple(without_place(evaluations[name]) for name in sorted(evaluations)),
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
