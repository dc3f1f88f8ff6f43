"""Input of tasks in parts: what the pod mounts, what the objects hold, and what may go wrong between any two of them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import itertools
import json
import random
import re
import string
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller import inputs, manifests, reconcile
from controller.api import ApiError, Document
from controller.jobs import JobView, job_name, view
from controller.settings import Settings
from poise_lib.artifacts.digest import canonical_json
from poise_lib.errors import InvalidInputError
from poise_lib.resources import Search
from poise_lib.resources.search import SearchPhase
from poise_lib.tasks.protocol import SPLIT_KINDS, TaskKind, TaskRequest
from tests.unit.controller.double import KEY, Controller, Crashed, Server, drive, started, undisturbed

SETTINGS = Settings(worker_image="worker")
NAME = "s-001-0-full-0-train"
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def request(kind: TaskKind = TaskKind.TRAIN, name: str = NAME, **content: Any) -> TaskRequest:
    return TaskRequest(kind=kind, name=name, input=content)


def noise(size: int) -> str:
    return "".join(random.Random(size).choices(string.ascii_letters, k=size))


def whole(of: TaskRequest) -> bytes:
    """A request compressed, by other means than the controller's."""
    return gzip.compress(canonical_json(of.to_document()), mtime=0)


def job_of(of: TaskRequest, parts: int = 1) -> Document:
    """A Job as the API server has it."""
    metadata = {"name": "s" * 30, "namespace": "team", "uid": "search-uid"}
    search = Search.model_validate({"metadata": metadata, "spec": {"budget": {"candidates": 2}}})
    job = manifests.job(of, 1, search, SETTINGS, parts)
    job["metadata"] |= {"uid": "job-uid", "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return job


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.inputs.PART_BYTES", 100)
    monkeypatch.setattr("controller.inputs.MAX_PARTS", 99)


# --- documents ----------------------------------------------------------------------------------------------------------


def test_input_that_one_object_holds_is_one_config_map_and_a_plain_volume() -> None:
    wanted = request(source="x", seed=1)
    (part,) = inputs.packed(wanted)
    assert part == whole(wanted)
    job = job_of(wanted)
    name = f"{NAME}-1"
    (document,) = inputs.documents((part,), job)
    assert document == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": "team",
            "labels": job["metadata"]["labels"],
            "ownerReferences": [
                {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": "job-uid", "controller": True}
            ],
        },
        "immutable": True,
        "binaryData": {"request.json.gz": base64.b64encode(whole(wanted)).decode()},
    }
    spec = job["spec"]["template"]["spec"]
    assert spec["volumes"][0] == {"name": "input", "configMap": {"name": name}}
    for container in [*spec["initContainers"], *spec["containers"]]:
        assert container["args"][:2] == ["--request", "/input/request.json.gz"]
        assert container["args"][2].startswith("--")


@given(size=st.integers(0, 3000), part=st.integers(1, 900))
@settings(max_examples=100)
def test_parts_are_the_whole_cut_at_the_bound_and_never_more_than_the_most(size: int, part: int) -> None:
    wanted = request(source=noise(size))
    data = whole(wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "PART_BYTES", part)
        if len(data) > part * inputs.MAX_PARTS:
            with pytest.raises(
                InvalidInputError, match=f"{NAME} has {len(data)} bytes compressed, too many for 16 obj"
            ):
                inputs.packed(wanted)
            return
        parts = inputs.packed(wanted)
    assert b"".join(parts) == data
    assert all(len(piece) == part for piece in parts[:-1])
    assert 0 < len(parts[-1]) <= part


def test_the_same_request_has_the_same_parts() -> None:
    assert inputs.packed(request(a=1, b=2)) == inputs.packed(request(b=2, a=1))


def test_the_bound_itself_is_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(whole(request()))
    monkeypatch.setattr(inputs, "PART_BYTES", 1)
    monkeypatch.setattr(inputs, "MAX_PARTS", size)
    assert len(inputs.packed(request())) == size
    monkeypatch.setattr(inputs, "MAX_PARTS", size - 1)
    with pytest.raises(InvalidInputError):
        inputs.packed(request())


def test_what_compresses_well_is_one_part_and_noise_of_a_megabyte_two() -> None:
    assert len(inputs.packed(request(source="a" * 5_000_000))) == 1
    assert len(inputs.packed(request(source=random.Random(0).randbytes(1_000_000).hex()))) == 2


