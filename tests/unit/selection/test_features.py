"""Node features: what the surrogate sees, and what must not reach it."""

import math

import numpy as np
import pytest

from poise_lib.resources.candidate import CandidatePhase
from poise_lib.resources.search import Objective
from poise_lib.selection.features import node_features
from poise_lib.selection.pool import Pool
from tests.unit.archive.builders import PAIR, composition, entry, grown_archive


def features(entries: list, beta: float = 3.0) -> np.ndarray:
    return node_features(Pool.of(entries, Objective(), PAIR), beta)


def test_unrelated_nodes_lie_about_root_two_apart() -> None:
    rows = features(grown_archive(120, seed=3))
    distances = np.sqrt(((rows[:, None] - rows[None, :]) ** 2).sum(-1))
    assert 0.8 < distances[np.triu_indices(len(rows), 1)].mean() < 1.8
    assert np.isfinite(rows).all()


def test_one_collapsed_run_does_not_squeeze_the_others_together() -> None:
    healthy = [entry(f"n{i:02d}", value=50.0 + i) for i in range(12)]
    alone, with_collapse = features(healthy), features([*healthy, entry("z", value=-1e6)])
    assert np.ptp(with_collapse[:12, 0]) > 0.7 * np.ptp(alone[:, 0])
    assert np.ptp(with_collapse[:, 0]) < 3.0 * np.ptp(alone[:, 0])  # and it is cut, not a world away


def test_gain_over_the_first_parent() -> None:
    archive = [entry("p", value=50.0), entry("q", value=40.0), entry("c", "p", "q", value=53.0)]
    others = [entry("p", value=50.0), entry("q", value=40.0), entry("c", "q", "p", value=53.0)]
    child, root, gain = 0, 1, 2  # rows by name; the gain follows the two metrics
    ratio = features(others)[child, gain] / features(archive)[child, gain]
    assert ratio == pytest.approx(math.tanh(13 / 3) / math.tanh(3 / 3))
    assert features(archive)[root, gain] == 0.0


def test_children_and_lost_children_are_seen() -> None:
    base = [entry("p", value=50.0), entry("q", value=50.0)]
    used = [*base, entry("x", "p", value=50.0)]
    lost = [*base, entry("x", "p", phase=CandidatePhase.REJECTED)]
    assert np.allclose(*features(base))
    assert not np.allclose(features(used)[0], features(used)[1])
    assert not np.allclose(features(lost)[0], features(lost)[1])


def test_structure_is_seen() -> None:
    same = [entry(n, value=50.0, composition=composition(scale="x")) for n in "pq"]
    other = [same[0], entry("q", value=50.0, composition=composition(scale="y"))]
    assert np.allclose(*features(same))
    assert not np.allclose(*features(other))


@pytest.mark.parametrize(
    ("metric", "seen"),
    [("actor/entropy.last", True), ("actor/entropy.first", False), ("timing_s/gen.last", False)],
)
def test_of_the_learning_curves_the_ends_and_never_times(metric: str, seen: bool) -> None:
    archive = [entry(f"n{i}", value=50.0, trajectory={metric: float(i)}) for i in range(3)]
    rows = features(archive)
    assert (not np.allclose(rows[0], rows[2])) is seen


def test_a_curve_that_few_have_is_left_out_and_a_gap_is_the_median() -> None:
    rare = [entry(f"n{i}", value=50.0, trajectory={"x.last": float(i)} if i < 2 else {}) for i in range(5)]
    assert np.allclose(features(rare), features(rare)[0])
    gap = [entry(f"n{i}", value=50.0, trajectory={} if i == 2 else {"x.last": float(i)}) for i in range(3)]
    rows = features(gap)
    assert np.allclose(rows[2], (rows[0] + rows[1]) / 2)
