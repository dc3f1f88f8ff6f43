"""The state directory: documents that survive a round trip, one runner at a time, lost attempts on record."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.artifacts import digest_of
from poise_lib.errors import InvalidInputError, StateError
from poise_lib.local.state import StateDir, merge_search, to_yaml
from poise_lib.resources import Candidate, Search
from poise_lib.resources.candidate import CandidateStatus, Implementation


def make_search(name: str = "s", **spec: object) -> Search:
    return Search.model_validate({"metadata": {"name": name}, "spec": {"budget": {"candidates": 3}, **spec}})


def make_candidate(source: str) -> Candidate:
    spec = {"search": "s", "proposal": {"title": "t", "hypothesis": "h"}}
    candidate = Candidate.model_validate({"metadata": {"name": "s-001-0"}, "spec": spec})
    code = Implementation(source=source, digest=digest_of(source.encode()))
    return candidate.model_copy(update={"status": CandidateStatus(implementation=code)})


@given(st.text(max_size=200))
def test_any_source_survives_the_round_trip_through_yaml(tmp_path_factory: pytest.TempPathFactory, source: str) -> None:
    source = source.encode("utf-8", "replace").decode()
    state = StateDir(tmp_path_factory.mktemp("state"))
    candidate = make_candidate(source)
    state.write(candidate)
    assert state.candidates() == [candidate]


def test_source_is_written_as_a_block_that_a_person_can_read() -> None:
    text = to_yaml(make_candidate('"""Idea."""\n\nTITLE = "x"\n').to_document())
    assert "source: |\n" in text
    assert '      """Idea."""\n' in text


def test_only_one_runner_holds_a_directory(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "state")
    with state.lock("first"), pytest.raises(StateError, match="in use by process"):
        state.lock("second")
    assert (state.root / "run").read_text() == "first"
    state.lock("third").close()


def test_what_was_left_half_written_by_a_kill_is_removed_by_the_next_run(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.write(make_candidate("x"))
    blob = state.artifacts.put(b"weights")
    state.artifacts.put_result(blob, {"output": {}})
    halves = ["candidates/.s-001-0.yaml.ab12", ".search.yaml.cd", "artifacts/.put.x", "artifacts/results/.r.json.y"]
    for half in [*halves, f"artifacts/blobs/{blob[7:9]}/.{blob[9:]}.z"]:
        (tmp_path / half).write_bytes(b"ha")
    (tmp_path / ".gitignore").write_text("*")
    state.lock("token").close()
    hidden = [path.name for path in tmp_path.rglob(".*")]
    assert hidden == [".gitignore"]
    assert state.artifacts.has(blob)
    assert state.artifacts.result(blob) == {"output": {}}
    assert len(state.candidates()) == 1


def test_a_directory_that_cannot_be_made_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="file"):
        StateDir(tmp_path / "file" / "state").lock("token")


def test_lost_attempts_are_kept_until_the_next_run(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.record_lost("a-train", ["killed", "killed again"])
    assert state.lost_attempts() == {"a-train": ["killed", "killed again"]}
    state.forget_lost()
    assert state.lost_attempts() == {}


def test_merging_keeps_the_status_and_takes_the_new_budget(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    first = merge_search(make_search(), state)
    state.write(first.model_copy(update={"status": first.status.model_copy(update={"round": 4})}))
    merged = merge_search(make_search(budget={"candidates": 9}), state)
    assert merged.status.round == 4
    assert merged.spec.budget.candidates == 9


def test_what_would_make_candidates_incomparable_cannot_be_changed(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.write(make_search())
    with pytest.raises(InvalidInputError, match=r"spec\.baseline, spec\.seed: cannot change"):
        merge_search(make_search(seed=5, baseline={"algorithm": "dapo"}), state)
    with pytest.raises(StateError, match="holds the search 's', not 'other'"):
        merge_search(make_search("other"), state)


def test_a_suite_of_its_own_is_kept_and_does_not_change(tmp_path: Path) -> None:
    def on(weight: float) -> Search:
        house = {"name": "house_acc1", "weight": weight, "source": {"files": ["house.jsonl"]}}
        rest = {"name": "sums_acc1", "weight": 0.5 - weight}
        verl = {"model": {"path": "org/model"}, "data": {"train": ["train.jsonl"]}}
        own = {"name": "ours", "extends": "sums-v1", "benchmarks": [house, rest]}
        return make_search(evaluation={"engine": "verl", "suite": "ours", "suiteDefinition": own, "verl": verl})

    state = StateDir(tmp_path)
    state.write(on(0.25))
    assert state.search() == on(0.25)
    with pytest.raises(InvalidInputError, match=r"^spec\.evaluation\.suiteDefinition: cannot change"):
        merge_search(on(0.125), state)