@pytest.mark.parametrize("kind", list(TaskKind))
@pytest.mark.parametrize("count", [2, 3, 16])
def test_parts_are_owned_named_in_order_and_within_the_bounds_of_an_object(kind: TaskKind, count: int) -> None:
    job = job_of(request(kind, "c" * 63 + f"-{kind.value}"), count)
    made = list(inputs.documents([bytes([index]) * inputs.PART_BYTES for index in range(count)], job))
    names = [item["metadata"]["name"] for item in made]
    files = [next(iter(item["binaryData"])) for item in made]
    assert names[0] == job["metadata"]["name"]
    assert sorted(set(names)) == names
    assert sorted(set(files)) == files
    assert not set(names[1:]) & {job_name(task, attempt) for task in names for attempt in range(20)}
    for index, item in enumerate(made):
        assert len(item["metadata"]["name"]) <= 253
        assert SUBDOMAIN.fullmatch(item["metadata"]["name"])
        assert re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", files[index])
        assert item["metadata"]["labels"] == job["metadata"]["labels"]
        assert item["metadata"]["ownerReferences"][0]["uid"] == "job-uid"
        assert item["immutable"] is True
        assert len(json.dumps(item)) < 1 << 20
        assert base64.b64decode(item["binaryData"][files[index]])[0] == index
    spec = job["spec"]["template"]["spec"]
    sources = [{"configMap": {"name": name, "optional": False}} for name in names]
    assert spec["volumes"][0] == {"name": "input", "projected": {"sources": sources}}
    containers = [*spec.get("initContainers", []), *spec["containers"]]
    assert len(containers) == (3 if kind in SPLIT_KINDS else 1)
    for container in containers:
        assert container["args"][: count + 2] == [
            "--request",
            *(f"/input/{file}" for file in files),
            container["args"][count + 1],
        ]
        assert container["args"][count + 1].startswith("--")
        assert {"name": "input", "mountPath": "/input", "readOnly": True} in container["volumeMounts"]
    assert seen(job).inputs == tuple(names)


def seen(job: Document) -> JobView:
    found = view(job)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("volumes", "expected"),
    [
        (None, ()),
        ([], ()),
        ([{"name": "other", "configMap": {"name": "x"}}], ()),
        ([{"name": "input", "emptyDir": {}}], ()),
        ([{"name": "input", "projected": {"sources": None}}], ()),
        ([{"name": "input", "projected": {"sources": [{"secret": {}}, {"configMap": {"name": "a"}}]}}], ("a",)),
        ([{"name": "input", "configMap": {"name": "a"}}], ("a",)),
    ],
)
def test_a_job_that_only_looks_like_ours_is_looked_at_without_harm(volumes: Any, expected: tuple[str, ...]) -> None:
    job = job_of(request())
    job["spec"]["template"]["spec"]["volumes"] = volumes
    assert seen(job).inputs == expected


# --- between any two requests -------------------------------------------------------------------------------------------


def parts_of(server: Server, name: str) -> dict[str, Document]:
    """The ConfigMaps with a Job's input, whosever they are."""
    return {
        found: item
        for (plural, _, found), item in server.objects.items()
        if plural == "configmaps" and (found == name or found.startswith(f"{name}."))
    }


FIRST = "s-000-0-implement-1-1"
PARTS = [FIRST, f"{FIRST}.02", f"{FIRST}.03"]


async def persist(server: Server, controller: Controller, chance: random.Random) -> None:
    """As :func:`drive`, whatever the requests come to; the garbage collector takes its time."""
    for _ in range(5000):
        controller.watches.advance()
        for refusal in controller.reconciler.refusals.values():
            refusal.until = 0.0
        try:
            await controller.reconciler(KEY)
        except (ApiError, OSError):
            continue
        finally:
            if chance.random() < 0.5:
                server.collect()
        if running := server.jobs():
            server.finish(chance.choice(running))
        elif server.search.status.phase is SearchPhase.COMPLETE:
            return
    raise AssertionError("the search does not end")


def at(which: int) -> Callable[[str, str], bool]:
    """Whether a request is this one of those that create a Job and its input."""
    counter = itertools.count()

    def match(method: str, path: str) -> bool:
        return method == "POST" and path.endswith(("/jobs", "/configmaps")) and next(counter) == which

    return match


@pytest.mark.usefixtures("small_parts")
def test_the_pod_waits_for_all_parts_and_gets_the_whole() -> None:
    server, controller = started()
    asyncio.run(controller.reconcile())
    assert server.jobs() == [FIRST]
    assert list(parts_of(server, FIRST)) == PARTS
    assert server.request(FIRST).name == "s-000-0-implement-1"
    for part in PARTS:
        kept = server.objects.pop(("configmaps", KEY[0], part))
        assert server.jobs() == []
        server.objects["configmaps", KEY[0], part] = kept


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("which", range(1 + len(PARTS)))
def test_killed_at_any_request_of_a_start_the_next_controller_ends_in_the_same_archive(which: int, moment: str) -> None:
    server, controller = started()
    match = at(which)

    def die(method: str, path: str) -> None:
        if match(method, path):
            raise Crashed

    setattr(controller.api, moment, die)
    with pytest.raises(Crashed):
        asyncio.run(controller.reconcile())
    assert len(parts_of(server, FIRST)) == max(0, which - (moment == "before"))
    assert server.jobs() == ([FIRST] if (which, moment) == (len(PARTS), "after") else [])
    asyncio.run(drive(server, Controller(server), random.Random(which)))
    assert server.archive() == undisturbed()
    assert set(server.worked.values()) == {1}


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("lost", ["request", "answer", "answer, and then all of the Job's deletion"])
@pytest.mark.parametrize("which", range(1 + len(PARTS)))
@pytest.mark.parametrize("lazy", [False, True])
def test_a_request_of_a_start_that_is_lost_leaves_no_job_without_its_input(which: int, lost: str, lazy: bool) -> None:
    server, controller = started()
    server.lazy = lazy
    match, failing = at(which), False

    def lose(method: str, path: str) -> None:
        nonlocal failing
        if match(method, path):
            failing = lost.endswith("deletion")
            raise TimeoutError
        if failing and method == "DELETE":
            failing = False
            raise TimeoutError

    setattr(controller.api, "before" if lost == "request" else "after", lose)
    if lost.endswith("deletion"):
        controller.api.before = lambda method, path: lose(method, path) if method == "DELETE" else None
    with pytest.raises(TimeoutError):
        asyncio.run(controller.reconcile())
    it_starts(server, controller)


