"""Searches on engine verl: what training is told, runs that end early, the probe of verification."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poise_lib.archive.digest import archive_digest
from poise_lib.evaluation.stopping import Watch
from poise_lib.evaluation.trajectory import ACCURACY, STEP
from poise_lib.resources import Search
from poise_lib.resources.candidate import CandidatePhase
from poise_lib.resources.early_stop import EarlyStopping
from poise_lib.resources.evaluation import EvaluationPhase
from poise_lib.resources.search import SearchPhase
from poise_lib.search import Action, Observed, StartTask, plan
from poise_lib.tasks.protocol import TaskFault, TaskKind, TaskRequest, TaskResult
from tests.unit.search.world import Answer, World, answer, make_search

VERL: dict[str, Any] = {
    "model": {"path": "org/model"},
    "data": {"train": ["train.jsonl"]},
    "gpusPerNode": 4,
    "nodes": 2,
}
CURVE = [{STEP: 0.0, ACCURACY: 0.25}, {STEP: 1.0, ACCURACY: 0.5}]


def verl_search(evaluation: dict[str, Any] | None = None, **spec: Any) -> Search:
    protocol = {"engine": "verl", "suite": "math-v1", "verl": VERL, "confirmation": {"top": 2, "seeds": 2}}
    spec.setdefault("budget", {"candidates": 6})
    return make_search(evaluation={**protocol, **(evaluation or {})}, **spec)


def curved(request: TaskRequest) -> TaskResult:
    """As the world answers, with a learning curve of two steps."""
    result = answer(request)
    if request.kind is TaskKind.TRAIN and result.output is not None:
        result.output["trajectory"] = [{**point, "candidate/x": 1.0} for point in CURVE]
    return result


def ending(when: str, reason: str = "NonFinite", respond: Answer = curved) -> Answer:
    """The same, but that runs end early whose names contain ``when``."""

    def answered(request: TaskRequest) -> TaskResult:
        result = respond(request)
        if request.kind is TaskKind.TRAIN and when in request.name and result.output is not None:
            result.output["summary"] = {"actor/entropy.last": 0.25}
            result.output["ended"] = {"reason": reason, "message": "actor/pg_loss is nan", "step": 2}
        return result

    return answered


def low_baseline(request: TaskRequest) -> TaskResult:
    """The same with a baseline that others beat, so that there is something to confirm."""
    result = curved(request)
    if request.kind is TaskKind.SCORE and request.name.startswith("s-000-0") and result.output is not None:
        result.output["metrics"] = dict.fromkeys(result.output["metrics"], 1.0)
    return result


class Inputs(World):
    """A world that remembers what tasks were given."""

    def __init__(self, search: Search, respond: Answer = curved) -> None:
        super().__init__(search, respond)
        self.inputs: dict[str, dict[str, Any]] = {}

    def finish(self, name: str) -> None:
        self.inputs[name] = self.running[name].input
        super().finish(name)


def finished(world: World, seed: int = 0) -> World:
    world.run(random.Random(seed))
    return world


def digest(world: World) -> str:
    return archive_digest(world.search, tuple(world.candidates.values()), tuple(world.evaluations.values()))


def test_a_whole_search_runs_and_is_confirmed() -> None:
    world = finished(Inputs(verl_search()))
    status = world.search.status
    assert (status.phase, status.stop_reason) == (SearchPhase.COMPLETE, "CandidatesSpent")
    assert status.best is not None
    assert status.best.confirmation is not None


def test_training_and_scoring_get_the_settings_and_training_its_fidelity() -> None:
    world = Inputs(verl_search())
    finished(world)
    trained, scored = world.inputs["s-000-0-full-0-train"], world.inputs["s-000-0-full-0-score"]
    assert trained["verl"]["gpusPerNode"] == scored["verl"]["gpusPerNode"] == 4
    assert (trained["fidelity"], trained["engine"]) == ("full", "verl")
    assert world.inputs["s-000-0-probe-0-train"]["fidelity"] == "probe"
    assert {name.split("-")[3] for name in world.inputs if name.endswith("-train")} == {"probe", "full", "confirm"}


def test_only_full_runs_of_children_are_compared_and_with_the_parent_s_run_of_their_seed() -> None:
    world = Inputs(verl_search({"seeds": 2}))
    finished(world)
    for name, document in world.inputs.items():
        if not name.endswith("-train"):
            continue
        rules, child = document["stopping"], not name.startswith("s-000-0")
        compared = child and "-full-" in name
        assert rules["hopeless"]["enabled"] is compared, name
        assert ("reference" in document) is compared, name
        assert rules["nonFinite"] is True
        assert rules["kl"]["enabled"] is ("-confirm-" not in name)
        if compared:
            assert document["reference"] == CURVE


def test_a_parent_without_a_curve_is_no_reference() -> None:
    world = Inputs(verl_search(), answer)
    finished(world)
    full = [document for name, document in world.inputs.items() if name.endswith("-full-0-train")]
    assert len(full) > 2
    assert not any("reference" in document for document in full)


def test_early_stopping_is_off_by_a_switch() -> None:
    world = Inputs(verl_search({"earlyStopping": {"enabled": False}}))
    finished(world)
    trainings = [document for name, document in world.inputs.items() if name.endswith("-train")]
    assert trainings
    assert not any("stopping" in document or "reference" in document for document in trainings)


def test_a_run_of_engine_nano_is_told_nothing_of_this() -> None:
    world = Inputs(make_search(budget={"candidates": 3}))
    finished(world)
    trainings = [document for name, document in world.inputs.items() if name.endswith("-train")]
    assert all(document.keys() == {"source", "engine", "suite", "nano", "seed"} for document in trainings)
    scores = [document for name, document in world.inputs.items() if name.endswith("-score")]
    assert all(document.keys() == {"policy", "engine", "suite", "split", "seed"} for document in scores)
    assert world.search.status.gpus is None


@pytest.mark.parametrize("reason", ["NonFinite", "KLBlowUp", "EntropyCollapse", "FormatCollapse", "Hopeless"])
def test_a_run_that_ended_early_keeps_all_it_left_and_fails_its_candidate_for_its_reason(reason: str) -> None:
    world = finished(Inputs(verl_search(), ending("s-001-0-full-0", reason)))
    run, candidate = world.evaluations["s-001-0-full-0"], world.candidates["s-001-0"]
    assert (run.status.phase, run.status.reason) == (EvaluationPhase.FAILED, reason)
    assert run.status.message == f"{reason}: actor/pg_loss is nan"
    assert run.status.policy is not None
    assert run.status.train_seconds == 1.0
    assert [point[ACCURACY] for point in run.status.trajectory] == [0.25, 0.5]
    assert run.status.metrics == {}
    assert "s-001-0-full-0-score" not in world.started
    assert (candidate.status.phase, candidate.status.reason) == (CandidatePhase.FAILED, reason)
    assert candidate.status.message == f"s-001-0-full-0: {reason}: actor/pg_loss is nan"
    assert candidate.status.trajectory == {"actor/entropy.last": 0.25}
    (entry,) = (item for item in world.observe().entries if item.name == "s-001-0")
    assert entry.at_fault
    assert (entry.metrics, entry.trajectory) == ({}, {"actor/entropy.last": 0.25})
    assert world.search.status.phase is SearchPhase.COMPLETE


def test_a_run_that_left_no_weights_cannot_be_scored() -> None:
    def empty(request: TaskRequest) -> TaskResult:
        result = curved(request)
        if request.name == "s-001-0-full-0-train" and result.output is not None:
            del result.output["policy"]
        return result

    world = finished(World(verl_search(), empty))
    run = world.evaluations["s-001-0-full-0"]
    assert (run.status.phase, run.status.reason) == (EvaluationPhase.FAILED, "TrainingFailed")


def test_numbers_that_are_none_stay_out_of_the_status() -> None:
    def odd(request: TaskRequest) -> TaskResult:
        result = curved(request)
        if request.kind is TaskKind.TRAIN and result.output is not None:
            result.output["trajectory"][1]["actor/pg_loss"] = float("nan")
        return result

    world = finished(World(verl_search(), odd))
    point = world.evaluations["s-000-0-full-0"].status.trajectory[1]
    assert point[ACCURACY] == 0.5
    assert "actor/pg_loss" not in point


def test_the_probe_of_verification_comes_before_the_full_run_and_is_not_scored() -> None:
    world = Inputs(verl_search())
    finished(world)
    probe = world.evaluations["s-000-0-probe-0"]
    assert (probe.status.phase, probe.status.metrics) == (EvaluationPhase.COMPLETE, {})
    assert "not scored" in probe.status.message
    assert "s-000-0-probe-0-score" not in world.started
    assert world.started.index("s-000-0-probe-0-train") < world.started.index("s-000-0-full-0-train")
    checked = world.candidates["s-000-0"].status.verification
    assert checked is not None
    assert checked.checks == 4, "the world's three, and the probe"


def test_what_was_trained_is_scored_before_anything_else_is_trained() -> None:
    """A training takes hours, a score minutes; with one slot it must not wait for the next training."""
    world = finished(
        World(verl_search(verification={"trainingProbe": False}, budget={"candidates": 6, "concurrent": 1}))
    )
    trained = [index for index, name in enumerate(world.started) if name.endswith("-train")]
    assert len(trained) > 6
    for index in trained:
        assert world.started[index + 1] == world.started[index].removesuffix("train") + "score"


def test_what_the_server_refuses_keeps_no_training_waiting() -> None:
    """It stays in every plan, and so would keep it waiting for ever."""

    def trains(actions: tuple[Action, ...]) -> bool:
        return any(isinstance(item, StartTask) and item.request.kind is TaskKind.TRAIN for item in actions)

    world = World(verl_search(verification={"trainingProbe": False}))
    for _ in range(50):
        seen = world.observe()
        actions = plan(seen)
        if not trains(actions) and trains(plan(replace(seen, blocked="refused"))):
            return
        world.apply(actions)
        if not actions:
            world.finish(next(iter(world.running)))
    raise AssertionError("no training ever waited for a change, or one that waited would wait for what is refused too")


def test_without_the_switch_there_is_no_probe() -> None:
    world = finished(Inputs(verl_search(verification={"trainingProbe": False})))
    assert not any("-probe-" in name for name in world.started)
    assert world.search.status.phase is SearchPhase.COMPLETE


def test_a_probe_that_is_to_be_scored_serves_both() -> None:
    world = finished(Inputs(verl_search({"probe": True})))
    assert world.evaluations["s-000-0-probe-0"].status.metrics
    assert sum(name == "s-000-0-probe-0-train" for name in world.started) == 1


def failing_probe(*revisions: int) -> Answer:
    """A world in which the probes of some revisions of s-001-0 end early, and whose implementer repairs what it is told."""
    names = {f"s-001-0-probe-{f'r{revision}-' if revision > 1 else ''}0-train" for revision in revisions}

    def answered(request: TaskRequest) -> TaskResult:
        if request.name in names:
            return ending("-probe-")(request)
        result = curved(request)
        if request.kind is TaskKind.VERIFY and request.name.startswith("s-001-0") and result.output is not None:
            result.output["verification"] |= {"passed": True, "findings": []}
        return result

    return answered


def test_a_failed_probe_is_a_finding_and_the_repair_gets_a_probe_of_its_own() -> None:
    world = Inputs(verl_search(), failing_probe(1))
    finished(world)
    repair = world.inputs["s-001-0-implement-2"]
    (finding,) = repair["findings"]
    assert (finding["name"], finding["status"]) == ("verl-probe", "failed")
    assert finding["evidence"] == "NonFinite: actor/pg_loss is nan"
    assert "s-001-0-probe-0" in finding["hint"]
    candidate = world.candidates["s-001-0"]
    assert candidate.status.phase is CandidatePhase.ARCHIVED
    assert candidate.status.implementation is not None
    assert candidate.status.implementation.revision == 2
    assert world.evaluations["s-001-0-probe-0"].status.phase is EvaluationPhase.FAILED
    assert world.evaluations["s-001-0-probe-r2-0"].status.phase is EvaluationPhase.COMPLETE


def test_repairs_after_probes_are_bounded() -> None:
    world = finished(Inputs(verl_search(verification={"maxRevisions": 2}), failing_probe(1, 2, 3)))
    candidate = world.candidates["s-001-0"]
    assert (candidate.status.phase, candidate.status.reason) == (CandidatePhase.REJECTED, "VerificationFailed")
    assert candidate.status.message == "verl-probe: NonFinite: actor/pg_loss is nan"
    assert not any(name.startswith("s-001-0-full") for name in world.evaluations)
    assert "s-001-0-implement-3" not in world.started


def test_an_implementer_without_a_repair_ends_the_candidate_with_the_probe_s_reason() -> None:
    def helpless(request: TaskRequest) -> TaskResult:
        if request.name == "s-001-0-implement-2":
            return TaskResult(output={"message": "nothing is left to repair after revision 1"})
        return failing_probe(1)(request)

    candidate = finished(World(verl_search(), helpless)).candidates["s-001-0"]
    assert candidate.status.phase is CandidatePhase.REJECTED
    assert "nothing is left to repair" in candidate.status.message
    assert "NonFinite: actor/pg_loss is nan" in candidate.status.message


def test_a_probe_that_fails_through_no_fault_of_the_candidate_is_no_finding() -> None:
    def broken(request: TaskRequest) -> TaskResult:
        if request.name == "s-001-0-probe-0-train":
            return TaskResult(fault=TaskFault(reason="TaskFailed", message="nobody knows why"))
        return failing_probe()(request)

    world = finished(World(verl_search(), broken))
    candidate = world.candidates["s-001-0"]
    assert (candidate.status.phase, candidate.status.reason) == (CandidatePhase.FAILED, "TaskFailed")
    assert "s-001-0-implement-2" not in world.started


class Mended(World):
    """A world in which an engine is unusable until it is mended; such faults are kept in no store."""

    def finish(self, name: str) -> None:
        request = self.running[name]
        super().finish(name)
        if self.results[name].fault is not None:
            del self.store[request.digest]


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("s-000-0-probe-0-train", "ModelMissing"),
        ("s-001-0-full-0-train", "GPUMissing"),
        ("s-001-1-full-0-score", "DataInvalid"),
        ("s-000-0-confirm-500-train", "EngineMissing"),
    ],
)
def test_an_engine_that_cannot_be_used_stops_the_search_blames_nobody_and_lets_it_go_on(
    where: str, reason: str
) -> None:
    def broken(request: TaskRequest) -> TaskResult:
        if request.name == where:
            return TaskResult(fault=TaskFault(reason=reason, message="it is not there"))
        return low_baseline(request)

    world = Mended(verl_search(), broken)
    finished(world)
    status = world.search.status
    assert status.phase is SearchPhase.FAILED
    failed = next(item for item in status.conditions if item.type == "Failed")
    name = where.rsplit("-", 1)[0]
    assert failed.reason == reason
    assert failed.message.startswith(f"{name}: it is not there. ")
    assert world.evaluations[name].status.reason == reason
    assert world.evaluations[name].status.phase not in (EvaluationPhase.FAILED, EvaluationPhase.COMPLETE)
    assert not [item for item in world.candidates.values() if item.status.reason == reason]

    world.respond = low_baseline
    world.crash()  # the same command again
    finished(world)
    assert world.search.status.phase is SearchPhase.COMPLETE
    assert (world.evaluations[name].status.reason, world.evaluations[name].status.phase) == (
        "",
        EvaluationPhase.COMPLETE,
    )
    assert digest(world) == digest(finished(World(verl_search(), low_baseline)))


class Stamped(Mended):
    """As in a cluster: a task that has ended stays, with the stamp of its input, until the next attempt takes its place."""

    def __init__(self, search: Search, respond: Answer) -> None:
        super().__init__(search, respond)
        self.stamps: dict[str, str] = {}

    def observe(self) -> Observed:
        self.stamps |= {name: request.stamp for name, request in self.running.items()}
        for name in self.running:
            self.results.pop(name, None)
        seen = super().observe()
        tasks = {name: replace(task, stamp=self.stamps.get(name, "")) for name, task in seen.tasks.items()}
        return replace(seen, tasks=tasks)


@pytest.mark.parametrize("where", ["s-000-0-probe-0-train", "s-001-1-full-0-score"])
def test_an_annotation_has_it_tried_again_what_the_machine_kept_from_beginning(where: str) -> None:
    def broken(request: TaskRequest) -> TaskResult:
        if request.name == where:
            return TaskResult(fault=TaskFault(reason="GPUMissing", message="there is no GPU"))
        return low_baseline(request)

    def annotate(world: World, value: str) -> None:
        metadata = world.search.metadata.model_copy(update={"annotations": {"poise.dev/retry": value}})
        world.search = world.search.model_copy(update={"metadata": metadata})

    world = Stamped(verl_search(), broken)
    finished(world)
    assert world.search.status.phase is SearchPhase.FAILED
    assert "annotate the Search with poise.dev/retry=1" in world.search.status.message
    assert world.started.count(where) == 1

    annotate(world, "1")  # too early: nothing is mended
    finished(world)
    assert world.search.status.phase is SearchPhase.FAILED
    assert world.started.count(where) == 2

    name = where.rsplit("-", 1)[0]
    run = world.evaluations[name]
    world.evaluations[name] = run.model_copy(update={"status": run.status.model_copy(update={"lost_attempts": 1})})
    world.respond = low_baseline
    finished(world)
    assert world.started.count(where) == 2, "the same value asks for nothing more"
    annotate(world, "2")
    world.settle()
    assert world.evaluations[name].status.lost_attempts is None, "attempts at another task are counted from none"
    finished(world)
    assert world.started.count(where) == 3
    assert world.search.status.phase is SearchPhase.COMPLETE
    assert all(world.started.count(name) == 1 for name in world.started if name != where)


def test_an_upgrade_which_may_have_mended_it_has_it_tried_again() -> None:
    where = "s-001-0-full-0-train"

    def broken(request: TaskRequest) -> TaskResult:
        if request.name == where:
            return TaskResult(fault=TaskFault(reason="EngineMissing", message="VeRL is of another version"))
        return low_baseline(request)

    world = Stamped(verl_search(), broken)
    finished(world)
    assert world.search.status.phase is SearchPhase.FAILED
    world.stamps = {name: f"0.0.9/{stamp.partition('/')[2]}" for name, stamp in world.stamps.items()}
    world.respond = low_baseline
    finished(world)
    assert world.search.status.phase is SearchPhase.COMPLETE
    assert {name for name in world.started if world.started.count(name) > 1} == {where}


def test_a_baseline_whose_probe_fails_ends_the_search_and_says_why() -> None:
    world = finished(World(verl_search(), ending("s-000-0-probe")))
    assert world.search.status.phase is SearchPhase.FAILED
    assert "verl-probe: NonFinite: actor/pg_loss is nan" in world.search.status.message


@given(order=st.integers(0, 2**32), broken=st.sampled_from(["s-001-0-full", "s-001-1-probe", "s-002"]))
@settings(max_examples=10, deadline=None)
def test_neither_order_nor_crashes_change_the_archive(order: int, broken: str) -> None:
    budget = {"candidates": 6, "concurrent": 3, "attempts": 10}
    world = World(verl_search(budget=budget), ending(broken))
    world.run(random.Random(order), crash=0.1, lose=0.05)
    other = World(verl_search(budget={**budget, "concurrent": 1}), ending(broken))
    assert digest(world) == digest(finished(other))


def watched(request: TaskRequest) -> TaskResult:
    """Training of eight steps at an accuracy that the source decides, ended by the real rules."""
    result = answer(request)
    if request.kind is not TaskKind.TRAIN or result.output is None:
        return result
    level = int.from_bytes(hashlib.sha256(request.input["source"].encode()).digest()[:2], "big") / 2**16
    watch = Watch(EarlyStopping.model_validate(request.input["stopping"]), 8, request.input.get("reference", ()))
    trajectory: list[dict[str, float]] = []
    for step in range(8):
        trajectory.append({STEP: float(step), ACCURACY: level})
        stop = watch.see(trajectory[-1])
        if stop is not None:
            result.output["ended"] = {"reason": stop.reason, "message": stop.message, "step": stop.step}
            break
    result.output["trajectory"] = trajectory
    return result


@given(order=st.integers(0, 2**32))
@settings(max_examples=8, deadline=None)
def test_runs_that_are_hopeless_against_their_parents_are_the_same_in_any_order(order: int) -> None:
    budget = {"candidates": 10, "concurrent": 3, "attempts": 10}
    world = World(verl_search(budget=budget), watched)
    world.run(random.Random(order), crash=0.05, lose=0.05)
    other = finished(World(verl_search(budget={**budget, "concurrent": 1}), watched))
    assert digest(world) == digest(other)
    ended = {run.metadata.name for run in other.evaluations.values() if run.status.reason == "Hopeless"}
    assert ended
    assert ended == {run.metadata.name for run in world.evaluations.values() if run.status.reason == "Hopeless"}
    for name in ended:
        run = other.evaluations[name]
        parent = other.candidates[run.spec.candidate].spec.parents[0]
        above = other.evaluations[f"{parent}-full-{run.spec.seed}"].status.trajectory[0][ACCURACY]
        assert run.status.trajectory[0][ACCURACY] < above - 0.1
        assert len(run.status.trajectory) == 4, "half of eight steps"
