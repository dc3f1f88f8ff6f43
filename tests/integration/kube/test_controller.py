"""The controller against a real API server, as the chart's service account; no pod runs here, so no task ends well."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from poise_lib.algorithms.registry import zoo_source
from tests.kube import chart
from tests.kube.client import ApiError, Client, Document, namespaced
from tests.kube.cluster import ControlPlane
from tests.kube.controller import Controller, eventually, running

POISE = "poise.dev/v1alpha1"


@pytest.fixture(scope="module")
def operator(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """One controller for the whole cluster and all tests of this module."""
    with running(control_plane, tmp_path_factory.mktemp("controller")) as controller:
        yield controller


class Bench:
    """One namespace with a search."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client, self.namespace = client, namespace

    def path(self, plural: str, name: str = "", subresource: str = "") -> str:
        version = {"jobs": "batch/v1", "networkpolicies": "networking.k8s.io/v1"}.get(plural, "v1")
        version = POISE if plural in ("searches", "candidates", "evaluations") else version
        return namespaced(version, self.namespace, plural, name, subresource)

    def apply(self, **spec: Any) -> Document:
        document = {
            "apiVersion": POISE,
            "kind": "Search",
            "metadata": {"name": "tiny", "namespace": self.namespace},
            "spec": {"budget": {"candidates": 3, "attempts": 2}, **spec},
        }
        return self.client.create(self.path("searches"), document)

    def change(self, **spec: Any) -> None:
        self.client.patch(self.path("searches", "tiny"), {"spec": spec})

    def get(self, plural: str, name: str) -> Document | None:
        try:
            return self.client.get(self.path(plural, name))
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def items(self, plural: str) -> list[Document]:
        items: list[Document] = self.client.get(self.path(plural))["items"]
        return items

    def search(self) -> Document:
        found = self.get("searches", "tiny")
        assert found is not None
        return found

    def condition(self, kind: str) -> Document | None:
        conditions = self.search().get("status", {}).get("conditions", ())
        return next((item for item in conditions if item["type"] == kind), None)

    def holds(self, kind: str) -> bool:
        found = self.condition(kind)
        return found is not None and found["status"] == "True"

    def job(self, name: str) -> Document:
        return eventually(lambda: self.get("jobs", name), f"the Job {name}")

    def end_job(self, name: str, reason: str) -> None:
        """End a Job as failed, as Kubernetes' own controller would."""
        job = self.job(name)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        conditions = [
            {"type": kind, "status": "True", "reason": reason, "message": "said so", "lastTransitionTime": now}
            for kind in ("FailureTarget", "Failed")
        ]
        job["status"] = {"startTime": now, "failed": 1, "conditions": conditions, "uncountedTerminatedPods": {}}
        self.client.replace(self.path("jobs", name, "status"), job)

    def pod_of(self, job: Document, **status: Any) -> None:
        """A pod of a Job with this status."""
        template = job["spec"]["template"]
        spec = {**template["spec"], "nodeName": "elsewhere"}
        body = {
            "metadata": {"name": f"{job['metadata']['name']}-x", "labels": template["metadata"]["labels"]},
            "spec": spec,
        }
        made = self.client.create(self.path("pods"), body)
        made["status"] = status
        self.client.replace(self.path("pods", made["metadata"]["name"], "status"), made)


@pytest.fixture
def bench(operator: Controller, admin: Client, namespace: str) -> Iterator[Bench]:
    bench = Bench(admin, namespace)
    yield bench
    admin.delete(bench.path("searches"))


FIRST = "tiny-000-0-implement-1-1"


