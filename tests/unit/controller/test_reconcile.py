"""Whole searches against a double of the API server, undisturbed and with everything that may go wrong in between."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller import reconcile, refusals
from controller.api import ApiError
from poise_lib import __version__
from poise_lib.names import API_VERSION
from poise_lib.resources.candidate import CandidatePhase
from poise_lib.resources.search import SearchPhase
from poise_lib.tasks.protocol import TaskKind, TaskRequest, TaskResult
from tests.unit.controller.double import (
    KEY,
    Controller,
    Crashed,
    Server,
    apply_search,
    drive,
    started,
    tiny,
    undisturbed,
)
from tests.unit.search.world import answer


def condition(server: Server, kind: str) -> tuple[str, str]:
    found = next(item for item in server.search.status.conditions if item.type == kind)
    return found.status.value, found.message


def test_a_search_runs_to_its_end_and_leaves_nothing_behind() -> None:
    server, controller = started()
    asyncio.run(drive(server, controller, random.Random(1)))
    assert server.search.status.phase is SearchPhase.COMPLETE
    assert server.archive() == undisturbed()
    assert set(server.worked.values()) == {1}
    jobs = [item for (plural, _, _), item in server.objects.items() if plural == "jobs"]
    assert all("ttlSecondsAfterFinished" in job["spec"] for job in jobs)
    assert controller.reconciler.results == {KEY: {}}
    assert controller.reconciler.faults == {KEY: {}}
    controller.watches.advance()
    assert all(not kept for overlay in controller.reconciler.overlays.values() for kept in overlay.removed.values())


def test_nothing_is_written_when_nothing_has_changed() -> None:
    server, controller = started()
    asyncio.run(drive(server, controller, random.Random(1)))
    asyncio.run(controller.reconcile())
    before = controller.api.writes
    asyncio.run(controller.reconcile())
    assert controller.api.writes == before
    fresh = Controller(server)
    asyncio.run(fresh.reconcile())
    assert fresh.api.writes == 0  # the claim and the policy are refused: they are there


@given(order=st.integers(0, 2**32))
@settings(max_examples=15)
def test_a_controller_killed_between_any_two_requests_ends_in_the_same_archive(order: int) -> None:
    chance = random.Random(order)
    server, controller = started()

    def maybe_die(method: str, path: str) -> None:
        if chance.random() < 0.06:
            raise Crashed

    async def live() -> None:
        nonlocal controller
        for _ in range(5000):
            controller.api.before = controller.api.after = maybe_die
            try:
                await controller.reconcile()
            except Crashed:
                controller = Controller(server)
                continue
            if not (running := server.jobs()):
                return
            server.finish(chance.choice(running))
        raise AssertionError("the search does not end")

    asyncio.run(live())
    assert server.search.status.phase is SearchPhase.COMPLETE
    assert server.archive() == undisturbed()
    assert set(server.worked.values()) == {1}


@given(order=st.integers(0, 2**32))
@settings(max_examples=4)
def test_lost_answers_errors_and_late_watches_end_in_the_same_archive(order: int) -> None:
    chance = random.Random(order)
    server, controller = started()
    reconciler, watches = controller.reconciler, controller.watches

    def fail(method: str, path: str) -> None:
        draw = chance.random()
        if draw < 0.03:
            raise ApiError(500, "InternalError", "etcd is away")
        if draw < 0.05:
            raise TimeoutError
        if draw < 0.06:
            raise ApiError(429, "TooManyRequests", "later")
        if draw < 0.2:
            watches.advance(chance.randrange(3))  # the watches go on while a request is under way

    controller.api.before = controller.api.after = fail

    async def live() -> None:
        for _ in range(5000):
            watches.advance(chance.randrange(6))
            try:
                await reconciler(KEY)
            except (ApiError, OSError):
                continue
            if chance.random() < 0.1 and (jobs := server.jobs(running=False)):
                server.delete(("jobs", KEY[0], chance.choice(jobs)))
            elif running := server.jobs():
                server.finish(chance.choice(running))
            elif server.search.status.phase is SearchPhase.COMPLETE and watches.seen == len(server.events):
                return
            for refusal in reconciler.refusals.values():
                refusal.until = 0.0
        raise AssertionError("the search does not end")

    asyncio.run(live())
    assert server.archive() == undisturbed()


def test_a_job_without_its_input_is_begun_anew() -> None:
    server, controller = started()

    def die(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/configmaps"):
            raise Crashed

    controller.api.before = die
    with pytest.raises(Crashed):
        asyncio.run(controller.reconcile())
    (orphan,) = server.jobs(running=False)
    uid = server.objects["jobs", KEY[0], orphan]["metadata"]["uid"]
    asyncio.run(Controller(server).reconcile())
    assert server.jobs() == [orphan]
    assert server.objects["jobs", KEY[0], orphan]["metadata"]["uid"] != uid


def test_a_lost_answer_to_the_input_leaves_no_job_that_waits_for_ever() -> None:
    server, controller = started()

    def lose(method: str, path: str) -> None:
        if method in ("POST", "DELETE") and ("/configmaps" in path or "/jobs/" in path):
            raise TimeoutError

    controller.api.before = lose
    with pytest.raises(TimeoutError):
        asyncio.run(controller.reconcile())
    assert server.jobs(running=False)
    assert not server.jobs()
    controller.api.before = lambda method, path: None
    asyncio.run(controller.reconcile())
    assert server.jobs() == server.jobs(running=False) != []


def test_input_of_a_deleted_job_is_not_taken_for_that_of_the_next() -> None:
    server, controller = started()
    server.lazy = True
    asyncio.run(controller.reconcile())
    (name,) = server.jobs()
    server.delete(("jobs", KEY[0], name))
    soon = asyncio.run(controller.reconcile())
    assert soon is not None
    assert soon <= reconcile.STALE_INPUT_SECONDS
    assert server.jobs(running=False) == []
    server.collect()
    controller.reconciler.refusals[KEY].until = 0.0
    asyncio.run(controller.reconcile())
    assert server.jobs() == [name]
    server.collect()
    assert server.jobs() == [name]


def test_what_has_the_name_of_an_input_is_told_and_waited_for() -> None:
    server, controller = started()
    name = "s-000-0-implement-1-1"
    server.create("configmaps", KEY[0], {"kind": "ConfigMap", "metadata": {"name": name}, "data": {}})
    soon = asyncio.run(controller.reconcile())
    assert soon is not None
    assert soon > reconcile.STALE_INPUT_SECONDS, "nothing will take it away soon"
    reason, message = condition(server, "Stalled")
    assert f"ConfigMap {name} is there already" in message, reason
    assert server.jobs(running=False) == []
    server.delete(("configmaps", KEY[0], name))
    controller.reconciler.refusals[KEY].until = 0.0
    asyncio.run(drive(server, controller, random.Random(0)))
    assert server.archive() == undisturbed()


def test_a_task_whose_input_is_too_large_fails_its_candidate_and_leaves_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def bloat(request: TaskRequest) -> TaskResult:
        result = answer(request)
        if request.kind is TaskKind.IMPLEMENT and "s-001-0" in request.name and result.output is not None:
            noise = random.Random(1)
            result.output["source"] = "".join(noise.choices("abcdefghijklmnopqrstuvwxyz", k=20_000))
        return result

    monkeypatch.setattr("controller.inputs.PART_BYTES", 4_500)
    monkeypatch.setattr("controller.inputs.MAX_PARTS", 2)
    server = Server(bloat)
    apply_search(server, tiny())
    controller = Controller(server)
    asyncio.run(drive(server, controller, random.Random(0)))
    failed = next(item for item in controller.watches.candidates(KEY) if item.metadata.name == "s-001-0")
    assert failed.status.phase is CandidatePhase.FAILED
    assert "too many for 2 objects" in failed.status.message
    assert not any("s-001-0-verify" in name for name in server.worked)
    assert server.search.status.phase is SearchPhase.COMPLETE
    assert controller.reconciler.faults == {KEY: {}}


@pytest.mark.parametrize("where", ["/jobs", "/configmaps", "/persistentvolumeclaims"])
def test_a_quota_that_bites_is_a_condition_and_no_hot_loop(where: str) -> None:
    server, controller = started()
    asked = 0

    def refuse(method: str, path: str) -> None:
        nonlocal asked
        if method == "POST" and path.endswith(where):
            asked += 1
            raise ApiError(403, "Forbidden", f"exceeded quota: small, used {asked}")

    controller.api.before = refuse
    for _ in range(5):
        later = asyncio.run(controller.reconcile())
        assert later is not None
        assert 1 < later <= refusals.HOLD_SECONDS
    assert asked == 1
    status, message = condition(server, "Stalled")
    assert status == "True"
    assert message.endswith("exceeded quota: small, used 1")
    assert not server.jobs(running=False)
    controller.api.before = lambda method, path: None
    controller.reconciler.refusals[KEY].until = 0.0
    asyncio.run(controller.reconcile())
    assert condition(server, "Stalled") == ("False", "")
    assert server.jobs()


def test_a_template_that_asks_for_the_artifacts_is_told_and_starts_nothing() -> None:
    volumes = [{"claimName": "poise-artifacts", "mountPath": "/data"}]
    server, controller = started(tiny(evaluation={"template": {"volumes": volumes}}))
    asyncio.run(controller.reconcile())
    assert not server.jobs(running=False)
    status, message = condition(server, "Stalled")
    assert status == "True"
    assert "evaluation.template.volumes" in message


def test_an_object_that_nobody_can_read_is_told_once_and_the_rest_goes_on() -> None:
    server, controller = started()
    while "s-001-0" not in {name for _, _, name in server.objects}:
        asyncio.run(controller.reconcile())
        if running := server.jobs():
            server.finish(running[0])
    broken = server.objects["candidates", KEY[0], "s-001-0"]
    broken["spec"]["unheardOf"] = 1
    server.put(("candidates", KEY[0], "s-001-0"), broken, "MODIFIED")
    for _ in range(50):
        asyncio.run(controller.reconcile())
        if running := server.jobs():
            server.finish(running[0])
    told = [
        item for (plural, _, _), item in server.objects.items() if plural == "events" and item["reason"] == "Unreadable"
    ]
    assert len(told) == 1
    assert told[0]["type"] == "Warning"
    assert "unheardOf" in told[0]["message"]
    assert "Candidate s-001-0 does not fit its model" in condition(server, "Stalled")[1]
    others = {
        item.metadata.name: item.status.phase for item in controller.watches.candidates(KEY) if hasattr(item, "status")
    }
    assert set(others.values()) <= {CandidatePhase.ARCHIVED, CandidatePhase.FAILED, CandidatePhase.REJECTED}
    before = controller.api.writes
    asyncio.run(controller.reconcile())
    assert controller.api.writes == before
    server.delete(("candidates", KEY[0], "s-001-0"))
    asyncio.run(drive(server, controller, random.Random(0)))
    assert server.search.status.phase is SearchPhase.COMPLETE


def test_jobs_of_an_earlier_search_of_the_same_name_are_not_ours() -> None:
    server, controller = started()
    server.lazy = True
    asyncio.run(controller.reconcile())
    (name,) = server.jobs()
    server.finish(name)
    server.delete(("searches", *KEY))
    apply_search(server, tiny(seed=7))
    asyncio.run(controller.reconcile())
    controller.watches.advance()
    assert all(item.status.implementation is None for item in controller.watches.candidates(KEY))
    server.collect()
    server.lazy = False
    asyncio.run(drive(server, controller, random.Random(0)))
    assert server.search.status.phase is SearchPhase.COMPLETE


def test_a_search_deleted_while_tasks_run_keeps_its_archive_and_goes_on_when_it_is_back() -> None:
    server, controller = started()
    for _ in range(12):
        asyncio.run(controller.reconcile())
        server.finish(server.jobs()[0])
    asyncio.run(controller.reconcile())
    server.delete(("searches", *KEY))
    asyncio.run(controller.reconcile())
    assert not server.jobs(running=False)
    assert not controller.reconciler.results
    assert any(plural == "candidates" for plural, _, _ in server.objects)
    apply_search(server, tiny())
    asyncio.run(drive(server, controller, random.Random(3)))
    assert server.archive() == undisturbed()
    assert set(server.worked.values()) == {1}


def by_hand(server: Server, source: str) -> None:
    spec = {"search": KEY[1], "round": 0, "slot": 9, "proposal": {"title": "mine", "hypothesis": "It works."}}
    spec = {**spec, "source": source}
    body = {"apiVersion": API_VERSION, "kind": "Candidate", "metadata": {"name": "mine"}, "spec": spec}
    server.create("candidates", KEY[0], body)


def test_a_candidate_written_anew_gets_no_result_of_the_one_that_had_its_name() -> None:
    """Deleted and made again while nobody looks: its tasks have the names of the old one's, and other input."""
    server, controller = started()
    by_hand(server, "# the first")
    asyncio.run(controller.reconcile())
    server.finish("mine-implement-1-1")
    server.delete(("candidates", KEY[0], "mine"))
    by_hand(server, "# the second")
    asyncio.run(controller.reconcile())
    request = server.request("mine-implement-1-2")
    assert request.input["source"] == "# the second"
    asyncio.run(drive(server, controller, random.Random(0)))
    done = server.objects["candidates", KEY[0], "mine"]["status"]
    wanted = server.store[request.digest].output
    assert wanted is not None
    assert (done["phase"], done["implementation"]["source"]) == ("Archived", wanted["source"])


