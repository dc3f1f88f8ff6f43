"""The eligible nodes of an archive, in one fixed order, with what every term of the acquisition derives from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poise_lib.archive.entry import Entry
from poise_lib.archive.lineage import Lineage
from poise_lib.archive.structure import Index, Structures
from poise_lib.archive.utility import metric_vector, utility
from poise_lib.resources.candidate import CandidatePhase
from poise_lib.resources.search import Objective
from poise_lib.resources.suites import Suite


@dataclass(frozen=True, slots=True)
class Pool:
    """N eligible entries in (round, slot, name) order, whatever order the archive came in."""

    entries: tuple[Entry, ...]
    utilities: NDArray[np.float64]
    """[N] utility points."""
    vectors: NDArray[np.float64]
    """[N, K] metrics of the objective, more is better."""
    ranks: NDArray[np.float64]
    """[N, K] the same as average ranks scaled to [0, 1]: one broken run then is no further away than any other last."""
    structures: Structures
    lineage: Lineage
    """Over the whole archive, rejected and failed candidates included."""
    statuses: dict[str, CandidatePhase]
    """Phase of every entry of the archive."""

    @classmethod
    def of(cls, entries: Sequence[Entry], objective: Objective, suite: Suite) -> Pool:
        """Archived entries whose metrics give a utility under ``objective`` are eligible.

        Utilities are computed from the metrics, so that an edited objective takes effect on the whole archive.

        Raises:
            ValueError: two entries have the same name.
        """
        lineage = Lineage.of(entries)
        scored = [
            (entry, value)
            for entry in sorted(entries, key=lambda e: (e.round, e.slot, e.name))
            if entry.phase is CandidatePhase.ARCHIVED
            and (value := utility(entry.metrics, objective, suite)) is not None
        ]
        eligible = tuple(entry for entry, _ in scored)
        vectors = np.array([metric_vector(entry.metrics, objective, suite) for entry in eligible], dtype=np.float64)
        return cls(
            entries=eligible,
            utilities=np.array([value for _, value in scored], dtype=np.float64),
            vectors=vectors,
            ranks=_scaled_ranks(vectors),
            structures=Structures.of(eligible),
            lineage=lineage,
            statuses={entry.name: entry.phase for entry in entries},
        )

    def __len__(self) -> int:
        return len(self.entries)

    def names(self) -> tuple[str, ...]:
        """Names by position."""
        return tuple(entry.name for entry in self.entries)

    def utility_by_name(self) -> dict[str, float]:
        """U of every eligible node."""
        return dict(zip(self.names(), self.utilities.tolist(), strict=True))

    def behaviour_distances(self, rows: Index, columns: Index) -> NDArray[np.float64]:
        """Mean absolute difference of metric ranks, in [0, 1], [R, C]."""
        a, b = self.ranks[rows], self.ranks[columns]
        total: NDArray[np.float64] = np.zeros((len(a), len(b)))
        for k in range(self.ranks.shape[1]):
            total += np.abs(a[:, k, None] - b[None, :, k])
        total /= max(self.ranks.shape[1], 1)
        return total

    def distances(self, rows: Index, columns: Index) -> NDArray[np.float64]:
        """Half how differently the algorithms are built, half how differently they score; in [0, 1], [R, C]."""
        return 0.5 * self.structures.distances(rows, columns) + 0.5 * self.behaviour_distances(rows, columns)


def normalised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scaled linearly to [0, 1]; 1/2 everywhere when all are equal, so that such a term decides nothing."""
    if not len(values) or values.max() - values.min() < 1e-12:
        return np.full(len(values), 0.5)
    scaled: NDArray[np.float64] = (values - values.min()) / (values.max() - values.min())
    return scaled


def _scaled_ranks(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks by column, equal values sharing their average rank, divided by N - 1."""
    ranks = np.zeros_like(vectors)
    for k in range(vectors.shape[1] if vectors.ndim == 2 else 0):
        _, inverse, counts = np.unique(vectors[:, k], return_inverse=True, return_counts=True)
        average = np.cumsum(counts) - 0.5 * (counts + 1)
        ranks[:, k] = average[inverse]
    return ranks / max(len(vectors) - 1, 1)
