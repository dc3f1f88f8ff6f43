"""The Gaussian process: it learns what is there, admits what it has not seen, and stays out when there is nothing."""

import warnings

import numpy as np
import pytest

from poise_lib.resources.search import GaussianProcess, Kernel, Objective
from poise_lib.selection.pool import Pool
from poise_lib.selection.surrogate import MIN_NODES, training_rows, upper_confidence
from tests.unit.archive.builders import PAIR, entry

GRID = np.linspace(-2, 2, 41)[:, None]
MEAN_ONLY = GaussianProcess(kappa=0.0)


@pytest.mark.parametrize("kernel", list(Kernel))
def test_the_mean_follows_the_gains(kernel: Kernel) -> None:
    observed = list(range(0, 41, 4))
    gains = [float(np.sin(2 * GRID[row, 0])) for row in observed]
    bound = upper_confidence(GRID, observed, gains, MEAN_ONLY.model_copy(update={"kernel": kernel}))
    assert bound is not None
    assert np.abs(bound - np.sin(2 * GRID[:, 0])).max() < 0.3


def test_kernels_differ() -> None:
    gains = [float(np.sin(2 * GRID[row, 0])) for row in range(0, 41, 4)]
    bounds = [
        upper_confidence(GRID, range(0, 41, 4), gains, MEAN_ONLY.model_copy(update={"kernel": kernel}))
        for kernel in Kernel
    ]
    assert not any(np.allclose(bounds[i], bounds[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_kappa_pays_for_what_is_far_from_the_observed() -> None:
    observed = [0, 2, 4, 6, 8, 10]
    gains = [float(np.sin(2 * GRID[row, 0])) for row in observed]
    mean = upper_confidence(GRID, observed, gains, MEAN_ONLY)
    bound = upper_confidence(GRID, observed, gains, GaussianProcess(kappa=2.0))
    assert mean is not None
    assert bound is not None
    deviation = bound - mean
    assert (deviation >= 0).all()
    assert deviation[40] > 1.5 * deviation[4]


def closed_form(observed: list[int], gains: list[float], setting: GaussianProcess) -> np.ndarray:
    """mean + kappa * deviation of an RBF process by the textbook, at the grid's most likely length and noise."""
    x, y = GRID[observed], np.array(gains)
    z = (y - y.mean()) / y.std()
    found = []
    for noise in (min(setting.noise * factor, 0.98) for factor in (18.0, 5.0, 1.0, 0.2)):
        for length in (setting.length_scale * factor for factor in (4.0, 2.0, 1.0)):
            cross = (1 - noise) * np.exp(-((GRID - x.T) ** 2) / (2 * length**2))
            inverse = np.linalg.inv(cross[observed] + (noise + 1e-8) * np.eye(len(x)))
            likelihood = -0.5 * z @ inverse @ z + 0.5 * np.linalg.slogdet(inverse)[1]
            variance = (1 - noise) - np.einsum("ij,jk,ik->i", cross, inverse, cross)
            found.append((likelihood, cross @ inverse @ z + setting.kappa * np.sqrt(np.maximum(variance, 0))))
    return y.mean() + y.std() * max(found, key=lambda item: item[0])[1]


@pytest.mark.parametrize("kappa", [0.0, 1.0, 2.5])
def test_the_bound_is_the_textbooks(kappa: float) -> None:
    observed = [0, 5, 9, 20, 28, 33, 40]
    gains = [0.3 + 0.4 * float(np.sin(2 * GRID[row, 0])) for row in observed]
    setting = GaussianProcess(kernel=Kernel.RBF, kappa=kappa)
    bound = upper_confidence(GRID, observed, gains, setting)
    assert bound == pytest.approx(closed_form(observed, gains, setting), abs=1e-5)


def test_the_deviation_leaves_the_noise_of_observations_out() -> None:
    rng = np.random.default_rng(0)
    features = np.zeros((200, 1))
    gains = rng.normal(0.0, 0.5, 200).tolist()
    bound = upper_confidence(features, range(200), gains, GaussianProcess(kappa=1.0))
    assert bound is not None
    assert abs(bound[0]) < 0.2  # the mean of 200 noisy gains is known well; one more gain would not be


def test_noise_alone_teaches_nothing() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(60, 4)) / 2  # as far apart as node features are
    gains = rng.normal(size=60).tolist()
    bound = upper_confidence(features, range(60), gains, MEAN_ONLY)
    assert bound is not None
    assert bound.std() < 0.4 * np.std(gains)


def test_too_few_gains_give_nothing() -> None:
    few = list(range(MIN_NODES - 1))
    assert upper_confidence(GRID, few, [0.1] * len(few), MEAN_ONLY) is None


def test_equal_gains_are_no_trouble_and_nothing_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bound = upper_confidence(GRID, range(8), [0.25] * 8, MEAN_ONLY)
    assert bound is not None
    assert bound == pytest.approx(np.full(41, 0.25))


def test_training_keeps_the_newest_half_and_the_best_of_the_rest() -> None:
    entries = [entry(f"n{i:02d}", value=float(-i if i < 10 else i), round=i) for i in range(20)]
    pool = Pool.of(entries, Objective(), PAIR)
    gains = {f"n{i:02d}": 0.0 for i in range(20) if i != 19}
    assert training_rows(pool, gains, 8) == [11, 12, 13, 14, 15, 16, 17, 18]
    worse_later = Pool.of([e.model_copy(update={"round": 20 - e.round}) for e in entries], Objective(), PAIR)
    names = [worse_later.entries[row].name for row in training_rows(worse_later, gains, 8)]
    assert sorted(names) == ["n00", "n01", "n02", "n03", "n15", "n16", "n17", "n18"]
    assert len(training_rows(pool, gains, 50)) == 19
