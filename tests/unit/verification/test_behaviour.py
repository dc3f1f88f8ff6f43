"""The behaviour digest: blind to noise and scale, sharp-eyed for everything else."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.verification.behaviour import behaviour_of


def fields(seed, scale=1.0, noise=0.0):
    random = np.random.RandomState(seed)
    other = np.random.RandomState(seed + 1)
    made = {}
    for name in ("a", "b", "c"):
        values = random.standard_normal((7, 11))
        values = scale * values * (1 + noise * other.standard_normal(values.shape))
        made[name] = [values.astype(np.float32)]
    return made


@given(st.integers(0, 10_000))
def test_noise_does_not_matter(seed):
    plain, noisy = behaviour_of(fields(seed)), behaviour_of(fields(seed, noise=3e-7))
    assert noisy.matches(plain.digest)
    assert plain.matches(noisy.digest)


@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
def test_a_common_scale_does_not_matter(seed, scale):
    assert behaviour_of(fields(seed, scale)).matches(behaviour_of(fields(seed)).digest)


@given(st.integers(0, 10_000))
def test_a_change_in_one_place_matters(seed):
    changed = fields(seed)
    changed["b"][0][3, 4] += 0.05
    assert not behaviour_of(changed).matches(behaviour_of(fields(seed)).digest)


def test_a_small_term_where_all_else_is_zero_matters():
    loud, quiet = fields(1), fields(1)
    loud["c"][0][:] = 0.0
    quiet["c"][0] = (1e-4 * np.random.RandomState(3).standard_normal((7, 11))).astype(np.float32)
    assert not behaviour_of(quiet).matches(behaviour_of(loud).digest)


def test_nothing_at_all_has_a_digest():
    nothing = {"a": [np.zeros((3, 3), dtype=np.float32)]}
    assert behaviour_of(nothing).digest.startswith("sha256:")