def test_a_task_of_another_build_is_taken_as_it_is() -> None:
    """An upgrade in the middle repeats nothing."""
    server, controller = started()
    asyncio.run(controller.reconcile())
    (name,) = server.jobs()
    server.finish(name)
    job = server.objects["jobs", KEY[0], name]
    assert job["metadata"]["annotations"]["poise.dev/input"].startswith(f"{__version__}/")
    job["metadata"]["annotations"]["poise.dev/input"] = "0.0.9/0123"
    asyncio.run(Controller(server).reconcile())
    assert not [other for other in server.jobs(running=False) if other.endswith("-2")]


def test_evaluations_begun_anew_for_other_code_never_show_the_old_results_as_those_of_the_new() -> None:
    """The annotation says which code the results are of; a crash between the two writes must not make it lie."""
    server, controller = started()
    asyncio.run(drive(server, controller, random.Random(0)))
    where = ("evaluations", KEY[0], "s-000-0-full-0")
    run = server.objects[where]
    digest = run["metadata"]["annotations"]["poise.dev/source-digest"]
    root = server.objects["candidates", KEY[0], "s-000-0"]
    root["status"]["implementation"] |= {"source": "other", "digest": "sha256:" + "1" * 64}
    root["status"] |= {"phase": "Evaluating"}
    server.put(("candidates", KEY[0], "s-000-0"), root, "MODIFIED")

    def die(method: str, path: str) -> None:
        if method != "GET" and path.endswith(("/s-000-0-full-0", "/s-000-0-full-0/status")):
            raise Crashed

    controller.api.after = die
    with pytest.raises(Crashed):
        asyncio.run(controller.reconcile())
    now = server.objects[where]
    assert now["metadata"]["annotations"]["poise.dev/source-digest"] == digest
    assert not now["status"].get("metrics")


