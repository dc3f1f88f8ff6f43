"""The operator as a user gets it: installed by helm, its images built from the Dockerfiles, tasks in real pods."""

from __future__ import annotations

import copy
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml

from poise_lib.artifacts import ArtifactStore
from tests.e2e.world import TINY, Cluster, run_here
from tests.kube import chart
from tests.kube.client import Document, namespaced
from tests.kube.cluster import KubectlError
from tests.kube.controller import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]


@pytest.fixture(scope="module")
def done(cluster: Cluster) -> str:
    """A namespace in which a search has run to its end."""
    name = cluster.namespace("done")
    cluster.apply(name)
    search = cluster.finished(name)
    assert search["status"]["phase"] == "Complete", search["status"]["message"]
    return name


def test_one_archive_in_the_cluster_and_on_one_machine(cluster: Cluster, done: str, tmp_path: Path) -> None:
    """Same seed, same engine build: same lineage, sources, metrics and verdicts."""
    here = run_here(tmp_path)
    there = cluster.search(done)
    assert there["status"]["digest"].startswith("sha256:")
    assert there["status"]["digest"] == here["status"]["digest"]
    assert there["status"]["best"] == here["status"]["best"]


def test_what_kubectl_shows(cluster: Cluster, done: str) -> None:
    kubectl = cluster.plane.kubectl
    assert "condition met" in kubectl("wait", "-n", done, "--for=condition=Complete", "search/tiny", "--timeout=10s")
    row = kubectl("get", "searches", "-n", done, "--no-headers").split()
    assert row[:4] == ["tiny", "Complete", "1", "3/3"]
    rows = kubectl("get", "candidates", "-n", done, "-l", "poise.dev/search=tiny", "--no-headers").splitlines()
    assert len(rows) == 3
    assert sum("tiny-000-0 " in row for row in rows) >= 2  # itself, and as a parent
    told = kubectl("describe", "search", "tiny", "-n", done)
    for reason in ("Searching", "CandidateArchived", "RoundStarted", "Confirming", "Complete"):
        assert reason in told
    assert "tiny-001-0" in kubectl("get", "candidates", "-n", done, "--field-selector", "status.phase=Archived")


def test_a_pod_that_runs_a_candidate_sees_nothing_of_ours(cluster: Cluster, done: str) -> None:
    pods = {pod["metadata"]["labels"]["poise.dev/task-kind"]: pod for pod in cluster.items(done, "pods", "v1")}
    assert {"verify", "train", "score", "reflect", "select", "propose", "implement", "conclude"} <= pods.keys()
    for kind in ("verify", "train"):
        spec = pods[kind]["spec"]
        first, untrusted = spec["initContainers"]
        trusted = spec["containers"][0]
        assert (first["name"], untrusted["name"], trusted["name"]) == ("look-up", "candidate", "task")
        assert {mount["name"] for mount in untrusted["volumeMounts"]} == {"input", "candidate-scratch", "work"}
        token = trusted["args"][trusted["args"].index("--attempt") + 1]
        assert token not in str(untrusted)
        assert "poise-result" not in cluster.node.logs(done, pods[kind]["metadata"]["name"], "candidate")
    for pod in pods.values():
        assert not any("serviceAccountToken" in str(volume) for volume in pod["spec"]["volumes"])


def test_weights_that_are_not_kept_are_gone(cluster: Cluster, done: str) -> None:
    store = ArtifactStore(cluster.folder / "volumes" / done)
    statuses = [run["status"] for run in cluster.items(done, "evaluations")]
    assert cluster.search(done)["status"]["collected"]
    assert not any(store.has(status["policy"]) for status in statuses)
    assert all(store.has(status["records"]) for status in statuses)


def test_jobs_go_once_their_results_are_safe(cluster: Cluster, done: str) -> None:
    jobs = cluster.items(done, "jobs", "batch/v1")
    eventually(
        lambda: all("ttlSecondsAfterFinished" in job["spec"] for job in cluster.items(done, "jobs", "batch/v1")),
        "a time to live on every Job",
    )
    assert {job["metadata"]["annotations"]["poise.dev/outcome"] for job in jobs} == {"Result"}
    assert set(Counter(job["metadata"]["annotations"]["poise.dev/task"] for job in jobs).values()) == {1}


def test_the_controller_had_the_rights_it_needed(cluster: Cluster, done: str) -> None:
    log = cluster.controller_log()
    assert any(record.get("search") == "tiny" for record in log)
    bad = [record for record in log if record["level"] not in ("debug", "info")]
    assert [record for record in bad if not record["event"].startswith("Request attempt #")] == []


def test_metrics_tell_of_the_search(cluster: Cluster, done: str) -> None:
    pod = cluster.controller_pod()
    text = cluster.plane.client.text(
        "GET", namespaced("v1", chart.NAMESPACE, "pods", f"{pod}:8080", "proxy") + "/metrics"
    )
    assert f'poise_tasks_total{{kind="train",namespace="{done}",outcome="Result"}} 7.0' in text
    assert f'poise_search_candidates_ratio{{namespace="{done}",search="tiny"}} 1.0' in text


def test_more_budget_sets_a_complete_search_going_again(cluster: Cluster, team: str) -> None:
    manifest = copy.deepcopy(TINY)
    manifest["spec"]["evaluation"]["confirmation"]["top"] = 0
    manifest["spec"]["budget"]["candidates"] = 1
    cluster.apply(team, manifest)
    assert cluster.finished(team)["status"]["phase"] == "Complete"
    manifest["spec"]["budget"]["candidates"] = 2
    cluster.apply(team, manifest)
    eventually(lambda: len(cluster.items(team, "candidates")) == 2, "another candidate", 120.0)
    search = cluster.finished(team)
    assert search["status"]["observedGeneration"] == 2


def earlier_chart(folder: Path) -> Path:
    """The chart as a version before this one: its CRDs lack a field."""
    chart_before = folder / "poise"
    shutil.copytree(chart.CHART, chart_before)
    for name, change in (
        ("Chart.yaml", lambda document: document.update(version="0.0.1")),
        ("files/crds/poise.dev_searches.yaml", _without_a_field),
    ):
        document = yaml.safe_load((chart_before / name).read_text(encoding="utf-8"))
        change(document)
        (chart_before / name).write_text(yaml.safe_dump(document), encoding="utf-8")
    return chart_before


def _without_a_field(crd: Document) -> None:
    status = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    del status["properties"]["collected"]


def test_uninstalling_leaves_the_archive_and_an_older_chart_upgrades_and_goes_on(
    cluster: Cluster, team: str, tmp_path: Path
) -> None:
    cluster.apply(team)
    eventually(lambda: cluster.items(team, "jobs", "batch/v1"), "a first task", 120.0)
    chart.helm(cluster.plane.assets, "uninstall", chart.RELEASE, "--namespace", chart.NAMESPACE, "--wait",
               kubeconfig=str(cluster.plane.kubeconfig))  # fmt: skip
    assert cluster.items(team, "candidates")
    chart.install(cluster.plane, cluster.values, chart=earlier_chart(tmp_path))
    with pytest.raises(KubectlError, match="does not exist"):
        cluster.plane.kubectl("explain", "search.status.collected")
    chart.install(cluster.plane, cluster.values)
    assert "retention" in cluster.plane.kubectl("explain", "search.status.collected")
    assert cluster.finished(team)["status"]["phase"] == "Complete"
