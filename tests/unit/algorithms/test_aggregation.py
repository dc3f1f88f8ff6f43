"""Reductions by hand, and the promise that a split into micro-batches changes nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.algorithms.aggregation import MiniBatchCounts, aggregate
from poise_lib.algorithms.contract import AGGREGATIONS

LOSS = torch.tensor([[1.0, 2.0, 3.0], [10.0, torch.nan, torch.inf]])
MASK = torch.tensor([[True, True, True], [True, False, False]])
COUNTS = MiniBatchCounts(tokens=4, sequences=2, max_length=5)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("token-mean", 16 / 4),
        ("seq-mean-token-mean", (2 + 10) / 2),
        ("seq-mean-token-sum", (6 + 10) / 2),
        ("seq-mean-token-sum-norm", (6 + 10) / 5 / 2),
    ],
)
def test_per_token(mode: str, expected: float) -> None:
    """What stands outside the mask does not count, not even if it is not a number."""
    assert aggregate(LOSS, MASK, mode, COUNTS).item() == pytest.approx(expected)


def test_per_sequence() -> None:
    assert aggregate(torch.tensor([1.0, 4.0]), MASK, "seq-mean", COUNTS).item() == 2.5


@pytest.mark.parametrize("mode", AGGREGATIONS)
def test_one_token(mode: str) -> None:
    """With one token and a length limit of one, all reductions are the token's loss."""
    loss = torch.tensor([3.0]) if mode == "seq-mean" else torch.tensor([[3.0]])
    counts = MiniBatchCounts(tokens=1, sequences=1, max_length=1)
    assert aggregate(loss, torch.ones(1, 1, dtype=torch.bool), mode, counts).item() == 3.0


def test_every_mode_is_covered() -> None:
    assert set(AGGREGATIONS) == {
        "token-mean",
        "seq-mean-token-mean",
        "seq-mean-token-sum",
        "seq-mean-token-sum-norm",
        "seq-mean",
    }


@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=8),
    cuts=st.sets(st.integers(1, 7)),
    mode=st.sampled_from(AGGREGATIONS),
)
def test_micro_batches_add_up(lengths: list[int], cuts: set[int], mode: str) -> None:
    """The shares of any split sum to the loss of the whole, with the whole's gradient."""
    mask = torch.arange(6) < torch.tensor(lengths).unsqueeze(-1)
    counts = MiniBatchCounts(tokens=sum(lengths), sequences=len(lengths), max_length=9)
    shape = mask.shape[:1] if mode == "seq-mean" else mask.shape
    whole = torch.randn(shape, generator=torch.Generator().manual_seed(len(lengths)), dtype=torch.float64)
    whole.requires_grad_()
    expected = aggregate(whole, mask, mode, counts)
    (gradient,) = torch.autograd.grad(expected, whole)
    edges = sorted({0, len(lengths), *(cut for cut in cuts if cut < len(lengths))})
    parts = [slice(start, stop) for start, stop in pairwise(edges)]
    shares = torch.stack([aggregate(whole[part], mask[part], mode, counts) for part in parts]).sum()
    torch.testing.assert_close(shares, expected)
    torch.testing.assert_close(torch.autograd.grad(shares, whole)[0], gradient)


def test_nothing_at_all() -> None:
    """An empty micro-batch, or one without a token, has the loss 0."""
    counts = MiniBatchCounts(tokens=0, sequences=0, max_length=5)
    for mode in AGGREGATIONS:
        shape = (0,) if mode == "seq-mean" else (0, 4)
        assert aggregate(torch.zeros(shape), torch.zeros(0, 4, dtype=torch.bool), mode, counts).item() == 0.0


def test_unknown_mode() -> None:
    with pytest.raises(ValueError, match=r"unknown aggregation 'mean'; use one of token-mean"):
        aggregate(LOSS, MASK, "mean", COUNTS)


@pytest.mark.parametrize(("mode", "shape"), [("seq-mean", (2, 3)), ("token-mean", (2,)), ("token-mean", (2, 1))])
def test_wrong_shape(mode: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="takes a loss of shape"):
        aggregate(torch.zeros(shape), MASK, mode, COUNTS)
