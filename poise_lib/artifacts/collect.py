"""Mark and sweep: what no search names any more, and no task has used for a while, leaves a store.

**Marked** is every digest that stands anywhere in an object of a search that exists: weights, records, trajectories,
reports.  A result is found by the digest of its task's input alone, and no object holds that, so a result cannot be tied to
its search: it is kept while it is young, or while it names a blob that is marked.  To lose one costs nothing but the work
of its task, should the very same task ever be asked for again.

**Never removed** is what is marked, what a kept result names, and what was written or relied on within the grace period.
Between a task's end and the status that names its blobs lies a moment in which nothing marks them; a store renews the
time of whatever a task relies on (:meth:`~poise_lib.artifacts.base.Store.rely_on`), so the grace period covers it.  That
is also why objects are listed before marks are read, and each one's time is looked at again before it goes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from typing import Final

from poise_lib.artifacts.base import Store, StoredObject, decoded, named

DAY: Final = 86400.0
GRACE: Final = DAY
LEAST_GRACE: Final = 2 * 3600.0
"""While tasks may be at work: an object store renews times by the hour, and a status follows its task by minutes."""
KEEP_RESULTS: Final = 30 * DAY
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Collected:
    """What was removed, or would be."""

    removed: tuple[StoredObject, ...]
    kept: int
    """Objects that stay."""

    @property
    def size(self) -> int:
        """Bytes of what was removed."""
        return sum(item.size for item in self.removed)

    @property
    def results(self) -> int:
        """Results among what was removed; the rest is blobs."""
        return sum(item.is_result for item in self.removed)


def digests_in(texts: Iterable[str]) -> frozenset[str]:
    """Every digest that stands in these texts, wherever: a field that this version does not know counts as well."""
    return frozenset(digest for text in texts for digest in _DIGEST.findall(text))


def collect(
    store: Store,
    referenced: Callable[[], Set[str]],
    *,
    now: float,
    grace: float = GRACE,
    keep_results: float = KEEP_RESULTS,
    dry_run: bool = False,
) -> Collected:
    """Remove what nobody needs.

    Args:
        store: where.
        referenced: reads the digests that existing searches name; called once, when the store has been listed.
        now: seconds since 1970, by the clock that wrote the store's times.
        grace: seconds for which an object is kept whatever names it.
        keep_results: seconds for which results are kept; at least ``grace``.
        dry_run: only say what would go.

    Raises:
        StateError: the store cannot be read or written.  Whatever ``referenced`` raises passes too, before anything is
            removed.
    """
    objects = list(store.objects())
    marked = referenced()
    old = {item.key for item in objects if now - item.modified >= grace}
    doomed, needed = [], set(marked)
    for item in objects:
        if not item.is_result:
            continue
        blobs = named(decoded(store.read(item.key)) or {})
        if now - item.modified < max(grace, keep_results) or not marked.isdisjoint(blobs):
            needed.update(blobs)
        else:
            doomed.append(item)
    doomed += [item for item in objects if not item.is_result and item.key in old and item.digest not in needed]
    removed = tuple(item for item in doomed if _remove(store, item, now - grace, dry_run))
    return Collected(removed, len(objects) - len(removed))


def _remove(store: Store, item: StoredObject, before: float, dry_run: bool) -> bool:
    """Remove an object unless somebody has relied on it since it was listed; whether it went."""
    modified = store.modified(item.key)
    if modified is None or modified > before:
        return False
    if not dry_run:
        store.delete(item.key)
    return True
