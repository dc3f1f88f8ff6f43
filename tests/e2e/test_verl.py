"""Searches on engine verl in a cluster: VeRL in pods of the trainer's CPU variant, on a model made on the spot."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
import yaml

from poise_lib.algorithms.registry import zoo_source
from poise_lib.evaluation.trajectory import CANDIDATE_PREFIX, STEP
from tests.e2e.conftest import images_folder
from tests.e2e.world import POISE, Cluster
from tests.kube.assets import MissingError, unavailable
from tests.kube.client import Document, namespaced
from tests.kube.controller import eventually
from tests.kube.project_images import TAG, TRAINER, build_images

pytestmark = [pytest.mark.e2e_verl, pytest.mark.xdist_group("e2e")]

T = TypeVar("T")
PATIENCE: Final = 600.0
MARK: Final = 42.0
"""What the baseline's own metric is, in every step that its code had a part in."""
MARKED: Final = f"{CANDIDATE_PREFIX}candidate_was_here"
EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "search-verl-tiny.yaml"
TEMPLATE: Final[Document] = {
    "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "6Gi"}},
    "scoringResources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "4Gi"}},
    "volumes": [
        {"claimName": "model", "mountPath": "/models/tiny"},
        {"claimName": "train", "mountPath": "/data/train", "usedBy": ["train"]},
        {"claimName": "problems", "mountPath": "/data/problems", "usedBy": ["score"]},
    ],
    "checkpointClaim": "kept",
}
RESTRICTED: Final[Document] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def wait(look: Callable[[], T], what: str) -> T:
    return eventually(look, what, PATIENCE)


def marked() -> str:
    """GRPO with a metric of its own, so that it shows whose code VeRL's workers ran."""
    source = zoo_source("grpo")
    loss = "return ops.clipped_objective(inputs,"
    assert source.count(loss) == 1
    changed = source.replace(loss, "out = ops.clipped_objective(inputs,")
    return (
        changed
        + f'    return LossOutput(out.loss, {{**out.metrics, "candidate_was_here": out.loss.detach() * 0 + {MARK}}})\n'
    )


def manifest(name: str, **verl: Any) -> Document:
    """The example's search, at the smallest size, with its files where the claims have them."""
    found: Document = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    found["metadata"]["name"] = name
    spec = found["spec"]
    spec["baseline"] = {"source": marked()}
    spec["strategy"] = {"parentsPerRound": 1}
    spec["verification"] = {"trainingProbe": False}
    spec["evaluation"]["confirmation"] = {"top": 0}
    spec["evaluation"]["template"] = copy.deepcopy(TEMPLATE)
    spec["evaluation"]["verl"] |= {
        "model": {"path": "/models/tiny"},
        "data": {"train": ["/data/train/sums.jsonl"], "instruction": ""},
        "problems": "/data/problems",
        "steps": 3,
        "checkpoints": {"every": 1},
        **verl,
    }
    spec["budget"] = {"candidates": 1, "concurrent": 2}
    return found


