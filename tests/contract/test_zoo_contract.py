"""Every algorithm of the zoo keeps the candidate contract: what an engine, a search and an ablation rely on."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from poise_lib.algorithms import ops, registry
from poise_lib.algorithms.aggregation import MiniBatchCounts, aggregate
from poise_lib.algorithms.contract import Algorithm, Batch, LossInputs, LossOutput
from tests.unit.algorithms.builders import (
    MAX_LENGTH,
    ROWS,
    Row,
    batch_of,
    loss_inputs_of,
    mask_of,
    outcomes_of,
    permuted,
)

HISTORY = [{"actor/entropy": 1.0, "critic/rewards/mean": 0.1}, {"actor/entropy": 0.2, "critic/rewards/mean": 0.4}]
BATCH_WIDE = {"bn", "sa", "reinforce-pp"}
"""Algorithms with a statistic over the whole batch; for all others a group's advantages depend on the group alone."""

ALLOWED_IMPORTS = {
    "torch",
    "math",
    "typing",
    "collections.abc",
    "poise_lib.algorithms",
    "poise_lib.algorithms.contract",
    "poise_lib.algorithms.ops",
}
SIGNATURES = {
    "rewards": "outcomes: Outcomes, hyper: Hyper -> Tensor",
    "advantages": "batch: Batch, hyper: Hyper -> Tensor",
    "policy_loss": "inputs: LossInputs, hyper: Hyper -> LossOutput",
    "schedule": "history: Sequence[Mapping[str, float]], hyper: Hyper -> Mapping[str, float]",
}

every = pytest.mark.parametrize("name", registry.NAMES)

groups = st.lists(
    st.builds(
        lambda group, state, length: Row(group, state == 2, state > 0, length),
        st.integers(0, 4),
        st.integers(0, 2),
        st.integers(1, 16),
    ),
    min_size=1,
    max_size=24,
)


class Spy(Mapping[str, float]):
    """A mapping that remembers what was read."""

    def __init__(self, values: Mapping[str, float]) -> None:
        self.values_, self.read = dict(values), set[str]()

    def __getitem__(self, key: str) -> float:
        self.read.add(key)
        return self.values_[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)


def behaviour(algorithm: Algorithm, hyper: Mapping[str, float], spread: float = 1.0) -> dict[str, Tensor]:
    """All that the algorithm does on ``ROWS``: rewards, advantages, loss, and the loss's gradients."""
    coefficients = algorithm.schedule(HISTORY, hyper) if algorithm.schedule else {}
    batch = batch_of(algorithm, coefficients=coefficients)
    if algorithm.rewards:
        batch = replace(batch, rewards=algorithm.rewards(outcomes_of(ROWS), hyper))
    advantages = algorithm.advantages(batch, hyper)
    inputs = loss_inputs_of(algorithm, advantages, batch.response_mask, spread, coefficients)
    output = algorithm.policy_loss(inputs, hyper)
    seen = {"rewards": batch.rewards, "advantages": advantages, "loss": output.loss.detach()}
    carriers = {"slope": inputs.logprobs} | ({} if inputs.entropy is None else {"entropy_slope": inputs.entropy})
    slopes = torch.autograd.grad(output.loss.sum(), list(carriers.values()), materialize_grads=True)
    return seen | dict(zip(carriers, slopes, strict=True))