def test_a_candidate_deleted_before_the_watch_told_does_not_stay_in_the_picture() -> None:
    server, controller = started()
    asyncio.run(controller.reconcile())
    (name,) = server.jobs()
    server.finish(name)

    def vanish(method: str, path: str) -> None:
        if method == "PUT" and path.endswith("/candidates/s-000-0/status"):
            controller.api.after = lambda method, path: None
            server.delete(("candidates", KEY[0], "s-000-0"))
            controller.watches.advance()

    controller.api.after = vanish
    asyncio.run(controller.reconcile())
    asyncio.run(controller.reconcile())
    assert ("candidates", KEY[0], "s-000-0") in server.objects
    asyncio.run(drive(server, controller, random.Random(0)))
    assert server.archive() == undisturbed()


def test_a_task_that_the_cluster_keeps_taking_away_is_tried_with_pauses_and_given_up_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = 1_767_225_600.0  # when the double's Jobs are created
    monkeypatch.setattr("controller.reconcile.time.time", lambda: clock)
    server, controller = started(tiny(budget={"candidates": 1, "attempts": 2}))
    attempts = 0
    for _ in range(500):
        asyncio.run(controller.reconcile())
        if server.search.status.phase is SearchPhase.FAILED:
            break
        if running := server.jobs():
            attempts += 1
            server.pod(running[0], {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."})
            server.end(running[0], "Failed")
        else:
            assert attempts > 3
            clock += 300.0
    assert attempts == 52
    assert "The node was low on memory" in server.search.status.message


def test_suspending_lets_tasks_end_and_starts_no_more() -> None:
    server, controller = started()
    asyncio.run(controller.reconcile())
    search = server.objects["searches", *KEY]
    search["spec"]["suspend"] = True
    server.put(("searches", *KEY), search, "MODIFIED")
    asyncio.run(drive(server, controller, random.Random(0)))
    assert server.search.status.phase is SearchPhase.SUSPENDED
    search = server.objects["searches", *KEY]
    search["spec"]["suspend"] = False
    server.put(("searches", *KEY), search, "MODIFIED")
    asyncio.run(drive(server, controller, random.Random(0)))
    assert server.archive() == undisturbed()
