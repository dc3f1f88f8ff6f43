"""Every algorithm that the Library proposer can write keeps the candidate contract, and GRPO in the grammar is GRPO."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from poise_lib.algorithms import registry
from poise_lib.algorithms.aggregation import MiniBatchCounts, aggregate
from poise_lib.algorithms.contract import Algorithm, Batch, LossInputs, Outcomes
from poise_lib.algorithms.loading import algorithm_from_source
from poise_lib.proposal.catalogue import GRAMMAR
from poise_lib.proposal.composition import Composition, kinds
from poise_lib.proposal.known import GRPO, KNOWN
from poise_lib.proposal.rendering import render
from poise_lib.verification import situations
from poise_lib.verification.plan import VARIED
from poise_lib.verification.situations import TOTAL_STEPS, Situation, all_situations
from tests.unit.proposal.drawing import walk, walks, with_kind

NOTICEABLE = 1e-5
"""Relative change of a gradient that counts as an effect; the verifier asks for the same."""


@cache
def tensors(name: str) -> Mapping[str, Tensor]:
    return {key: torch.from_numpy(values) for key, values in all_situations()[name].arrays.items()}


def load(composition: Composition) -> Algorithm:
    return algorithm_from_source(render(composition, "Candidate", "It should help."), "candidate")


def run(algorithm: Algorithm, name: str, changed: Mapping[str, float] | None = None) -> dict[str, Tensor]:
    """Advantages, reduced loss and its gradients in one probe situation."""
    situation: Situation = all_situations()[name]
    given_, hyper = tensors(name), algorithm.hyper(changed)
    coefficients = algorithm.schedule(situation.history, hyper) if algorithm.schedule else {}
    state = {"step": situation.step, "total_steps": TOTAL_STEPS, "coefficients": coefficients}
    shared = {key: given_[key] for key in ("correct", "valid", "length", "group")}
    outcomes = Outcomes(**shared, max_length=situation.max_length, **state)
    reference = given_["ref_logprobs"] if "reference" in algorithm.needs else None
    advantages = algorithm.advantages(
        Batch(
            rewards=algorithm.rewards(outcomes, hyper) if algorithm.rewards else given_["correct"].float(),
            **shared,
            max_length=situation.max_length,
            response_mask=given_["response_mask"],
            old_logprobs=given_["old_logprobs"],
            ref_logprobs=reference,
            entropy=given_["old_entropy"] if "entropy" in algorithm.needs else None,
            **state,
        ),
        hyper,
    )
    carriers = {"logprobs": given_["logprobs"].clone().requires_grad_()}
    if "entropy" in algorithm.needs:
        carriers["entropy"] = given_["entropy"].clone().requires_grad_()
    mask = given_["response_mask"]
    output = algorithm.policy_loss(
        LossInputs(
            logprobs=carriers["logprobs"],
            old_logprobs=given_["old_logprobs"],
            ref_logprobs=reference,
            rollout_logprobs=None,
            advantages=advantages,
            response_mask=mask,
            entropy=carriers.get("entropy"),
            **state,
        ),
        hyper,
    )
    assert all(not metric.requires_grad and torch.isfinite(metric).all() for metric in output.metrics.values())
    counts = MiniBatchCounts(int(mask.sum()), mask.shape[0], situation.max_length)
    loss = aggregate(output.loss, mask, algorithm.aggregation, counts)
    slopes = torch.autograd.grad(loss, list(carriers.values()), materialize_grads=True)
    return {"advantages": advantages, "loss": loss.detach(), **dict(zip(carriers, slopes, strict=True))}


def sound(found: Mapping[str, Tensor], mask: Tensor) -> None:
    for name, value in found.items():
        assert torch.isfinite(value).all(), name
    assert found["advantages"].shape == mask.shape
    assert found["advantages"].dtype == torch.float32
    assert not found["advantages"][~mask].any()


def effect(algorithm: Algorithm, switched: Mapping[str, float]) -> float:
    """Largest relative change of a gradient over the varied situations."""
    largest = 0.0
    for name in VARIED:
        before, after = run(algorithm, name), run(algorithm, name, switched)
        for carrier in ("logprobs", "entropy"):
            if carrier in before:
                scale = before[carrier].norm().clamp(min=1e-12)
                largest = max(largest, float((before[carrier] - after[carrier]).norm() / scale))
    return largest


@pytest.mark.parametrize("kind", GRAMMAR.kinds)
def test_every_kind_executes_and_its_switch_does_something(kind: str) -> None:
    algorithm = load(with_kind(kind))
    for name in all_situations():
        sound(run(algorithm, name), tensors(name)["response_mask"])
    for mechanism in algorithm.mechanisms:
        assert effect(algorithm, {mechanism.hyperparameter: mechanism.off}) > NOTICEABLE, mechanism.name


@pytest.mark.parametrize("kind", GRAMMAR.kinds)
def test_every_kind_is_finite_at_the_ends_of_its_ranges(kind: str) -> None:
    algorithm = load(with_kind(kind))
    for parameter in GRAMMAR.kinds[kind].parameters:
        for value in (parameter.low, parameter.high):
            for name in (situations.RICH, situations.EXTREME_RATIOS, situations.EXTREME_LENGTHS):
                sound(run(algorithm, name, {parameter.name: value}), tensors(name)["response_mask"])


@given(walks)
@settings(max_examples=25)
def test_random_compositions_keep_the_contract(composition: Composition) -> None:
    algorithm = load(composition)
    for name in all_situations():
        found = run(algorithm, name)
        sound(found, tensors(name)["response_mask"])
        again = run(algorithm, name)
        assert all(torch.equal(found[key], again[key]) for key in found)
    assert run(algorithm, situations.RICH)["logprobs"].abs().sum() > 0


@pytest.mark.parametrize("seed", range(15))
def test_each_mechanism_of_a_random_composition_acts(seed: int) -> None:
    algorithm = load(walk(seed))
    idle = [m.name for m in algorithm.mechanisms if effect(algorithm, {m.hyperparameter: m.off}) <= NOTICEABLE]
    assert idle == []


@pytest.mark.parametrize("name", all_situations())
def test_grpo_in_the_grammar_is_the_zoos_grpo(name: str) -> None:
    zoo, ours = run(registry.load("grpo"), name), run(load(GRPO), name)
    for key, expected in zoo.items():
        torch.testing.assert_close(ours[key], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["dapo", "dr-grpo", "gmpo", "sapo", "rf", "av", "vm-av", "pr", "dace", "cag", "dcbe"])
def test_known_compositions_push_as_the_zoos_algorithms_do(name: str) -> None:
    """Up to a common scale, which Adam does not see."""
    zoo, ours = registry.load(name), load(KNOWN[name])
    for situation in VARIED:
        expected, found = run(zoo, situation)["logprobs"], run(ours, situation)["logprobs"]
        sizes = expected.norm().clamp(min=1e-12), found.norm().clamp(min=1e-12)
        assert float((expected / sizes[0] - found / sizes[1]).norm()) < 2e-3, situation


def test_switching_a_mechanism_off_leaves_the_algorithm_without_it() -> None:
    """Ablation and absence are the same thing, for mechanisms that can simply be absent."""
    for kind in GRAMMAR.kinds.values():
        present = with_kind(kind.name)
        absent = tuple(part for part in present if part.kind != kind.name)
        if (
            not kind.switch
            or kind.controls
            or len(kinds(absent)) < len(GRPO)
            or kind.slot in {k.slot for k in kinds(absent)}
        ):
            continue
        without, ablated = load(absent), load(present)
        for name in (situations.RICH, situations.ALL_FAIL):
            expected, found = run(without, name), run(ablated, name, {kind.switch: kind.off})
            torch.testing.assert_close(found["logprobs"], expected["logprobs"], rtol=1e-4, atol=1e-7, msg=kind.name)