@pytest.fixture(scope="module")
def base(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the tiny model and its problems, made by `poise verl-base` in a pod of the trainer's image."""
    try:
        [archive] = build_images(images_folder(tmp_path_factory), [TRAINER])
    except MissingError as reason:
        unavailable(reason)
    cluster.node.load(archive)
    folder, namespace = cluster.folder / "verl-base", cluster.namespace("verl-base")
    cluster.claim(namespace, "base", folder)
    container = {
        "name": "make",
        "image": f"{TRAINER}:{TAG}",
        "imagePullPolicy": "Never",
        "command": ["/opt/venv/bin/python", "-m", "poise_lib.cli.main", "verl-base", "/base/made"],
        "volumeMounts": [{"name": "base", "mountPath": "/base"}, {"name": "tmp", "mountPath": "/tmp"}],
        "env": [{"name": "HOME", "value": "/tmp"}],
        "securityContext": RESTRICTED,
    }
    volumes = [{"name": "base", "persistentVolumeClaim": {"claimName": "base"}}, {"name": "tmp", "emptyDir": {}}]
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": volumes}
    cluster.plane.client.create(namespaced("v1", namespace, "pods"), {"metadata": {"name": "make"}, "spec": spec})
    pod = cluster.node.wait_for_pod(namespace, "make", seconds=PATIENCE)
    assert pod["status"]["phase"] == "Succeeded", cluster.node.logs(namespace, "make")
    return folder / "made"


def furnished(cluster: Cluster, name: str, base: Path) -> str:
    """A namespace with the claims that the manifest names."""
    namespace = cluster.namespace(name)
    for part in ("model", "train", "problems"):
        cluster.claim(namespace, part, base / part)
    cluster.claim(namespace, "kept", cluster.folder / "kept" / namespace)
    return namespace


def history(cluster: Cluster, namespace: str) -> Path | None:
    """The records of a training beside its checkpoints, once a checkpoint is whole."""
    kept = cluster.folder / "kept" / namespace
    trackers = list(kept.glob("*/*/latest_checkpointed_iteration.txt"))
    return trackers[0].with_name("history.jsonl") if trackers and trackers[0].read_text().strip() else None


def test_a_search_trains_scores_and_goes_on_from_a_checkpoint_when_its_pod_is_gone(
    cluster: Cluster, base: Path
) -> None:
    team = furnished(cluster, "verl", base)
    wanted = manifest("words", steps=4)
    wanted["spec"]["budget"]["candidates"] = 2
    cluster.apply(team, wanted)
    records = wait(lambda: history(cluster, team), "a checkpoint")
    [pod] = cluster.pods(team, "train", "Pending", "Running")
    # What only who reads the old records can know: the next attempt has it if it goes on, and not if it begins anew.
    cluster.delete_now(team, "pods", pod["metadata"]["name"])
    wait(lambda: pod["metadata"]["uid"] not in {item["metadata"]["uid"] for item in cluster.pods(team)}, "its end")
    first, *rest = records.read_text(encoding="utf-8").splitlines()
    records.write_text(
        "\n".join([json.dumps({**json.loads(first), "from_before": 1.0}), *rest]) + "\n", encoding="utf-8"
    )
    search = cluster.finished(team, "words")
    assert search["status"]["phase"] == "Complete", search["status"]["message"]
    outcomes = [job["metadata"]["annotations"]["poise.dev/outcome"] for job in cluster.jobs(team, "train")]
    assert sorted(outcomes) == ["Disrupted", "Result", "Result"]
    runs = {run["spec"]["candidate"]: run["status"] for run in cluster.items(team, "evaluations")}
    assert {status["phase"] for status in runs.values()} == {"Complete"}
    baseline = runs["words-000-0"]
    assert [point[STEP] for point in baseline["trajectory"]] == [0, 1, 2, 3]
    assert baseline["trajectory"][0]["from_before"] == 1.0
    assert {point[MARKED] for point in baseline["trajectory"]} == {MARK}
    for status in runs.values():
        assert status["policy"].startswith("sha256:")
        assert {"sums_acc1", "sums_mean8"} <= status["metrics"].keys()
        assert status["trainSeconds"] > 5.0
    kept = cluster.folder / "kept" / team
    assert not list(kept.glob("*/*")), "checkpoints go once the result is made"
    for pod in cluster.pods(team, "train", "Succeeded"):
        first, untrusted = pod["spec"]["initContainers"]
        claims = {item["name"]: item["persistentVolumeClaim"]["claimName"] for item in pod["spec"]["volumes"]
                  if "persistentVolumeClaim" in item}  # fmt: skip
        assert "problems" not in claims.values()
        assert "artifacts" not in {mount["name"] for mount in untrusted["volumeMounts"]}
        assert "poise-result" not in cluster.node.logs(team, pod["metadata"]["name"], "candidate")


def test_two_pods_train_as_one_ray_cluster(cluster: Cluster, base: Path) -> None:
    team = furnished(cluster, "verl-nodes", base)
    cluster.apply(team, manifest("pair", nodes=2, steps=2))
    kept = cluster.folder / "kept" / team
    # Each pod has one logical GPU, so that the second worker can be in the other pod alone.
    shards = wait(
        lambda: list(kept.glob("*/*/global_step_*/actor/model_world_size_2_rank_1.pt")), "both workers' shards"
    )
    assert shards
    search = cluster.finished(team, "pair")
    assert search["status"]["phase"] == "Complete", search["status"]["message"]
    [job] = cluster.jobs(team, "train")
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["status"]["succeeded"] == 2
    pods = {pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]: pod["metadata"]["name"]
            for pod in cluster.pods(team, "train")}  # fmt: skip
    name = job["metadata"]["name"]
    said = {rank: cluster.node.logs(team, pod, "candidate") for rank, pod in pods.items()}
    assert "all 2 nodes have joined Ray" in said["0"]
    assert f"{name}-1 joins Ray" in said["1"]
    assert "poise-result" in cluster.node.logs(team, pods["0"], "task")
    assert cluster.node.logs(team, pods["1"], "task") == ""
    [run] = cluster.items(team, "evaluations")
    assert {point[MARKED] for point in run["status"]["trajectory"]} == {MARK}
    services = [
        item
        for item in cluster.items(team, "services", "v1")
        if item["metadata"]["name"] == job["spec"]["template"]["spec"]["subdomain"]
    ]
    assert [owner["uid"] for item in services for owner in item["metadata"]["ownerReferences"]] == [
        job["metadata"]["uid"]
    ]


def test_a_training_waits_for_a_gpu_and_says_when_there_is_no_cuda(cluster: Cluster, base: Path) -> None:
    """A GPU that only the scheduler believes in: one task after the other gets it, and finds that it is none."""
    team = furnished(cluster, "verl-gpu", base)
    client = cluster.plane.client
    cluster.node.add_resource("nvidia.com/gpu", 1)
    holder = {
        "name": "hold", "image": f"{TRAINER}:{TAG}", "imagePullPolicy": "Never", "command": ["/bin/sleep", "3600"],
        "resources": {"limits": {"nvidia.com/gpu": "1"}}, "securityContext": RESTRICTED,
    }  # fmt: skip
    wait(
        lambda: client.create(
            namespaced("v1", team, "pods"), {"metadata": {"name": "holder"}, "spec": {"containers": [holder]}}
        ),
        "a pod",
    )
    cluster.node.wait_for_pod(team, "holder", phases=("Running",))
    cluster.apply(team, manifest("queued", platform="cuda"))
    stalled = wait(
        lambda: (found := cluster.condition(team, "Stalled", "queued")).get("status") == "True" and found,
        "that it waits",
    )
    assert stalled["reason"] == "TasksDoNotStart"
    assert "Insufficient nvidia.com/gpu" in stalled["message"]
    assert cluster.search(team, "queued")["status"]["phase"] not in ("Failed", "Complete")
    cluster.delete_now(team, "pods", "holder")
    status = cluster.finished(team, "queued")["status"]
    assert status["phase"] == "Failed"
    [run] = cluster.items(team, "evaluations", POISE)
    assert "CUDA" in run["status"]["message"]