def test_a_search_starts_with_its_baseline(bench: Bench, control_plane: ControlPlane) -> None:
    bench.apply()
    job = bench.job(FIRST)
    candidate = bench.get("candidates", "tiny-000-0")
    assert candidate is not None
    assert candidate["metadata"]["labels"]["poise.dev/search"] == "tiny"
    assert candidate["metadata"]["annotations"]["poise.dev/depth"] == "0"
    assert "ownerReferences" not in candidate["metadata"]  # the archive outlives its search
    owner = job["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["uid"]) == ("Search", bench.search()["metadata"]["uid"])
    assert job["spec"]["backoffLimit"] == 0
    assert "ttlSecondsAfterFinished" not in job["spec"]
    request = eventually(lambda: bench.get("configmaps", FIRST), "the input")
    assert request["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    document = json.loads(gzip.decompress(base64.b64decode(request["binaryData"]["request.json.gz"])))
    assert (document["kind"], document["name"]) == ("implement", "tiny-000-0-implement-1")
    assert bench.get("persistentvolumeclaims", "poise-artifacts") is not None
    assert bench.get("networkpolicies", "poise-tasks") is not None
    assert bench.holds("Ready")
    status = bench.search()["status"]
    assert (status["phase"], status["observedGeneration"]) == ("Searching", 1)
    listed = control_plane.kubectl("get", "searches,candidates", "-n", bench.namespace)
    assert "Searching" in listed
    assert "0/3" in listed
    events = [event["reason"] for event in bench.items("events") if event["involvedObject"]["kind"] == "Search"]
    assert "Searching" in events


def test_nothing_that_a_user_wrote_is_changed(bench: Bench, control_plane: ControlPlane) -> None:
    """`kubectl diff` stays empty while the controller works: GitOps tools see no drift."""
    manifest = yaml.safe_dump(
        {"apiVersion": POISE, "kind": "Search", "metadata": {"name": "tiny", "namespace": bench.namespace},
         "spec": {"budget": {"candidates": 3}}}
    )  # fmt: skip
    control_plane.kubectl("apply", "-f", "-", stdin=manifest)
    bench.job(FIRST)
    done = control_plane.kubectl_result("diff", "-f", "-", stdin=manifest)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_suspend_and_resume(bench: Bench) -> None:
    bench.apply(suspend=True)
    eventually(lambda: bench.holds("Suspended"), "a suspended search")
    assert bench.items("jobs") == []
    bench.change(suspend=False)
    bench.job(FIRST)
    eventually(lambda: not bench.holds("Suspended"), "a search that goes on")
    assert bench.search()["status"]["observedGeneration"] == 2


def test_a_deleted_candidate_comes_again(bench: Bench) -> None:
    bench.apply()
    bench.job(FIRST)
    first = bench.get("candidates", "tiny-000-0")
    assert first is not None
    bench.client.delete(bench.path("candidates", "tiny-000-0"))

    def again() -> bool:
        found = bench.get("candidates", "tiny-000-0")
        return found is not None and found["metadata"]["uid"] != first["metadata"]["uid"]

    eventually(again, "the baseline again")


def test_a_deleted_job_is_started_again(bench: Bench) -> None:
    bench.apply()
    first = bench.job(FIRST)
    bench.client.delete(bench.path("jobs", FIRST), propagationPolicy="Background")

    def again() -> bool:
        return any(job["metadata"]["uid"] != first["metadata"]["uid"] for job in bench.items("jobs"))

    eventually(again, "another Job")


def test_disruptions_do_not_count_and_losses_do(bench: Bench) -> None:
    bench.apply()  # two attempts
    evicted = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": "for another",
    }
    for attempt in (1, 2, 3):
        name = f"tiny-000-0-implement-1-{attempt}"
        bench.pod_of(bench.job(name), phase="Failed", conditions=[evicted])
        bench.end_job(name, "BackoffLimitExceeded")
        judged = eventually(lambda name=name: outcome(bench.get("jobs", name)), "a judgement")  # type: ignore[misc]
        assert judged == "Disrupted"
    killed = {
        "name": "task", "ready": False, "restartCount": 0, "image": "x", "imageID": "x",
        "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
    }  # fmt: skip
    for attempt in (4, 5):
        name = f"tiny-000-0-implement-1-{attempt}"
        bench.pod_of(bench.job(name), phase="Failed", containerStatuses=[killed])
        bench.end_job(name, "BackoffLimitExceeded")
    eventually(lambda: bench.holds("Failed"), "the end of the search")
    search = bench.search()["status"]
    assert search["phase"] == "Failed"
    assert "container task ended with OOMKilled (137)" in search["message"]
    candidate = bench.get("candidates", "tiny-000-0")
    assert candidate is not None
    assert candidate["status"]["reason"] == "TaskFailed"
    eventually(lambda: all(expiring(job) for job in bench.items("jobs")), "Jobs that will go")
    assert len(bench.items("jobs")) == 5


def outcome(job: Document | None) -> str:
    return "" if job is None else job["metadata"]["annotations"].get("poise.dev/outcome", "")


def expiring(job: Document) -> bool:
    return "ttlSecondsAfterFinished" in job["spec"]


def test_a_candidate_written_by_hand_joins(bench: Bench) -> None:
    bench.apply()
    bench.job(FIRST)
    document = {
        "apiVersion": POISE,
        "kind": "Candidate",
        "metadata": {"name": "mine", "namespace": bench.namespace},
        "spec": {
            "search": "tiny",
            "proposal": {"title": "Mine", "hypothesis": "I know better."},
            "source": zoo_source("dapo"),
        },
    }
    bench.client.create(bench.path("candidates"), document)
    job = bench.job("mine-implement-1-1")
    assert job["metadata"]["labels"]["poise.dev/search"] == "tiny"
    labels = eventually(lambda: (bench.get("candidates", "mine") or {})["metadata"].get("labels"), "a label")
    assert labels == {"poise.dev/search": "tiny"}


def test_the_archive_is_tied_to_the_search_as_the_policy_says(bench: Bench) -> None:
    bench.apply(deletionPolicy="Delete")
    bench.job(FIRST)

    def owners() -> list[str]:
        candidate = bench.get("candidates", "tiny-000-0")
        assert candidate is not None
        return [owner["kind"] for owner in candidate["metadata"].get("ownerReferences", ())]

    assert owners() == ["Search"]
    bench.change(deletionPolicy="Retain")
    eventually(lambda: owners() == [], "a candidate on its own")
    bench.change(deletionPolicy="Delete")
    eventually(lambda: owners() == ["Search"], "a candidate with an owner")


def test_a_queue_makes_jobs_wait_for_kueue(bench: Bench) -> None:
    bench.apply(queueName="team")
    job = bench.job(FIRST)
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    assert job["spec"]["suspend"] is True


def test_a_tenants_template_reaches_the_pods(bench: Bench) -> None:
    template = {
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "runtimeClassName": "gvisor",
        "annotations": {"team": "a"},
    }
    bench.apply(evaluation={"template": template})
    pod = bench.job(FIRST)["spec"]["template"]
    assert pod["spec"]["nodeSelector"] == {"pool": "gpu"}
    assert pod["spec"]["runtimeClassName"] == "gvisor"
    assert pod["metadata"]["annotations"] == {"team": "a"}
    assert pod["spec"]["automountServiceAccountToken"] is False


def test_a_search_that_is_deleted_leaves_its_archive_and_goes_on_under_its_name(bench: Bench) -> None:
    bench.apply()
    bench.job(FIRST)
    candidate = bench.get("candidates", "tiny-000-0")
    assert candidate is not None
    bench.client.delete(bench.path("searches", "tiny"))
    bench.client.delete(bench.path("jobs"), propagationPolicy="Background")  # their owner is gone
    eventually(lambda: not bench.items("jobs"), "no Jobs")
    bench.apply()
    bench.job(FIRST)
    again = bench.get("candidates", "tiny-000-0")
    assert again is not None
    assert again["metadata"]["uid"] == candidate["metadata"]["uid"]


def test_metrics_and_health(bench: Bench, operator: Controller) -> None:
    bench.apply()
    bench.job(FIRST)
    eventually(lambda: 'poise_searches{phase="Searching"}' in operator.page("/metrics"), "the search in the metrics")
    assert "poise_reconcile_seconds_count" in operator.page("/metrics")
    assert operator.page("/healthz").startswith("heartbeat")


def test_nothing_was_refused_and_nothing_went_wrong(operator: Controller) -> None:
    """Last in this module: whatever the tests before it did, the controller had the rights for it."""
    assert operator.complaints() == []


class TestLease:
    """One controller works; another one waits."""

    def test_the_next_one_takes_over(
        self,
        control_plane: ControlPlane,
        admin: Client,
        operator: Controller,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> None:
        operator.stop()
        folder = tmp_path_factory.mktemp("lease")
        with Controller(control_plane, folder, "first") as first:
            second = Controller(control_plane, folder, "second")
            second.start()
            try:
                eventually(
                    lambda: any(record["event"] == "waiting for the lease" for record in second.records()),
                    "one who waits",
                )
                assert not second.ready()
                first.kill()
                eventually(second.ready, "the second in charge")
            finally:
                second.stop()
            lease = namespaced("coordination.k8s.io/v1", chart.NAMESPACE, "leases", chart.ACCOUNT)
            given_back = admin.get(lease)["spec"]
            assert given_back["holderIdentity"] == "", "so that the next one need not wait until it expires"
            first.start()
            eventually(first.ready, "the first again")

    def test_only_the_namespaces_that_it_was_given(
        self, control_plane: ControlPlane, admin: Client, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        mine, other = (control_plane.create_namespace(f"scoped-{name}") for name in ("mine", "other"))
        admin.delete("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/poise-system-poise-controller")
        folder = tmp_path_factory.mktemp("scoped")
        with Controller(control_plane, folder, "scoped", (mine,)) as scoped:
            for namespace in (other, mine):
                Bench(admin, namespace).apply()
            Bench(admin, mine).job(FIRST)
            assert Bench(admin, other).items("candidates") == []
            assert scoped.complaints() == []