def differs(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return any(not torch.allclose(left[key], right[key], rtol=1e-5, atol=1e-7) for key in left)


def engine_shapes(output: LossOutput, algorithm: Algorithm, mask: Tensor) -> None:
    assert output.loss.shape == (mask.shape[:1] if algorithm.aggregation == "seq-mean" else mask.shape)
    for key, value in output.metrics.items():
        assert isinstance(key, str)
        assert value.shape in (mask.shape, mask.shape[:1])
        assert not value.requires_grad


@every
@settings(max_examples=25)
@given(rows=groups)
def test_shapes_finite_values_and_zero_padding(name: str, rows: list[Row]) -> None:
    algorithm = registry.load(name)
    hyper = algorithm.hyper()
    batch = batch_of(algorithm, rows)
    assert batch.rewards.shape == (len(rows),)
    assert batch.rewards.dtype == torch.float32
    advantages = algorithm.advantages(batch, hyper)
    assert advantages.shape == batch.response_mask.shape
    assert advantages.dtype == torch.float32
    assert torch.isfinite(advantages).all()
    assert not advantages[~batch.response_mask].any()
    inputs = loss_inputs_of(algorithm, advantages, batch.response_mask)
    output = algorithm.policy_loss(inputs, hyper)
    engine_shapes(output, algorithm, batch.response_mask)
    (slope,) = torch.autograd.grad(output.loss.sum(), inputs.logprobs)
    assert torch.isfinite(output.loss).all()
    assert torch.isfinite(slope).all()
    assert not slope[~batch.response_mask].any()


@every
@settings(max_examples=25)
@given(rows=groups, random=st.randoms(use_true_random=False))
def test_order_of_samples_and_names_of_groups_do_not_matter(name: str, rows: list[Row], random: object) -> None:
    algorithm = registry.load(name)
    hyper = algorithm.hyper()
    batch = batch_of(algorithm, rows)
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    there = torch.tensor(order)
    other = permuted(batch, there)
    other = replace(other, group=100 - 7 * other.group)
    actual = algorithm.advantages(other, hyper)
    torch.testing.assert_close(actual, algorithm.advantages(batch, hyper)[there], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(set(registry.NAMES) - BATCH_WIDE))
def test_groups_do_not_touch_each_other(name: str) -> None:
    algorithm = registry.load(name)
    hyper = algorithm.hyper()
    batch = batch_of(algorithm)
    whole = algorithm.advantages(batch, hyper)
    for group in batch.group.unique():
        there = (batch.group == group).nonzero().squeeze(-1)
        torch.testing.assert_close(algorithm.advantages(permuted(batch, there), hyper), whole[there])


@pytest.mark.parametrize("name", sorted(BATCH_WIDE))
def test_batch_wide_algorithms_are(name: str) -> None:
    algorithm = registry.load(name)
    batch = batch_of(algorithm)
    there = (batch.group == 3).nonzero().squeeze(-1)
    alone = algorithm.advantages(permuted(batch, there), algorithm.hyper())
    assert not torch.allclose(alone, algorithm.advantages(batch, algorithm.hyper())[there], atol=1e-3)


@every
def test_the_same_again_and_inputs_unchanged(name: str) -> None:
    algorithm = registry.load(name)
    hyper = algorithm.hyper()
    batch = batch_of(algorithm)
    outcomes = outcomes_of(ROWS)
    first = algorithm.advantages(batch, hyper)
    inputs = loss_inputs_of(algorithm, first, batch.response_mask)
    loss = algorithm.policy_loss(inputs, hyper).loss
    copies = [
        {
            field.name: value.detach().clone()
            for field in fields(item)
            if isinstance(value := getattr(item, field.name), Tensor)
        }
        for item in (batch, inputs, outcomes)
    ]
    history = [dict(record) for record in HISTORY]
    if algorithm.rewards:
        algorithm.rewards(outcomes, hyper)
    if algorithm.schedule:
        algorithm.schedule(history, hyper)
    assert torch.equal(algorithm.advantages(batch, hyper), first)
    assert torch.equal(algorithm.policy_loss(inputs, hyper).loss, loss)
    for item, copy in zip((batch, inputs, outcomes), copies, strict=True):
        for field, value in copy.items():
            assert torch.equal(getattr(item, field), value), field
    assert history == HISTORY
    assert hyper == algorithm.hyper()


@every
def test_nothing_outside_the_mask_matters(name: str) -> None:
    """Not even what is no number: engines may leave anything in the padding."""
    algorithm = registry.load(name)
    hyper = algorithm.hyper()

    def spoilt(item: Batch | LossInputs) -> dict[str, Tensor]:
        mask = item.response_mask
        values = {key: getattr(item, key, None) for key in ("logprobs", "old_logprobs", "ref_logprobs", "entropy")}
        return {
            key: value.detach().masked_fill(~mask, torch.nan).requires_grad_(value.requires_grad)
            for key, value in values.items()
            if value is not None
        }

    batch = batch_of(algorithm)
    mask = batch.response_mask
    clean = algorithm.advantages(batch, hyper)
    torch.testing.assert_close(algorithm.advantages(replace(batch, **spoilt(batch)), hyper), clean)
    inputs = loss_inputs_of(algorithm, clean, mask)
    dirty = replace(inputs, **spoilt(inputs))
    counts = MiniBatchCounts(int(mask.sum()), len(ROWS), MAX_LENGTH)
    losses, slopes = [], []
    for item in (inputs, dirty):
        loss = aggregate(algorithm.policy_loss(item, hyper).loss, mask, algorithm.aggregation, counts)
        losses.append(loss.detach())
        slopes.append(torch.autograd.grad(loss, item.logprobs)[0][mask])
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(slopes[0], slopes[1])


@every
def test_padding_on_the_right_does_not_matter(name: str) -> None:
    algorithm = registry.load(name)
    hyper = algorithm.hyper()
    batch = batch_of(algorithm)
    wide = {
        field.name: torch.nn.functional.pad(value, (0, 5))
        for field in fields(batch)
        if isinstance(value := getattr(batch, field.name), Tensor) and value.ndim == 2
    }
    wider = algorithm.advantages(replace(batch, **wide), hyper)
    torch.testing.assert_close(wider[:, : mask_of(ROWS).shape[1]], algorithm.advantages(batch, hyper))


@every
def test_micro_batches_change_nothing(name: str) -> None:
    algorithm = registry.load(name)
    hyper = algorithm.hyper()
    batch = batch_of(algorithm)
    mask = batch.response_mask
    inputs = loss_inputs_of(algorithm, algorithm.advantages(batch, hyper), mask, spread=0.5)
    counts = MiniBatchCounts(int(mask.sum()), len(ROWS), MAX_LENGTH)

    def share(part: slice) -> Tensor:
        rows = {
            field.name: value[part]
            for field in fields(inputs)
            if isinstance(value := getattr(inputs, field.name), Tensor)
        }
        loss = algorithm.policy_loss(replace(inputs, **rows), hyper).loss
        return aggregate(loss, mask[part], algorithm.aggregation, counts)

    whole = share(slice(None))
    parts = torch.stack([share(part) for part in (slice(0, 1), slice(1, 6), slice(6, None))]).sum()
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(
        torch.autograd.grad(parts, inputs.logprobs)[0], torch.autograd.grad(whole, inputs.logprobs)[0]
    )


@every
def test_every_hyperparameter_is_read(name: str) -> None:
    algorithm = registry.load(name)
    spy = Spy(algorithm.hyper())
    behaviour(algorithm, spy)
    assert spy.read == set(algorithm.hyperparameters)


@every
def test_every_mechanism_switched_off_changes_something(name: str) -> None:
    algorithm = registry.load(name)
    assert algorithm.mechanisms
    usual = behaviour(algorithm, algorithm.hyper())
    for mechanism in algorithm.mechanisms:
        assert mechanism.off != algorithm.hyperparameters[mechanism.hyperparameter].default, mechanism.name
        off = behaviour(algorithm, algorithm.hyper({mechanism.hyperparameter: mechanism.off}))
        assert differs(usual, off), mechanism.name


@every
def test_all_of_each_range_gives_finite_values(name: str) -> None:
    """Each hyperparameter at both ends, and all of them together at either, with ratios far from 1."""
    algorithm = registry.load(name)
    ends = [
        {key: getattr(value, end)} for key, value in algorithm.hyperparameters.items() for end in ("low", "high")
    ] + [{key: getattr(value, end) for key, value in algorithm.hyperparameters.items()} for end in ("low", "high")]
    for overrides in ends:
        for spread in (0.5, 8.0):
            for key, value in behaviour(algorithm, algorithm.hyper(overrides), spread).items():
                assert torch.isfinite(value).all(), (overrides, spread, key)


@every
def test_without_a_coefficient_the_loss_has_its_default(name: str) -> None:
    """The first step of a run has no history."""
    algorithm = registry.load(name)
    if algorithm.schedule:
        assert algorithm.schedule([], algorithm.hyper()) == {}


@every
def test_it_teaches_better_answers(name: str) -> None:
    """In a mixed group of well-formed answers of one length, right ones are reinforced against wrong ones."""
    algorithm = registry.load(name)
    rows = [Row(0, index < 3, True, 8) for index in range(8)]
    batch = batch_of(algorithm, rows)
    values = ops.sequence_mean(algorithm.advantages(batch, algorithm.hyper()), batch.response_mask)
    assert values[:3].min() > values[3:].max() + 0.1


@every
def test_source_is_of_the_kind_that_a_search_writes(name: str) -> None:
    """Allowed imports only, nothing but declarations and annotated functions, nothing dynamic, nothing in place."""
    tree = ast.parse(registry.zoo_source(name))
    assert ast.get_docstring(tree)
    for node in tree.body:
        assert isinstance(node, ast.Expr | ast.Import | ast.ImportFrom | ast.Assign | ast.FunctionDef), ast.dump(node)
        if isinstance(node, ast.FunctionDef):
            assert ast.get_docstring(node), node.name
            assert not node.decorator_list
            signature = f"{ast.unparse(node.args)} -> {ast.unparse(node.returns) if node.returns else ''}"
            assert signature == SIGNATURES.get(node.name, signature)
            assert all(argument.annotation for argument in node.args.args)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= ALLOWED_IMPORTS
        elif isinstance(node, ast.ImportFrom):
            assert node.module in ALLOWED_IMPORTS
        elif isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_")
            assert not node.attr.endswith("_"), f"{node.attr} works in place"
        elif isinstance(node, ast.Name):
            assert node.id not in {"getattr", "setattr", "globals", "eval", "exec", "open", "print", "vars", "type"}
        assert not isinstance(node, ast.AugAssign | ast.Global | ast.Nonlocal | ast.Delete | ast.Lambda | ast.With)
        if isinstance(node, ast.Assign):
            assert all(isinstance(target, ast.Name | ast.Tuple) for target in node.targets)
