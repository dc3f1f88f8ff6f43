"""The watched objects as models, by search, with our own writes laid over them.

The watches follow the API server; what we wrote a moment ago may not have come back yet.  The newer of the two
counts, by resourceVersion, so that a reconcile sees its own writes and does not ask for them again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from controller.api import Document
from controller.jobs import JobView
from poise_lib.names import LABEL_SEARCH
from poise_lib.resources import Candidate, Evaluation, Search
from poise_lib.resources.loading import served
from poise_lib.resources.messages import first_problem

GONE_KEPT: Final = 1000

Key = tuple[str, str]
"""Namespace and name of a Search."""


@dataclass(frozen=True, slots=True)
class Broken:
    """An object that the models refuse although the API server took it."""

    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str
    problem: str


Item = Search | Candidate | Evaluation | JobView | Broken


def parse(body: Document) -> Search | Candidate | Evaluation | Broken:
    """A custom resource as a model; unknown metadata fields are the server's business and are dropped."""
    try:
        return served(body)
    except ValidationError as error:
        metadata = body["metadata"]
        return Broken(
            body["kind"],
            metadata["namespace"],
            metadata["name"],
            metadata.get("uid", ""),
            metadata.get("resourceVersion", "0"),
            first_problem(error),
        )


def key_of(body: Document) -> Key | None:
    """The search that an object belongs to; None when it belongs to none."""
    metadata = body["metadata"]
    if body["kind"] == "Search":
        return metadata["namespace"], metadata["name"]
    name = body.get("spec", {}).get("search") or metadata.get("labels", {}).get(LABEL_SEARCH)
    return (metadata["namespace"], name) if name else None


def version_of(item: Item) -> int:
    """The object's resourceVersion; numbers, as a server of one cluster gives them."""
    raw = item.resource_version if isinstance(item, JobView | Broken) else item.metadata.resource_version
    return int(raw or 0)


def name_of(item: Item) -> str:
    """The object's name."""
    return item.name if isinstance(item, JobView | Broken) else item.metadata.name


def uid_of(item: Item) -> str:
    """The object's uid: another one of the same name is another object."""
    return item.uid if isinstance(item, JobView | Broken) else item.metadata.uid or ""


@dataclass(slots=True)
class Overlay:
    """Our own writes of one kind of object, until the watch has caught up with them."""

    written: dict[Key, dict[str, Item]] = field(default_factory=dict)
    removed: dict[Key, dict[str, int]] = field(default_factory=dict)
    """Names we deleted, with the version that was deleted."""
    gone: dict[str, None] = field(default_factory=dict)
    """Uids whose deletion the watch has told lately: it may do so before the answer to our own write is in."""

    def put(self, key: Key, item: Item) -> None:
        """Remember what a write returned."""
        if uid_of(item) in self.gone:
            return
        self.written.setdefault(key, {})[name_of(item)] = item

    def drop(self, key: Key, item: Item) -> None:
        """Remember that it is deleted."""
        if uid_of(item) in self.gone:
            return
        self.removed.setdefault(key, {})[name_of(item)] = version_of(item)
        self.written.get(key, {}).pop(name_of(item), None)

    def forget(self, key: Key, name: str, uid: str) -> None:
        """The object is gone from the watch: whatever we wrote of it is history."""
        self.gone[uid] = None
        while len(self.gone) > GONE_KEPT:
            del self.gone[next(iter(self.gone))]
        mine = self.written.get(key, {}).get(name)
        if mine is not None and uid_of(mine) != uid:
            return  # there is another one of that name already
        for side in (self.written, self.removed):
            items: dict[str, Any] = side.get(key, {})
            items.pop(name, None)
            if not items:
                side.pop(key, None)

    def over(self, key: Key, watched: Iterable[Any]) -> dict[str, Any]:
        """The watched objects of a search by name, each replaced by our own later write."""
        items: dict[str, Any] = {name_of(item): item for item in watched}
        for name, mine in list(self.written.get(key, {}).items()):
            theirs = items.get(name)
            if theirs is not None and version_of(theirs) >= version_of(mine):
                del self.written[key][name]
            else:
                items[name] = mine
        for name, version in list(self.removed.get(key, {}).items()):
            theirs = items.get(name)
            if theirs is not None and version_of(theirs) <= version:
                del items[name]
        return items
