"""alpha_GP: a Gaussian process over node features, and its upper confidence bound.

The process is fitted to the standardised descendant gains of the nodes that have descendants, and asked about all
nodes: alpha(d) = mean(d) + kappa * deviation(d), in units of gain.  The deviation is that of the potential itself,
without the observation noise, so that kappa pays for what is not known rather than for luck.

Gains are standardised, so signal and noise share a variance of 1.  Noise and length scale maximise the marginal
likelihood over a fixed grid around their initial values.  With two free parameters and a few dozen nodes a grid finds
what a gradient search with restarts finds, costs a bounded time, and takes the same steps on every machine.  Length
scales below the initial one are not tried: with unrelated nodes sqrt(2) apart they would make every node a world of its
own, which fits pure noise as well as any signal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from poise_lib.resources.search import GaussianProcess, Kernel
from poise_lib.selection.pool import Pool

MIN_NODES: Final = 4
"""With fewer observed gains there is nothing to learn from, and alpha_GP is the same for all nodes."""
_LENGTH_FACTORS: Final = (4.0, 2.0, 1.0)
_NOISE_FACTORS: Final = (18.0, 5.0, 1.0, 0.2)
"""With the default noise of .05 the first one takes nine tenths of the gains for noise, as it should when features say
nothing.  Both run from dull to daring: of equally likely explanations the duller one is kept."""
_MAX_NOISE: Final = 0.98
_JITTER: Final = 1e-8
"""Added to the diagonal against rounding: nodes with equal features make equal rows."""


def upper_confidence(
    features: NDArray[np.float64], observed: Sequence[int], gains: Sequence[float], setting: GaussianProcess
) -> NDArray[np.float64] | None:
    """alpha_GP of every node, [N], in units of gain; None when fewer than :data:`MIN_NODES` gains are observed.

    Args:
        features: [N, F] from :func:`~poise_lib.selection.features.node_features`.
        observed: rows whose gain is known.
        gains: their gains, in the same order.
        setting: kernel, initial length scale and noise, kappa.
    """
    if len(observed) < MIN_NODES:
        return None
    # Half a second to import: only who selects pays for it.
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel

    rows, targets = features[np.asarray(observed)], np.asarray(gains, dtype=np.float64)
    centre, spread = float(targets.mean()), float(targets.std())
    spread = spread if spread > 1e-9 else 1.0
    standardised = (targets - centre) / spread
    length, noise = _fit(rows, standardised, setting)
    kernel = ConstantKernel(1.0 - noise, "fixed") * _covariance(setting.kernel, length)
    model = GaussianProcessRegressor(kernel=kernel, alpha=noise + _JITTER, optimizer=None).fit(rows, standardised)
    mean, deviation = model.predict(features, return_std=True)
    return np.asarray(centre + spread * (mean + setting.kappa * deviation), dtype=np.float64)


def training_rows(pool: Pool, gains: dict[str, float], max_nodes: int) -> list[int]:
    """Rows with an observed gain, at most ``max_nodes``: the newer half of that many, then the best of the rest."""
    rows = [row for row, name in enumerate(pool.names()) if name in gains]
    if len(rows) <= max_nodes:
        return rows
    newest = rows[-(max_nodes // 2) :]
    rest = rows[: -len(newest)]
    best = sorted(rest, key=lambda row: (-pool.utilities[row], pool.entries[row].name))
    return sorted(newest + best[: max_nodes - len(newest)])


def _fit(rows: NDArray[np.float64], targets: NDArray[np.float64], setting: GaussianProcess) -> tuple[float, float]:
    """Length scale and noise of the largest marginal likelihood; the first in the grid's order wins a tie."""
    from scipy.linalg import solve_triangular

    best, largest = (setting.length_scale, setting.noise), -math.inf
    lengths = [setting.length_scale * factor for factor in _LENGTH_FACTORS]
    covariances = {length: _covariance(setting.kernel, length)(rows) for length in lengths}
    for noise in (min(setting.noise * factor, _MAX_NOISE) for factor in _NOISE_FACTORS):
        for length, covariance in covariances.items():
            factor = np.linalg.cholesky((1.0 - noise) * covariance + (noise + _JITTER) * np.eye(len(rows)))
            white = solve_triangular(factor, targets, lower=True, check_finite=False)
            likelihood = round(float(-0.5 * white @ white - np.log(np.diag(factor)).sum()), 9)
            if likelihood > largest:
                best, largest = (length, noise), likelihood
    return best


def _covariance(kernel: Kernel, length: float) -> Any:
    """scikit-learn's kernel of unit variance."""
    from sklearn.gaussian_process.kernels import RBF, Matern

    if kernel is Kernel.RBF:
        return RBF(length, "fixed")
    return Matern(length, "fixed", nu=1.5 if kernel is Kernel.MATERN32 else 2.5)