@pytest.mark.usefixtures("small_parts")
@given(order=st.integers(0, 2**32))
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_killed_between_any_two_requests_of_a_whole_search_it_ends_in_the_same_archive(order: int) -> None:
    chance = random.Random(order)
    server, controller = started()
    server.lazy = chance.random() < 0.5
    most = 0

    def maybe_die(method: str, path: str) -> None:
        nonlocal most
        most = max([most, *(len(parts_of(server, job)) for job in server.jobs(running=False))])
        if chance.random() < 0.03:
            raise Crashed

    async def live() -> None:
        nonlocal controller
        while True:
            controller.api.before = controller.api.after = maybe_die
            try:
                return await persist(server, controller, chance)
            except Crashed:
                controller = Controller(server)

    asyncio.run(live())
    assert most > 5
    assert server.archive() == undisturbed()
    assert set(server.worked.values()) == {1}


def it_starts(server: Server, controller: Controller) -> None:
    """The first Job runs in the end, and all of its input is its own."""
    for _ in range(4):
        server.collect()
        for refusal in controller.reconciler.refusals.values():
            refusal.until = 0.0
        with contextlib.suppress(TimeoutError):
            asyncio.run(controller.reconcile())
    assert server.jobs() == server.jobs(running=False) == [FIRST]
    uid = server.objects["jobs", KEY[0], FIRST]["metadata"]["uid"]
    server.collect()
    found = parts_of(server, FIRST)
    assert list(found) == PARTS
    assert {item["metadata"]["ownerReferences"][0]["uid"] for item in found.values()} == {uid}
    assert server.request(FIRST).input["algorithm"] == "grpo"


LEFT = [left for count in range(1, 4) for left in itertools.combinations(PARTS, count)]


def left_over(left: tuple[str, ...]) -> tuple[Server, Controller]:
    """A cluster where the first Job was deleted and the garbage collector has yet to take these of its parts.

    They are of another request, as after a search of the same name with another baseline.
    """
    server, controller = started()
    server.lazy = True
    asyncio.run(controller.reconcile())
    other = server.request(FIRST)
    parts = inputs.packed(other.model_copy(update={"input": {**other.input, "algorithm": "dapo"}}))
    for document in inputs.documents(parts, server.objects["jobs", KEY[0], FIRST]):
        name = document["metadata"]["name"]
        server.objects["configmaps", KEY[0], name]["binaryData"] = document["binaryData"]
        if name not in left:
            del server.objects["configmaps", KEY[0], name]
    server.delete(("jobs", KEY[0], FIRST))
    return server, controller


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("left", LEFT)
def test_what_a_deleted_job_has_left_is_waited_for_and_not_taken(left: tuple[str, ...]) -> None:
    server, controller = left_over(left)
    soon = asyncio.run(controller.reconcile())
    assert soon is not None
    assert 1 < soon <= reconcile.STALE_INPUT_SECONDS
    assert server.jobs(running=False) == []
    server.collect()
    assert not parts_of(server, FIRST)
    it_starts(server, controller)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("ends", [False, True], ids=["it runs on", "it has ended"])
@pytest.mark.parametrize("left", LEFT)
def test_a_job_that_found_such_parts_when_we_died_is_begun_anew(left: tuple[str, ...], ends: bool) -> None:
    server, controller = left_over(left)
    match = at(0)

    def die(method: str, path: str) -> None:
        if match(method, path):
            raise Crashed

    controller.api.after = die
    with pytest.raises(Crashed):
        asyncio.run(controller.reconcile())
    assert server.jobs() == ([FIRST] if len(left) == len(PARTS) else []), "a kubelet asks nobody whose they are"
    if ends and server.jobs():
        server.finish(FIRST)
    after = Controller(server)
    asyncio.run(after.reconcile())  # while they are still there
    it_starts(server, after)


@pytest.mark.usefixtures("small_parts")
def test_a_quota_that_bites_at_a_later_part_is_told_and_leaves_nothing_running() -> None:
    server, controller = started()
    match = at(2)

    def refuse(method: str, path: str) -> None:
        if match(method, path):
            raise ApiError(403, "Forbidden", "exceeded quota: objects")

    controller.api.before = refuse
    asyncio.run(controller.reconcile())
    assert server.jobs(running=False) == []
    assert not parts_of(server, FIRST)
    stalled = next(item for item in server.search.status.conditions if item.type == "Stalled")
    assert stalled.message.endswith("exceeded quota: objects")
