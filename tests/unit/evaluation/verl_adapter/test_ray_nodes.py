"""Pods of a training on several nodes: what they are told, who is missing, and what of an environment is shared."""

from __future__ import annotations

from typing import Any

import pytest

from controller import groups
from poise_lib.errors import EngineError, InvalidInputError
from poise_lib.evaluation.verl.adapter import ray_nodes
from poise_lib.evaluation.verl.adapter.ray_nodes import Nodes, ranks, shared_environment, wait_for_all

TOLD = {"POISE_NODES": "3", "POISE_NODE_RANK": "1", "POISE_HEAD": "s-0-train-2-0.nodes-abc"}


def test_the_controller_and_the_pod_speak_of_the_same_variables() -> None:
    theirs = (groups.COUNT_VARIABLE, groups.RANK_VARIABLE, groups.HEAD_VARIABLE)
    assert theirs == (ray_nodes.COUNT_VARIABLE, ray_nodes.RANK_VARIABLE, ray_nodes.HEAD_VARIABLE)


def test_what_the_environment_says() -> None:
    nodes = Nodes.of(TOLD)
    assert nodes == Nodes(3, 1, "s-0-train-2-0.nodes-abc")
    assert not nodes.leads
    assert [nodes.name(rank) for rank in range(3)] == ["s-0-train-2-0", "s-0-train-2-1", "s-0-train-2-2"]


@pytest.mark.parametrize("environment", [{}, {"POISE_NODES": "1"}, {"POISE_NODES": "1", "POISE_NODE_RANK": "0"}])
def test_one_node_is_no_group(environment: dict[str, str]) -> None:
    assert Nodes.of(environment) is None


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"POISE_NODES": "many"}, "POISE_NODES must be a whole number"),
        ({"POISE_NODES": "0"}, "POISE_NODES must be a whole number"),
        ({"POISE_NODE_RANK": ""}, "POISE_NODE_RANK must be a whole number"),
        ({"POISE_NODE_RANK": "3"}, "POISE_NODE_RANK is 3, but there are 3 nodes"),
        ({"POISE_HEAD": ""}, "POISE_HEAD is not set"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_variable(changes: dict[str, str], complaint: str) -> None:
    with pytest.raises(InvalidInputError, match=complaint):
        Nodes.of({**TOLD, **changes})


def node(rank: int | str, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": 8.0, "GPU": 1.0, f"poise_node_{rank}": 1.0, "node:10.0.0.1": 1.0}}


def test_ranks_are_those_of_nodes_that_live() -> None:
    assert ranks([node(0), node(2), node(1, alive=False), node("x"), {"Alive": True}]) == {0, 2}


def test_waiting_ends_when_all_have_come() -> None:
    nodes = Nodes(3, 0, "t-0.s")
    seen = iter([set(), {0}, {0, 2}, {0, 1, 2}])
    wait_for_all(nodes, lambda: next(seen), 3600.0, look=0.0)
    assert list(seen) == []


def test_waiting_is_bounded_and_names_who_is_missing() -> None:
    with pytest.raises(
        EngineError, match=r"2 of 4 nodes did not join Ray within 0 s: t-1-1, t-1-3; look at their pods"
    ):
        wait_for_all(Nodes(4, 0, "t-1-0.s"), lambda: {0, 2}, 0.0)


def test_a_head_that_does_not_appear_is_named() -> None:
    with pytest.raises(EngineError, match=r"the head t-0 did not appear within 0 s"):
        ray_nodes._head_address(Nodes(2, 1, "t-0.nowhere.invalid"), 0.0)


def test_what_all_nodes_need_of_the_drivers_environment() -> None:
    given = {"VERL_PLATFORM": "cpu", "POISE_VERL_CANDIDATE": "/w/c.json", "PYTHONPATH": "/app", "NCCL_DEBUG": "WARN",
             "HOSTNAME": "t-0", "POISE_NODE_RANK": "0", "RAY_TMPDIR": "/tmp/x", "OPENAI_API_KEY": "k"}  # fmt: skip
    assert shared_environment(given).keys() == {"VERL_PLATFORM", "POISE_VERL_CANDIDATE", "PYTHONPATH", "NCCL_DEBUG"}
