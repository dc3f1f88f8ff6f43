"""The world as the watches have told of it, by search.

There may be ten thousand candidates and evaluations, and most have ended.  Those lie compressed, at a tenth of what their
models take, until their search is looked at; models of the searches looked at last are kept.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

from controller.api import WATCHED, Document
from controller.cache import Broken, Key, key_of, name_of, parse, uid_of, version_of
from controller.jobs import JobView, view
from controller.reflector import Where
from poise_lib.resources import Candidate, Evaluation, Search
from poise_lib.resources.candidate import FINAL_CANDIDATE_PHASES
from poise_lib.resources.evaluation import FINAL_EVALUATION_PHASES

OPENED_MOST: Final = 1000
"""Models that are kept of what lies compressed, beside those of the search that is looked at: some 20 MB."""
INTERNED_MOST: Final = 64
"""Characters of a text that may well stand in many objects: names, digests, units, words."""
_FINAL: Final = {
    "Candidate": frozenset(phase.value for phase in FINAL_CANDIDATE_PHASES),
    "Evaluation": frozenset(phase.value for phase in FINAL_EVALUATION_PHASES),
}


@dataclass(frozen=True, slots=True)
class Packed:
    """A candidate or an evaluation that has ended, compressed."""

    uid: str
    data: bytes

    @classmethod
    def of(cls, body: Document) -> Packed:
        """Without what nobody plans with: managed fields, and the trajectory, most of an evaluation.

        Of an evaluation that has ended the controller writes no status but a fresh one, so none is lost in the cluster.
        """
        metadata = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
        status = {name: value for name, value in body["status"].items() if name != "trajectory" or not _is_run(body)}
        kept = {**body, "metadata": metadata, "status": status}
        return cls(metadata["uid"], zlib.compress(json.dumps(kept, separators=(",", ":")).encode(), 1))

    def open(self) -> Candidate | Evaluation | Broken:
        """The model."""
        found = parse(json.loads(zlib.decompress(self.data), object_pairs_hook=_interned))
        assert not isinstance(found, Search)
        if not isinstance(found, Broken):
            _share(found)
        return found


def _is_run(body: Document) -> bool:
    return bool(body["kind"] == "Evaluation")


def _interned(pairs: list[tuple[str, Any]]) -> Document:
    """A JSON object whose keys and short texts are those of all others: half of what a model takes."""
    return {
        sys.intern(name): sys.intern(value) if isinstance(value, str) and len(value) <= INTERNED_MOST else value
        for name, value in pairs
    }


_SETS: Final[dict[frozenset[str], set[str]]] = {}


def _share(value: object) -> None:
    """Let models that have the same fields set share the set, a third of what a model takes; they are frozen."""
    if isinstance(value, BaseModel):
        mine = value.model_fields_set
        object.__setattr__(value, "__pydantic_fields_set__", _SETS.setdefault(frozenset(mine), mine))
        for part in value.__dict__.values():
            _share(part)
    elif isinstance(value, tuple):
        for part in value:
            _share(part)


Kept = Search | Candidate | Evaluation | JobView | Broken | Packed
Opened = dict[tuple[str, str], tuple[Packed, Candidate | Evaluation | Broken]]


@dataclass(slots=True)
class Watched:
    """A sink of watches; and the world, for whom it may concern."""

    wake: Callable[[Key], None]
    """Called with the search of whatever has changed."""
    gone: Callable[[Key, Document], None]
    """Called with what is gone; of an object whose deletion went unseen only the metadata."""
    kept: dict[str, dict[Key, dict[str, Kept]]] = field(default_factory=lambda: {kind: {} for kind in WATCHED})
    """By kind, search and name."""
    keys: dict[str, dict[Where, Key]] = field(default_factory=lambda: {kind: {} for kind in WATCHED})
    """The search that an object was last seen to belong to."""
    opened: OrderedDict[Key, Opened] = field(default_factory=OrderedDict)
    """Models of what lies compressed, of the searches looked at last; each with what it was made of."""

    def take(self, body: Document) -> None:
        """An object is there, new or changed."""
        kind, metadata = body["kind"], body["metadata"]
        where, key = (metadata["namespace"], metadata["name"]), key_of(body)
        if (before := self.keys[kind].get(where)) is not None and before != key:
            self._remove(kind, where)
            self.wake(before)
        item: Any
        if kind == "Job":
            item = view(body)
        elif body.get("status", {}).get("phase") in _FINAL.get(kind, ()):
            item = Packed.of(body)
        else:
            item = parse(body)
        if key is not None and item is not None:
            self.kept[kind].setdefault(key, {})[where[1]] = item
            self.keys[kind][where] = key
            self.wake(key)

    def drop(self, body: Document) -> None:
        """An object is gone."""
        where = (body["metadata"]["namespace"], body["metadata"]["name"])
        key = self._remove(body["kind"], where) or key_of(body)
        if key is not None:
            self.gone(key, body)
            self.wake(key)

    def keep(self, kind: str, namespace: str, there: set[Where]) -> None:
        """Of a kind and a namespace (all, if empty) these objects are there, and no others."""
        for where in list(self.keys[kind]):
            if where not in there and namespace in ("", where[0]):
                item = self.kept[kind][self.keys[kind][where]][where[1]]
                uid = item.uid if isinstance(item, Packed) else uid_of(item)
                self.drop({"kind": kind, "metadata": {"namespace": where[0], "name": where[1], "uid": uid}})

    def _remove(self, kind: str, where: Where) -> Key | None:
        key = self.keys[kind].pop(where, None)
        if key is not None:
            items = self.kept[kind][key]
            del items[where[1]]
            if not items:
                del self.kept[kind][key]
            self.opened.get(key, {}).pop((kind, where[1]), None)
        return key

    def size(self, key: Key) -> int:
        """How many objects a search consists of."""
        return sum(len(items.get(key, ())) for items in self.kept.values())

    def open(self, key: Key) -> None:
        """Make the models of a search; takes a second for a thousand candidates, and may be called in a thread."""
        others = [(other, len(models)) for other, models in list(self.opened.items()) if other != key]
        too_many = sum(count for _, count in others) - OPENED_MOST
        for oldest, count in others:
            if too_many <= 0:
                break
            self.opened.pop(oldest, None)
            too_many -= count
        self._models("Candidate", key)
        self._models("Evaluation", key)

    def _models(self, kind: str, key: Key) -> list[Any]:
        opened = self.opened.setdefault(key, {})
        self.opened.move_to_end(key)
        found: list[Any] = []
        for name, item in list(self.kept[kind].get(key, {}).items()):
            if not isinstance(item, Packed):
                found.append(item)
                continue
            source, model = opened.get((kind, name), (None, None))
            if source is not item:
                model = item.open()
                opened[kind, name] = item, model
            found.append(model)
        if not opened:
            self.opened.pop(key, None)
        return found

    def search(self, key: Key) -> Search | Broken | None:
        """The search itself."""
        found = self.kept["Search"].get(key, {}).get(key[1])
        assert found is None or isinstance(found, Search | Broken)
        return found

    def candidates(self, key: Key) -> list[Candidate | Broken]:
        """Of a search."""
        return self._models("Candidate", key)

    def evaluations(self, key: Key) -> list[Evaluation | Broken]:
        """Of a search."""
        return self._models("Evaluation", key)

    def jobs(self, key: Key) -> list[JobView]:
        """Of its tasks."""
        return self._models("Job", key)

    def versions(self) -> dict[str, int]:
        """Of every search and Job, which state was seen last."""
        return {
            f"{WATCHED[kind].plural}/{key[0]}/{name_of(item)}": version_of(item)
            for kind in ("Search", "Job")
            for key, items in self.kept[kind].items()
            for item in items.values()
            if not isinstance(item, Packed)
            and not (isinstance(item, Search) and item.metadata.deletion_timestamp is not None)
        }

    def searches(self) -> list[Search]:
        """Every search."""
        found = (item for items in self.kept["Search"].values() for item in items.values())
        return [item for item in found if isinstance(item, Search)]
