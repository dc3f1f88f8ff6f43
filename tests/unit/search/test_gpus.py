"""GPU hours: counted when a run has ended, set aside while it is going on, never too few whatever crashes."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poise_lib.names import REASON_GPU_BUDGET_SPENT
from poise_lib.resources import Search
from poise_lib.resources.candidate import CandidatePhase
from poise_lib.resources.evaluation import EvaluationPhase
from poise_lib.resources.search import SearchPhase
from poise_lib.search import Observed, TaskObservation, TaskState, plan
from poise_lib.tasks.protocol import TaskFault, TaskKind, TaskRequest, TaskResult
from tests.unit.search.test_verl import VERL, curved, verl_search
from tests.unit.search.world import World, make_search

GPUS = 8
"""Of :data:`tests.unit.search.test_verl.VERL`: two nodes of four."""
TRAINING = {"probe": 10.0, "full": 90.0, "confirm": 80.0}
"""Seconds."""
SCORING = 20.0


def seconds_of(name: str) -> float:
    """What the task takes in this world; 0 for one without a GPU."""
    if name.endswith("-train"):
        return next(seconds for fidelity, seconds in TRAINING.items() if f"-{fidelity}-" in name)
    return SCORING if name.endswith("-score") else 0.0


class Cards(World):
    """A world whose trainings and scorings take their time on GPUs, and which knows the truth."""

    def __init__(self, search: Search) -> None:
        super().__init__(search, self.timed)
        self.truth = 0.0
        """GPU seconds of everything that has ended."""
        self.unseen = 0.0
        """Of attempts that were lost since the planner last looked."""
        self.told: dict[str, float] = {}
        self.most_planned = 0.0
        """The most that was spent and set aside at any time when something was started."""

    def timed(self, request: TaskRequest) -> TaskResult:
        result = curved(request)
        if seconds_of(request.name) and result.output is not None:
            result.output["seconds"] = seconds_of(request.name)
        if request.kind is TaskKind.SCORE and request.name.startswith("s-000-0") and result.output is not None:
            result.output["metrics"] = dict.fromkeys(
                result.output["metrics"], 1.0
            )  # so that there is a best to confirm
        return result

    def finish(self, name: str) -> None:
        super().finish(name)
        self.truth += GPUS * seconds_of(name)

    def lose(self, name: str) -> None:
        super().lose(name)
        self.unseen += GPUS * seconds_of(name)
        self.told[name] = seconds_of(name)

    def crash(self) -> None:
        """An attempt that was lost in the same moment is known to nobody."""
        super().crash()
        self.unseen = 0.0

    def observe(self) -> Observed:
        observed = super().observe()
        tasks = {
            name: TaskObservation(name, task.state, task.result, task.lost_attempts, task.problem, self.told.get(name))
            for name, task in observed.tasks.items()
        }
        return Observed(self.search, observed.candidates, observed.evaluations, tasks, self.now)

    def settle(self, chance: random.Random | None = None, crash: float = 0.0) -> None:
        super().settle(chance, crash)
        gpus = self.search.status.gpus
        assert gpus is not None
        self.truth += self.unseen
        self.unseen = 0.0
        if not crash:
            assert gpus.spent_seconds >= self.truth - 1e-6
        self.most_planned = max(self.most_planned, gpus.spent_seconds + gpus.reserved_seconds)


def hours(gpu_seconds: float) -> float:
    return gpu_seconds / 3600


FULL_RUN = GPUS * (TRAINING["full"] + SCORING)
CANDIDATE = GPUS * TRAINING["probe"] + FULL_RUN


def test_without_faults_the_ledger_is_the_truth_and_nothing_stays_set_aside() -> None:
    world = Cards(verl_search())
    world.run(random.Random(1))
    gpus = world.search.status.gpus
    assert gpus is not None
    assert gpus.spent_seconds == pytest.approx(world.truth)
    assert (gpus.reserved_seconds, gpus.exhausted) == (0.0, "")
    runs = [run for run in world.evaluations.values() if run.status.phase is EvaluationPhase.COMPLETE]
    by_hand = sum(
        GPUS * (TRAINING[run.spec.fidelity] + (0.0 if run.spec.fidelity == "probe" else SCORING)) for run in runs
    )
    assert gpus.spent_seconds == pytest.approx(by_hand)


@given(
    st.integers(0, 2**32),
    st.sampled_from([None, 2.5, 4.2, 8.0]),
    st.booleans(),
    st.integers(1, 4),
)
@settings(max_examples=15, deadline=None)
def test_whatever_crashes_the_ledger_is_never_too_small_and_the_search_ends(
    seed: int, candidates: float | None, crashes: bool, concurrent: int
) -> None:
    budget: dict[str, Any] = {"candidates": 6, "concurrent": concurrent, "attempts": 3}
    if candidates is not None:
        budget["gpuHours"] = hours(candidates * CANDIDATE)
    world = Cards(verl_search(budget=budget))
    world.run(random.Random(seed), crash=0.05 if crashes else 0.0, lose=0.1)
    status = world.search.status
    assert status.phase in (SearchPhase.COMPLETE, SearchPhase.FAILED)
    assert status.gpus is not None
    assert status.gpus.spent_seconds >= world.truth - 1e-6
    assert status.gpus.reserved_seconds == 0.0


@given(st.integers(0, 2**32), st.integers(2, 5), st.integers(1, 4))
@settings(max_examples=8, deadline=None)
def test_runs_that_are_as_long_as_expected_never_exceed_the_cap(seed: int, candidates: int, concurrent: int) -> None:
    cap = candidates * CANDIDATE + 1.0
    world = Cards(
        verl_search(
            budget={"candidates": 9, "concurrent": concurrent, "gpuHours": hours(cap)},
        )
    )
    world.run(random.Random(seed))
    assert world.truth <= cap
    assert world.most_planned <= cap
    assert world.search.status.phase is SearchPhase.COMPLETE
    assert world.search.status.stop_reason == REASON_GPU_BUDGET_SPENT


def capped(candidates: float, **spec: Any) -> Cards:
    budget = {"candidates": 20, "concurrent": 1, "gpuHours": hours(candidates * CANDIDATE)}
    world = Cards(verl_search(budget=budget, **spec))
    world.run(random.Random(0))
    return world


def test_a_cap_that_is_reached_ends_the_search_well_and_says_so() -> None:
    world = capped(4.5)
    status = world.search.status
    assert (status.phase, status.stop_reason) == (SearchPhase.COMPLETE, REASON_GPU_BUDGET_SPENT)
    assert "budget.gpuHours of " in status.message
    assert status.gpus is not None
    assert status.gpus.exhausted == "budget.gpuHours"
    trained = [name for name in world.started if "-full-" in name and name.endswith("-train")]
    assert len(trained) == 4
    assert "0 of 6 confirmation runs finished: raise budget.gpuHours to have the best confirmed" in status.message
    refused = [item for item in world.candidates.values() if item.status.reason == REASON_GPU_BUDGET_SPENT]
    assert all(item.status.phase is CandidatePhase.FAILED for item in refused)
    assert not any(entry.at_fault for entry in world.observe().entries if entry.reason == REASON_GPU_BUDGET_SPENT)
    assert plan(world.observe()) == ()


def test_a_cap_that_is_raised_lets_search_and_confirmation_go_on() -> None:
    world = capped(4.5)
    few = len(world.candidates)
    budget = world.search.spec.budget.model_copy(update={"gpu_hours": 1000.0, "candidates": few + 3})
    world.search = world.search.model_copy(update={"spec": world.search.spec.model_copy(update={"budget": budget})})
    world.run(random.Random(0))
    status = world.search.status
    assert status.stop_reason == "CandidatesSpent"
    assert status.best is not None
    assert status.best.confirmation is not None
    assert status.gpus is not None
    assert status.gpus.exhausted == ""


def test_what_is_going_on_is_set_aside_as_long_as_the_longest_run_before() -> None:
    world = Cards(verl_search(budget={"candidates": 6, "concurrent": 4}))
    while not any(name.startswith("s-001") and "-full-" in name for name in world.running):
        world.settle()
        world.finish(sorted(world.running)[0])
        world.settle()
    gpus = world.search.status.gpus
    assert gpus is not None
    going = [name for name in world.running if name.endswith("-train")]
    expected = sum(FULL_RUN if "-full-" in name else GPUS * TRAINING["probe"] for name in going)
    assert gpus.reserved_seconds == pytest.approx(expected)


def test_nothing_is_set_aside_before_anything_has_ended() -> None:
    world = Cards(verl_search())
    while "s-000-0-probe-0-train" not in world.running:
        world.settle()
        if "s-000-0-probe-0-train" not in world.running:
            world.finish(sorted(world.running)[0])
    assert world.search.status.gpus is not None
    assert world.search.status.gpus.reserved_seconds == 0.0


def test_attempts_that_were_lost_count() -> None:
    world = Cards(verl_search(budget={"candidates": 1, "attempts": 3}))
    for _ in range(200):
        world.settle()
        if not world.running:
            break
        name = sorted(world.running)[0]
        again = name == "s-000-0-full-0-train" and world.started.count(name) < 3
        world.lose(name) if again else world.finish(name)
    run = world.evaluations["s-000-0-full-0"]
    assert run.status.phase is EvaluationPhase.COMPLETE
    assert run.status.lost_seconds == 2 * TRAINING["full"]
    assert world.search.status.gpus is not None
    assert world.search.status.gpus.spent_seconds == pytest.approx(GPUS * (10 + 3 * 90 + 20))


def test_a_lost_attempt_of_unknown_length_counts_as_the_longest_run() -> None:
    world = Cards(verl_search(budget={"candidates": 2, "attempts": 3}))
    for _ in range(200):
        world.settle()
        if not world.running:
            break
        name = sorted(world.running)[0]
        if name == "s-001-0-full-0-train" and world.started.count(name) < 2:
            world.lose(name)
            world.told.clear()
        else:
            world.finish(name)
    assert world.evaluations["s-001-0-full-0"].status.lost_seconds == TRAINING["full"]


def test_a_fault_counts_the_time_that_it_took() -> None:
    world = Cards(verl_search(budget={"candidates": 1}))

    def failing(request: TaskRequest) -> TaskResult:
        if request.kind is TaskKind.TRAIN and "-full-" in request.name:
            return TaskResult(fault=TaskFault(reason="TrainingFailed", message="no weights"), seconds=33.0)
        return world.timed(request)

    world.respond = failing
    for _ in range(200):
        World.settle(world)
        if not world.running:
            break
        World.finish(world, sorted(world.running)[0])
    assert world.search.status.phase is SearchPhase.FAILED
    assert world.search.status.gpus is not None
    assert world.search.status.gpus.spent_seconds == pytest.approx(GPUS * (10 + 33))


def test_what_was_deleted_or_begun_anew_stays_counted() -> None:
    world = Cards(verl_search())
    world.run(random.Random(0))
    before = world.search.status.gpus
    assert before is not None
    gone = GPUS * (TRAINING["full"] + SCORING)
    del world.evaluations["s-001-0-full-0"]
    world.settle()
    after = world.search.status.gpus
    assert after is not None
    assert after.spent_seconds == pytest.approx(before.spent_seconds)
    assert after.counted_seconds == pytest.approx(before.counted_seconds - gone)


ON_PROCESSORS: dict[str, Any] = {"verl": {**VERL, "platform": "cpu", "rollout": {"engine": "hf"}}}


def test_a_cap_is_of_no_use_where_there_is_no_gpu() -> None:
    budget = {"candidates": 2, "gpuHours": 3.0}
    for refused in (lambda: make_search(budget=budget), lambda: verl_search(ON_PROCESSORS, budget=budget)):
        with pytest.raises(ValueError, match=r"budget\.gpuHours caps engine verl on platform cuda.*remove"):
            refused()


def test_a_search_by_verl_on_processors_counts_no_gpu_hours() -> None:
    world = World(verl_search(ON_PROCESSORS, budget={"candidates": 2}))
    world.run(random.Random(0))
    assert world.search.status.phase is SearchPhase.COMPLETE
    assert world.search.status.gpus is None


def test_a_run_that_has_ended_but_is_not_in_its_status_yet_is_still_set_aside() -> None:
    world = Cards(verl_search(budget={"candidates": 1}))
    while "s-000-0-full-0-train" not in world.running:
        world.settle()
        if "s-000-0-full-0-train" not in world.running:
            world.finish(sorted(world.running)[0])
    world.finish("s-000-0-full-0-train")
    observed = world.observe()
    assert observed.tasks["s-000-0-full-0-train"].state is TaskState.ENDED
    (update,) = [action for action in plan(observed) if getattr(action, "resource", None).__class__ is Search]
    gpus = update.resource.status.gpus  # type: ignore[union-attr]
    assert gpus.reserved_seconds == pytest.approx(GPUS * TRAINING["full"])
