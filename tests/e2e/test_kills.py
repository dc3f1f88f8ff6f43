"""The controller killed with -9, and containers that lie.

The controller is a process of this machine with the rights of the installed one, which makes room: a Deployment's
container that is killed again and again waits longer and longer for its next start.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.world import Cluster, progress, small
from tests.kube.controller import Controller, eventually
from tests.kube.images import build
from tests.kube.project_images import TAG, WORKER

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("e2e")]

KILLS = 20
HOSTILE = "localhost/poise-worker:hostile"
WEIGHTS = "forge-weights"
"""Name of a search, at which the hostile image forges those too."""


@pytest.fixture(scope="module", autouse=True)
def room(cluster: Cluster) -> Iterator[None]:
    cluster.scale(0)
    yield
    cluster.scale(1)


def controller(cluster: Cluster, folder: Path, **settings: str) -> Controller:
    return Controller(cluster.plane, folder, PULL_POLICY="Never", JOB_TTL_SECONDS="3600", **settings)


def test_a_controller_killed_twenty_times(cluster: Cluster, team: str, tmp_path: Path, tiny_digest: str) -> None:
    order = random.Random(20)
    with controller(cluster, tmp_path) as operator:
        cluster.apply(team)
        for _ in range(KILLS):
            eventually(operator.ready, "a controller at work", 120.0)
            before = progress(cluster, team)
            eventually(lambda: progress(cluster, team) != before, "a search that moves", 180.0)  # noqa: B023
            time.sleep(order.uniform(0.0, 1.5))  # anywhere in what it does next
            assert "Complete" not in str(cluster.condition(team, "Complete").get("reason")), "over before it was killed"
            operator.kill()
            operator.start()
        assert cluster.complete(team) == tiny_digest
        cluster.check_that_nothing_is_left(team)


def test_a_log_that_is_gone_before_it_was_read_costs_no_training(
    cluster: Cluster, team: str, tmp_path: Path, small_digest: str
) -> None:
    with controller(cluster, tmp_path) as operator:
        cluster.apply(team, small())
        pod = eventually(lambda: cluster.working(team, "train"), "a training", 180.0)
        operator.kill()
        cluster.node.wait_for_pod(team, pod["metadata"]["name"], seconds=180.0)
        cluster.delete_now(team, "pods", pod["metadata"]["name"])
        operator.start()
        assert cluster.complete(team) == small_digest
        task = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"].rpartition("-")[0]
        first, second = (
            job for job in cluster.jobs(team, "train") if job["metadata"]["annotations"]["poise.dev/task"] == task
        )
        assert first["metadata"]["annotations"]["poise.dev/outcome"] == "Disrupted"
        assert second["metadata"]["annotations"]["poise.dev/outcome"] == "Result"
        again = next(
            pod for pod in cluster.pods(team, "train") if pod["metadata"]["name"].startswith(second["metadata"]["name"])
        )
        assert cluster.node.logs(team, again["metadata"]["name"], "candidate") == "", "it was trained again"
        cluster.check_that_nothing_is_left(team)


@pytest.fixture(scope="module")
def hostile(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The worker's image, but that a candidate's container forges whatever it can once the candidate has run."""
    context = tmp_path_factory.mktemp("hostile")
    (context / "hostile.py").write_text((Path(__file__).parent / "hostile.py").read_text(encoding="utf-8"))
    (context / "hostile.pth").write_text("import hostile\n")
    text = f"FROM {WORKER}:{TAG}\nCOPY hostile.py hostile.pth /opt/venv/lib/python3.11/site-packages/\n"
    (context / "Dockerfile").write_text(text)
    cluster.node.load(build(context, HOSTILE, context / "hostile.tar"))
    (context / "hostile.tar").unlink()
    return HOSTILE


@pytest.fixture(scope="module")
def lied_to(cluster: Cluster, hostile: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two namespaces with a search that has ended: frames and scores were forged in one, in the other weights too."""
    plain, weights = (cluster.namespace(name) for name in ("forged-frames", "forged-weights"))
    manifest = small()
    manifest["metadata"]["name"] = WEIGHTS
    with controller(cluster, tmp_path_factory.mktemp("hostile-controller"), WORKER_IMAGE=hostile):
        cluster.apply(plain, small())
        cluster.apply(weights, manifest)
        cluster.finished(plain)
        cluster.finished(weights, WEIGHTS)
    return plain, weights


def test_forged_frames_and_scores_reach_no_status(
    cluster: Cluster, lied_to: tuple[str, str], small_digest: str
) -> None:
    plain, _ = lied_to
    assert cluster.complete(plain) == small_digest
    for kind in ("verify", "train"):
        for pod in cluster.pods(plain, kind):
            assert "poise-result" in cluster.node.logs(plain, pod["metadata"]["name"], "candidate"), "it did forge"
    for plural in ("searches", "candidates", "evaluations"):
        assert "forged" not in str([item.get("status") for item in cluster.items(plain, plural)])


def test_forged_weights_fail_their_evaluation(cluster: Cluster, lied_to: tuple[str, str]) -> None:
    _, weights = lied_to
    assert cluster.search(weights, WEIGHTS)["status"]["phase"] == "Failed"
    (run,) = cluster.items(weights, "evaluations")
    assert run["status"]["phase"] == "Failed"
    assert run["status"].get("metrics", {}) == {}
    assert "forged" not in str(run["status"]).replace(weights, "")
