"""The archives as the watches have told of them: candidates and evaluations, by search.

There may be ten thousand, and most have ended.  Those lie compressed, at a tenth of what their models take, until their
search is looked at; models of the searches looked at last are kept.
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

from controller.api import CANDIDATES, CUSTOM, EVALUATIONS, Document, Resource
from controller.cache import Broken, Key, key_of, parse
from controller.reflector import Where
from poise_lib.resources import Candidate, Evaluation, Search
from poise_lib.resources.candidate import FINAL_CANDIDATE_PHASES
from poise_lib.resources.evaluation import FINAL_EVALUATION_PHASES

OPENED_MOST: Final = 2000
"""Models that are kept of what lies compressed, beside those of the search that is looked at: some 40 MB."""
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


Kept = Candidate | Evaluation | Broken | Packed
Opened = dict[tuple[Resource, str], tuple[Packed, Candidate | Evaluation | Broken]]


@dataclass(slots=True)
class Archives:
    """A sink of reflectors."""

    wake: Callable[[Key], None]
    """Called with the search of whatever has changed."""
    gone: Callable[[Key, Document], None]
    """Called with what is gone; of an object whose deletion went unseen only the metadata."""
    kept: dict[Resource, dict[Key, dict[str, Kept]]] = field(default_factory=lambda: {CANDIDATES: {}, EVALUATIONS: {}})
    keys: dict[Resource, dict[Where, Key]] = field(default_factory=lambda: {CANDIDATES: {}, EVALUATIONS: {}})
    """The search that an object was last seen to belong to."""
    opened: OrderedDict[Key, Opened] = field(default_factory=OrderedDict)
    """Models of what lies compressed, of the searches looked at last; each with what it was made of."""

    def take(self, body: Document) -> None:
        """An object is there, new or changed."""
        kind, metadata = body["kind"], body["metadata"]
        resource, where, key = CUSTOM[kind], (metadata["namespace"], metadata["name"]), key_of(body)
        if (before := self.keys[resource].get(where)) is not None and before != key:
            self._remove(resource, where)
            self.wake(before)
        if key is None:
            return
        final = body.get("status", {}).get("phase") in _FINAL[kind]
        item: Any = Packed.of(body) if final else parse(body)
        self.kept[resource].setdefault(key, {})[where[1]] = item
        self.keys[resource][where] = key
        self.wake(key)

    def drop(self, body: Document) -> None:
        """An object is gone."""
        metadata = body["metadata"]
        resource, where = CUSTOM[body["kind"]], (metadata["namespace"], metadata["name"])
        key = self._remove(resource, where) or key_of(body)
        if key is not None:
            self.gone(key, body)
            self.wake(key)

    def keep(self, resource: Resource, namespace: str, there: set[Where]) -> None:
        """Of a kind and a namespace (all, if empty) these objects are there, and no others."""
        (kind,) = (kind for kind, known in CUSTOM.items() if known == resource)
        for where in list(self.keys[resource]):
            if where not in there and namespace in ("", where[0]):
                item = self.kept[resource][self.keys[resource][where]][where[1]]
                uid = item.uid if isinstance(item, Packed | Broken) else item.metadata.uid
                self.drop({"kind": kind, "metadata": {"namespace": where[0], "name": where[1], "uid": uid or ""}})

    def _remove(self, resource: Resource, where: Where) -> Key | None:
        key = self.keys[resource].pop(where, None)
        if key is not None:
            items = self.kept[resource][key]
            del items[where[1]]
            if not items:
                del self.kept[resource][key]
            self.opened.get(key, {}).pop((resource, where[1]), None)
        return key

    def open(self, key: Key) -> None:
        """Make the models of a search; takes a second for a thousand candidates, and may be called in a thread."""
        self._models(CANDIDATES, key)
        self._models(EVALUATIONS, key)
        most = OPENED_MOST + len(self.opened.get(key, ()))
        while sum(map(len, list(self.opened.values()))) > most:
            oldest = next(iter(self.opened))
            if oldest == key:
                self.opened.move_to_end(key)
                continue
            self.opened.pop(oldest, None)

    def _models(self, resource: Resource, key: Key) -> list[Any]:
        opened = self.opened.setdefault(key, {})
        self.opened.move_to_end(key)
        found: list[Any] = []
        for name, item in list(self.kept[resource].get(key, {}).items()):
            if not isinstance(item, Packed):
                found.append(item)
                continue
            source, model = opened.get((resource, name), (None, None))
            if source is not item:
                model = item.open()
                opened[resource, name] = item, model
            found.append(model)
        if not opened:
            self.opened.pop(key, None)
        return found

    def candidates(self, key: Key) -> list[Candidate | Broken]:
        """Of a search."""
        return self._models(CANDIDATES, key)

    def evaluations(self, key: Key) -> list[Evaluation | Broken]:
        """Of a search."""
        return self._models(EVALUATIONS, key)
