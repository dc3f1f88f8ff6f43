"""Several tenants of one controller: namespaces that go, searches of one name, searches of very different size.

Kubernetes' own controllers run, and no node: what is deleted takes along what it owns, and no pod starts.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Final

import pytest
import yaml
from kubernetes.aio import client, config

from controller.api import CONFIG_MAPS, JOBS, Api, Version
from tests.integration.kube.documents import merged, minimal
from tests.integration.kube.test_controller import FIRST, Bench
from tests.kube import chart
from tests.kube.client import ApiError, Client, Document, namespaced
from tests.kube.cluster import ControlPlane
from tests.kube.controller import Controller, eventually, running

OURS: Final = (
    "searches",
    "candidates",
    "evaluations",
    "jobs",
    "configmaps",
    "persistentvolumeclaims",
    "networkpolicies",
)
QUEUE: Final = "team"
"""Jobs that wait for a queue are left alone by Kubernetes' controllers too."""
CANDIDATES: Final = 300
CONCURRENT: Final = 20
MOST_COMPLAINTS: Final = 10
"""About a namespace that goes: a few requests meet what has gone already, each of them once."""


@pytest.fixture(scope="module")
def operator(controllers: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """One controller for the whole cluster."""
    with running(controllers, tmp_path_factory.mktemp("controller"), "tenancy") as controller:
        yield controller


class Team(Bench):
    """A namespace, and its objects as the API server has them."""

    def names(self, plural: str) -> set[str]:
        return {item["metadata"]["name"] for item in self.ours(plural)}

    def ours(self, plural: str) -> list[Document]:
        """The objects of a kind, without what Kubernetes puts into every namespace and what nobody can read."""
        left_out = ("kube-root-ca.crt", "stray-")
        return [item for item in self.items(plural) if not item["metadata"]["name"].startswith(left_out)]

    def uids(self) -> dict[tuple[str, str], str]:
        return {
            (plural, item["metadata"]["name"]): item["metadata"]["uid"] for plural in OURS for item in self.ours(plural)
        }

    def versions(self) -> dict[tuple[str, str], str]:
        """Which state of each object there is; who has written anything has changed this."""
        return {
            (plural, item["metadata"]["name"]): item["metadata"]["resourceVersion"]
            for plural in OURS
            for item in self.ours(plural)
        }

    def settled(self, name: str = FIRST) -> None:
        """Wait for a Job, its input, and the mark of Kubernetes' own controller that it is suspended."""

        def suspended() -> bool:
            conditions = self.job(name).get("status", {}).get("conditions", ())
            return any(item["type"] == "Suspended" for item in conditions)

        eventually(suspended, f"a suspended Job {name}")
        eventually(lambda: self.get("configmaps", name), f"the input of {name}")

    def again(self, name: str, uid: str) -> None:
        """Wait for another Job of a name."""

        def another() -> bool:
            found = self.get("jobs", name)
            return found is not None and found["metadata"]["uid"] != uid

        eventually(another, f"another Job {name}")

    def looked_at(self, *strays: int) -> None:
        """Wait until the controller has looked at the search from beginning to end.

        It tells of each object that it cannot read once; when it tells of the second, it is done with the first.
        """
        events, spec = namespaced("v1", self.namespace, "events"), {"search": "tiny", "candidate": "nobody"}
        for stray in map("stray-{}".format, strays):
            self.client.create(self.path("evaluations"), merged(minimal("Evaluation", stray), {"spec": spec}))
            broken = {"status": {"metrics": {"my metric": 1.0}}}
            self.client.patch(self.path("evaluations", stray, "status"), broken)
            query = {"fieldSelector": f"involvedObject.name={stray},reason=Unreadable"}
            eventually(lambda query=query: self.client.get(events, **query)["items"], f"news of {stray}")  # type: ignore[misc]

    def started(self, candidate: str) -> Document | None:
        """A candidate once its status says that it is being implemented: written once, and not again without a pod."""
        found = self.get("candidates", candidate)
        return found if found and begun_with(found) else None

    def archive_baseline(self) -> None:
        """Write what would be there had the baseline run to its end."""
        status = {"phase": "Archived", "utility": 50.0, "metrics": {"overall": 50.0}}
        self.client.patch(self.path("candidates", "tiny-000-0", "status"), {"status": status})


@pytest.fixture
def teams(operator: Controller, controllers: ControlPlane, namespace: str) -> Iterator[tuple[Team, Team]]:
    found = tuple(Team(controllers.client, controllers.create_namespace(f"{namespace}-{name}")) for name in ("a", "b"))
    yield found[0], found[1]
    for team in found:
        team.client.delete(team.path("searches"))


def test_one_name_in_two_namespaces(teams: tuple[Team, Team]) -> None:
    """Whatever happens to the one, nothing of the other is written."""
    mine, theirs = teams
    for team in teams:
        team.apply(queueName=QUEUE)
    for team in teams:
        team.settled()
        search, job = team.search()["metadata"]["uid"], team.job(FIRST)["metadata"]
        assert [owner["uid"] for owner in job["ownerReferences"]] == [search]
        (request,) = team.ours("configmaps")
        assert [owner["uid"] for owner in request["metadata"]["ownerReferences"]] == [job["uid"]]
    assert mine.uids().keys() == theirs.uids().keys()
    assert set(mine.uids().values()).isdisjoint(theirs.uids().values())
    untouched = theirs.versions()

    mine.change(suspend=True)
    eventually(lambda: mine.holds("Suspended"), "a suspended search")
    assert not theirs.holds("Suspended")
    assert theirs.versions() == untouched

    mine.change(suspend=False, budget={"candidates": 9}, deletionPolicy="Delete")
    eventually(lambda: mine.ours("candidates")[0]["metadata"].get("ownerReferences"), "a candidate with an owner")
    eventually(lambda: mine.search()["status"]["progress"] == "0/9", "a bigger budget")
    assert theirs.versions() == untouched

    job = mine.job(FIRST)["metadata"]["uid"]
    mine.client.delete(mine.path("jobs", FIRST), propagationPolicy="Background")
    mine.again(FIRST, job)
    assert theirs.versions() == untouched

    mine.client.delete(mine.path("searches", "tiny"))
    kinds = ("searches", "candidates", "jobs", "configmaps")
    eventually(lambda: not any(mine.ours(plural) for plural in kinds), "that all of it is gone")
    theirs.looked_at(1, 2)
    assert theirs.versions() == untouched

    job = theirs.job(FIRST)["metadata"]["uid"]
    theirs.client.delete(theirs.path("jobs", FIRST), propagationPolicy="Background")
    theirs.again(FIRST, job)  # it goes on
    assert not any(mine.ours(plural) for plural in kinds)


def test_what_is_applied_again_unchanged_is_left_alone_and_more_budget_goes_on(
    teams: tuple[Team, Team], controllers: ControlPlane
) -> None:
    team = teams[0]

    def apply(candidates: int) -> str:
        manifest = merged(
            minimal("Search", "tiny"), {"spec": {"queueName": QUEUE, "budget": {"candidates": candidates}}}
        )
        return controllers.kubectl("apply", "-n", team.namespace, "-f", "-", stdin=yaml.safe_dump(manifest)).strip()

    assert apply(1).endswith(" created")
    team.settled()
    running = team.versions()
    assert apply(1).endswith(" unchanged")
    team.looked_at(1, 2)
    assert team.versions() == running

    team.archive_baseline()
    eventually(lambda: team.holds("Complete"), "the end of the search")
    eventually(lambda: team.names("jobs") == set(), "no Job that nobody needs")
    eventually(lambda: team.names("configmaps") == set(), "no input that nobody needs")
    complete = team.versions()
    assert apply(1).endswith(" unchanged")
    team.looked_at(3, 4)
    assert team.versions() == complete

    assert apply(3).endswith(" configured")
    team.settled("tiny-001-select-1")
    eventually(lambda: not team.holds("Complete"), "a search that goes on")  # its status sums up, and comes last
    assert team.search()["status"]["phase"] == "Searching"
    assert team.versions()["candidates", "tiny-000-0"] == complete["candidates", "tiny-000-0"]


def test_a_namespace_deleted_in_the_middle_of_a_search(
    teams: tuple[Team, Team], operator: Controller, controllers: ControlPlane
) -> None:
    """It goes, nothing waits for it or complains for ever, and the same search starts anew in another one of its name."""
    doomed, other = teams
    doomed.apply()
    other.apply(queueName=QUEUE)
    other.settled()
    eventually(lambda: doomed.items("pods"), "a pod that waits for a node")
    before, job = doomed.uids(), other.job(FIRST)["metadata"]["uid"]
    said = len(operator.records())
    controllers.client.delete(f"/api/v1/namespaces/{doomed.namespace}")
    eventually(lambda: not exists(controllers.client, doomed.namespace), "that the namespace is gone", 120.0)

    told = len(operator.records())
    other.client.delete(other.path("jobs", FIRST), propagationPolicy="Background")
    other.again(FIRST, job)  # it goes on
    about = [record for record in operator.records()[said:] if record.get("namespace") == doomed.namespace]
    assert [record for record in operator.records()[said:] if "exception" in record] == []
    assert len(about) <= MOST_COMPLAINTS, about
    assert [record for record in operator.records()[told:] if record.get("namespace") == doomed.namespace] == []

    controllers.create_namespace(doomed.namespace)
    doomed.apply()
    eventually(lambda: doomed.get("configmaps", FIRST), "the first Job with its input")
    after = doomed.uids()
    assert after.keys() == before.keys()  # the claim and the policy too
    assert set(after.values()).isdisjoint(before.values())
    assert doomed.search()["status"]["counts"]["total"] == 1


def exists(admin: Client, namespace: str) -> bool:
    try:
        admin.get(f"/api/v1/namespaces/{namespace}")
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    return True


def test_a_big_search_does_not_keep_a_small_one_waiting(teams: tuple[Team, Team], controllers: ControlPlane) -> None:
    """What the API server was asked to write in which order says who waited for whom."""
    big, small = teams
    names = [f"by-hand-{number:03}" for number in range(CANDIDATES)]
    change = {"metadata": {"labels": {"poise.dev/search": "tiny"}}, "spec": {"search": "tiny", "algorithm": "grpo"}}
    everything = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [merged(minimal("Candidate", name), change) for name in names],
    }
    controllers.kubectl("create", "-n", big.namespace, "-f", "-", stdin=json.dumps(everything))
    big.apply(queueName=QUEUE, budget={"candidates": 2 * CANDIDATES, "concurrent": CONCURRENT})
    begun = eventually(lambda: big.started(names[0]), "the first write for the big one")
    small.apply(queueName=QUEUE)
    last = names[CONCURRENT - 1]
    end = eventually(lambda: big.get("configmaps", f"{last}-implement-1-1"), "the last Job of the big one", 120.0)
    assert sum(map(begun_with, big.items("candidates"))) >= CANDIDATES
    (request,) = small.ours("configmaps")
    assert version(begun) < version(request) < version(end)


