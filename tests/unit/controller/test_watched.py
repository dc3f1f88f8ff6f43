"""What the caches tell is what the watch has told last, packed or not."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controller import watched
from controller.api import Document
from controller.cache import Broken, Key, key_of, parse
from controller.watched import Packed, Watched
from tests.integration.kube.documents import merged, minimal

PHASES = ("Pending", "Evaluating", "Archived", "Rejected")
WHERES = [("n", "a"), ("n", "b"), ("m", "a")]


def candidate(where: tuple[str, str], search: str, version: int, phase: str, uid: str = "u") -> Document:
    namespace, name = where
    metadata = {
        "namespace": namespace,
        "uid": uid,
        "resourceVersion": str(version),
        "managedFields": [{"manager": "x"}],
    }
    return merged(
        minimal("Candidate", name),
        {"metadata": metadata, "spec": {"search": search}, "status": {"phase": phase}},
    )


def evaluation(where: tuple[str, str], search: str, version: int, phase: str, uid: str = "u") -> Document:
    made = merged(minimal("Evaluation"), {"metadata": candidate(where, search, version, phase, uid)["metadata"]})
    phases = dict(zip(PHASES, ("Pending", "Training", "Complete", "Failed"), strict=True))
    return merged(made, {"spec": {"search": search}, "status": {"phase": phases[phase]}})


def cache() -> tuple[Watched, list[Key], list[tuple[Key, str]]]:
    woken: list[Key] = []
    gone: list[tuple[Key, str]] = []
    made = Watched(woken.append, lambda key, body: gone.append((key, body["metadata"]["uid"])))
    return made, woken, gone


@given(st.data())
def test_it_tells_what_was_told_last(data: st.DataObject) -> None:
    world, woken, _ = cache()
    told: dict[tuple[str, str], Document] = {}
    for version in range(1, data.draw(st.integers(1, 25), "steps") + 1):
        where, search = data.draw(st.sampled_from(WHERES), "where"), data.draw(st.sampled_from("st"), "search")
        match data.draw(st.sampled_from(("take", "take", "take", "drop", "list", "look")), "what"):
            case "take":
                told[where] = candidate(where, search, version, data.draw(st.sampled_from(PHASES), "phase"))
                world.take(copy.deepcopy(told[where]))
                assert woken[-1] == (where[0], search)
            case "drop" if where in told:
                world.drop(told.pop(where))
            case "list":
                namespace = data.draw(st.sampled_from(("", "n", "m")), "namespace")
                left = set(data.draw(st.lists(st.sampled_from(WHERES)), "left"))
                told = {at: body for at, body in told.items() if at in left or namespace not in ("", at[0])}
                world.keep("Candidate", namespace, left)
            case "look":
                world.open((where[0], search))
        for key in ((namespace, name) for namespace in "nm" for name in "st"):
            wanted = {at[1]: parse(copy.deepcopy(body)) for at, body in told.items() if key_of(body) == key}
            assert {item.metadata.name: item for item in world.candidates(key)} == wanted
    assert sum(map(len, world.kept["Candidate"].values())) == len(told) == len(world.keys["Candidate"])


def test_what_has_ended_is_packed_and_its_model_made_once() -> None:
    world, _, _ = cache()
    world.take(candidate(("n", "a"), "s", 1, "Archived"))
    world.take(candidate(("n", "b"), "s", 2, "Evaluating"))
    world.take(evaluation(("n", "a"), "s", 3, "Archived"))
    assert isinstance(world.kept["Candidate"]["n", "s"]["a"], Packed)
    assert not isinstance(world.kept["Candidate"]["n", "s"]["b"], Packed)
    assert isinstance(world.kept["Evaluation"]["n", "s"]["a"], Packed)
    first, again = world.candidates(("n", "s")), world.candidates(("n", "s"))
    assert all(one is other for one, other in zip(first, again, strict=True))
    world.take(candidate(("n", "a"), "s", 4, "Archived"))
    assert world.candidates(("n", "s"))[0] is not first[0]


def test_models_of_searches_that_nobody_looks_at_are_given_up(monkeypatch: Any) -> None:
    monkeypatch.setattr(watched, "OPENED_MOST", 4)
    world, _, _ = cache()
    for search in "abc":
        for number in range(3):
            world.take(candidate(("n", f"{search}{number}"), search, 1, "Archived"))
            world.take(evaluation(("n", f"{search}{number}"), search, 1, "Archived"))
    world.open(("n", "a"))
    assert {key[1]: len(models) for key, models in world.opened.items()} == {"a": 6}, "beyond the bound, but looked at"
    world.open(("n", "b"))
    assert {key[1] for key in world.opened} == {"b"}
    world.take(candidate(("n", "d0"), "d", 1, "Archived"))
    world.open(("n", "d"))
    assert {key[1] for key in world.opened} == {"d"}, "six are too many beside one"
    monkeypatch.setattr(watched, "OPENED_MOST", 6)
    world.open(("n", "c"))
    assert {key[1] for key in world.opened} == {"d", "c"}
    assert len(world.candidates(("n", "a"))) == 3


def test_what_went_unseen_is_told_when_it_is_missed() -> None:
    world, woken, gone = cache()
    world.take(candidate(("n", "a"), "s", 1, "Archived", uid="one"))
    world.take(candidate(("n", "b"), "s", 1, "Pending", uid="two"))
    broken = candidate(("n", "c"), "s", 1, "Pending", uid="three")
    broken["spec"]["depth"] = "no such field"
    world.take(broken)
    assert isinstance(world.candidates(("n", "s"))[2], Broken)
    woken.clear()
    world.keep("Candidate", "m", set())
    assert not woken
    world.keep("Candidate", "", set())
    assert sorted(uid for _, uid in gone) == ["one", "three", "two"]
    assert set(woken) == {("n", "s")}
    assert world.kept["Candidate"] == world.keys["Candidate"] == {}


def test_one_that_changes_its_search_wakes_both_and_counts_once() -> None:
    world, woken, _ = cache()
    world.take(candidate(("n", "a"), "s", 1, "Archived"))
    woken.clear()
    world.take(candidate(("n", "a"), "t", 2, "Archived"))
    assert set(woken) == {("n", "s"), ("n", "t")}
    assert (len(world.candidates(("n", "s"))), len(world.candidates(("n", "t")))) == (0, 1)


def test_a_run_that_has_ended_is_told_without_its_trajectory_and_shares_what_others_have_too() -> None:
    world, _, _ = cache()
    status = {"trajectory": [{"step": 1.0}], "summary": {"reward": 0.5}, "reason": "TrainingFailed"}
    for name in ("a", "b"):
        world.take(merged(evaluation(("n", name), "s", 1, "Rejected"), {"status": status}))
    one, other = world.evaluations(("n", "s"))
    assert not isinstance(one, Broken)
    assert not isinstance(other, Broken)
    assert (one.status.trajectory, one.status.summary) == ((), {"reward": 0.5})
    assert one.status.model_fields_set is other.status.model_fields_set
    assert one.status.reason is other.status.reason
    world.take(merged(evaluation(("n", "c"), "s", 1, "Evaluating"), {"status": status}))
    assert world.evaluations(("n", "s"))[2].status.trajectory != ()
