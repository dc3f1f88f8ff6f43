"""Our modules through the adapter against VeRL's own functions, on random batches and random splits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

pytest.importorskip("verl", reason="VeRL is not installed: make verl")

from benchmarks import verl_conformance as conformance

if TYPE_CHECKING:
    from benchmarks.verl_conformance import Case

pytestmark = pytest.mark.verl
every = pytest.mark.parametrize("case", conformance.CASES, ids=lambda case: case.name)


@every
def test_advantages_value_and_gradient_agree(case: Case) -> None:
    found = conformance.measure(case, count=10, seed=1)
    assert found.worst <= conformance.BOUND, found


def test_a_difference_is_seen() -> None:
    """GRPO with the population's deviation is not VeRL's."""
    grpo = conformance.CASES[0]
    other = replace(grpo, hyper={**grpo.hyper, "ddof": 0.0})
    found = conformance.measure(other, count=4, seed=1)
    assert found.advantages > 1e-2
    assert found.gradient > 1e-2


@every
def test_micro_batches_and_ranks_change_nothing(case: Case) -> None:
    """Under VeRL's engine: gradients summed over micro-batches, averaged over ranks."""
    loss = conformance.our_loss(case)
    for index, data in enumerate(conformance.batches(7, 4)):
        rows = data.mask.shape[0]
        advantages = conformance.our_advantages(case, data)
        whole = conformance.run(loss, data, advantages, [torch.arange(rows)])
        generator = torch.Generator().manual_seed(index)
        for parts, ranks in ((3, 1), (rows, 1), (4, 2)):
            pieces = conformance.split(rows, generator, min(parts, rows))
            owner = [number % ranks for number in range(len(pieces))] if len(pieces) >= ranks > 1 else None
            found = conformance.run(loss, data, advantages, pieces, owner)
            assert found.value == pytest.approx(whole.value, rel=1e-5, abs=1e-6)
            torch.testing.assert_close(found.gradient, whole.gradient, rtol=1e-5, atol=1e-6)


def test_verls_geometric_mean_does_change_with_a_split() -> None:
    """The one loss of VeRL's that is compared undivided; should this fail, VeRL has mended it."""
    case = next(case for case in conformance.CASES if case.whole_only)
    data = next(data for data in conformance.batches(3, 5) if 0 < float(data.reward.mean()) < 1)
    advantages = conformance.verl_advantages(case, data)
    rows = torch.arange(data.mask.shape[0])
    whole = conformance.run(conformance.verl_loss(case), data, advantages, [rows])
    halves = conformance.run(conformance.verl_loss(case), data, advantages, [rows[::2], rows[1::2]])
    assert float((halves.gradient - whole.gradient).abs().max()) > 0.1 * float(whole.gradient.abs().max())