def begun_with(candidate: Document) -> bool:
    return bool(candidate.get("status", {}).get("phase") == "Implementing")


def version(item: Document | None) -> int:
    """When an object was written last, among everything in the cluster."""
    assert item is not None
    return int(item["metadata"]["resourceVersion"])


def test_nothing_went_wrong(operator: Controller, teams: tuple[Team, Team]) -> None:
    """Last of those that share the controller."""
    teams[0].apply(queueName=QUEUE)
    teams[0].settled()
    assert operator.ready()
    assert operator.page("/healthz").startswith("heartbeat")
    assert "\npoise_reconcile_errors_total 0.0\n" in operator.page("/metrics")
    assert [record for record in operator.records() if "exception" in record] == []


def test_where_nothing_is_there_nothing_is_found(controllers: ControlPlane, namespace: str) -> None:
    """What the audit asks every minute, of a controller that has no work."""

    async def found() -> list[Version]:
        await config.load_kube_config(config_file=str(controllers.kubeconfig))
        api = Api(client.ApiClient())
        try:
            return [
                one for what in (JOBS, CONFIG_MAPS) for one in await api.versions(what, namespace, labelSelector="a=b")
            ]
        finally:
            await api.close()

    assert asyncio.run(found()) == []


def test_a_namespace_that_is_closed_does_not_stop_a_controller_of_several(
    operator: Controller, controllers: ControlPlane, namespace: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Where it has a list of namespaces, its rights in each go with the namespace."""
    operator.stop()
    admin, closed, rbac = controllers.client, f"{namespace}-closed", "rbac.authorization.k8s.io/v1"
    controllers.create_namespace(closed)
    admin.delete(f"/apis/{rbac}/clusterrolebindings/{chart.NAMESPACE}-{chart.ACCOUNT}")
    scoped = Controller(controllers, tmp_path_factory.mktemp("scoped"), "scoped", (namespace, closed))
    admin.delete(namespaced(rbac, closed, "rolebindings", chart.ACCOUNT))
    scoped.start()
    try:
        team = Team(admin, namespace)
        team.apply(queueName=QUEUE)
        eventually(lambda: team.names("jobs"), "a Job where it has its rights", 15.0)
        assert scoped.ready()
    finally:
        scoped.kill()
