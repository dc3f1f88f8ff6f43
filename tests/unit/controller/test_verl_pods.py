"""Jobs of engine verl: image, GPUs, memory to share, caches, checkpoints, several pods; and who does not see what."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from controller import groups, manifests
from controller.settings import ArtifactSettings, ObjectStoreSettings, Settings
from poise_lib.errors import InvalidInputError
from poise_lib.resources import Search
from poise_lib.tasks.protocol import TaskKind, TaskRequest

SETTINGS: Final = Settings(worker_image="worker", trainer_image="trainer")
STORE: Final = ObjectStoreSettings("s3://bucket", egress=({"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]},))
VERL: Final[dict[str, Any]] = {
    "model": {"path": "/models/base"},
    "data": {"train": ["/data/train.jsonl"]},
    "gpusPerNode": 4,
    "batchSize": 64,
}


def search(template: dict[str, Any] | None = None, **verl: Any) -> Search:
    evaluation = {"engine": "verl", "suite": "math-v1", "verl": {**VERL, **verl}, "template": template or {}}
    metadata = {"name": "s", "namespace": "team", "uid": "search-uid"}
    spec = {"budget": {"candidates": 2}, "evaluation": evaluation}
    return Search.model_validate({"metadata": metadata, "spec": spec})


def input_of(**verl: Any) -> dict[str, Any]:
    """Input of a training or a scoring, as far as pods go."""
    made = search(**verl).spec.evaluation.verl
    assert made is not None
    return {"engine": "verl", "verl": made.to_document()}


def job(
    kind: TaskKind = TaskKind.TRAIN,
    template: dict[str, Any] | None = None,
    settings: Settings = SETTINGS,
    attempt: int = 1,
    **verl: Any,
) -> dict[str, Any]:
    wanted = search(template, **verl)
    content = input_of(**verl) if kind in (TaskKind.TRAIN, TaskKind.SCORE) else {}
    request = TaskRequest(kind=kind, name=f"s-001-0-full-0-{kind.value}", input=content)
    return manifests.job(request, attempt, wanted, settings)


def pod(*arguments: Any, **keywords: Any) -> dict[str, Any]:
    spec: dict[str, Any] = job(*arguments, **keywords)["spec"]["template"]["spec"]
    return spec


def containers(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in [*spec.get("initContainers", []), *spec["containers"]]}


def told(container: dict[str, Any]) -> dict[str, Any]:
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container["env"]}


def mounts(container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {mount["name"]: mount for mount in container["volumeMounts"]}


@pytest.mark.parametrize("kind", list(TaskKind))
def test_only_what_trains_and_scores_takes_the_trainers_image_and_the_users_time(kind: TaskKind) -> None:
    spec = pod(kind)
    language_model = kind in (TaskKind.TRAIN, TaskKind.SCORE)
    assert {item["image"] for item in containers(spec).values()} == {"trainer" if language_model else "worker"}
    assert spec["activeDeadlineSeconds"] == (26 * 3600 if language_model else 900)
    assert ("nvidia.com/gpu" in str(spec)) is language_model
    assert ("/dev/shm" in str(spec)) is language_model
    assert "hostIPC" in spec
    assert spec["hostIPC"] is False


def test_gpus_are_for_the_container_that_trains_and_one_is_for_scoring() -> None:
    training = containers(pod())
    assert training["candidate"]["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert training["candidate"]["resources"]["requests"]["nvidia.com/gpu"] == "4"
    assert "nvidia.com/gpu" not in str([training["look-up"]["resources"], training["task"]["resources"]])
    scoring = containers(pod(TaskKind.SCORE))["task"]["resources"]
    assert scoring["limits"]["nvidia.com/gpu"] == scoring["requests"]["nvidia.com/gpu"] == "1"


def test_resources_are_for_training_and_scoring_has_its_own() -> None:
    template = {"resources": {"limits": {"memory": "900Gi"}}, "scoringResources": {"requests": {"cpu": "7"}}}
    assert containers(pod(template=template))["candidate"]["resources"]["limits"]["memory"] == "900Gi"
    scoring = containers(pod(TaskKind.SCORE, template))["task"]["resources"]
    assert (scoring["requests"]["cpu"], scoring["limits"]["memory"]) == ("7", "64Gi")
    verifying = containers(pod(TaskKind.VERIFY, template))["candidate"]["resources"]
    assert verifying["limits"] == {"memory": "6Gi"}


@pytest.mark.parametrize(("kind", "field"), [(TaskKind.TRAIN, "resources"), (TaskKind.SCORE, "scoringResources")])
def test_a_number_of_gpus_that_the_settings_contradict_is_refused(kind: TaskKind, field: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"evaluation\.template\.{field}: nvidia\.com/gpu is 2"):
        job(kind, {field: {"limits": {"nvidia.com/gpu": "2"}}})


def test_shared_memory_is_a_volume_in_memory_with_a_size() -> None:
    spec = pod(template={"sharedMemory": "40Gi", "scratch": "700Gi"})
    volumes = {item["name"]: item for item in spec["volumes"]}
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "40Gi"}
    assert {volumes[name]["emptyDir"]["sizeLimit"] for name in ("scratch", "work", "candidate-scratch")} == {"700Gi"}
    assert mounts(containers(spec)["candidate"])["shm"]["mountPath"] == "/dev/shm"
    assert "shm" not in mounts(containers(spec)["task"])
    assert "shm" in mounts(containers(pod(TaskKind.SCORE))["task"])


def test_a_cache_of_the_hub_is_read_and_never_filled() -> None:
    template = {"volumes": [{"claimName": "hub", "mountPath": "/models/hub"}], "hfHome": "/models/hub",
                "nccl": {"NCCL_IB_HCA": "mlx5"}}  # fmt: skip
    training, scoring = (containers(pod(kind, template)) for kind in (TaskKind.TRAIN, TaskKind.SCORE))
    for container in (training["candidate"], training["task"], scoring["task"]):
        variables = told(container)
        assert (variables["HF_HOME"], variables["HF_HUB_OFFLINE"]) == ("/models/hub", "1")
        assert all(variables[name].startswith("/tmp/") for name in ("HF_MODULES_CACHE", "HF_DATASETS_CACHE"))
        assert mounts(container)["data-0"] == {"name": "data-0", "mountPath": "/models/hub", "readOnly": True}
    assert told(training["candidate"])["NCCL_IB_HCA"] == "mlx5"
    for container in (training["task"], scoring["task"], training["look-up"]):
        assert not any(name.startswith("NCCL") for name in told(container))
    assert "data-0" not in mounts(training["look-up"])


def test_checkpoints_outlive_an_attempt_and_only_the_candidate_of_this_evaluation_sees_them() -> None:
    template = {"checkpointClaim": "kept"}
    first, second, plain = pod(template=template), pod(template=template, attempt=2), pod()
    for spec in (first, second):
        assert {"name": "checkpoints", "persistentVolumeClaim": {"claimName": "kept"}} in spec["volumes"]
        users = [name for name, item in containers(spec).items() if "checkpoints" in mounts(item)]
        assert users == ["candidate"]
        arguments = containers(spec)["candidate"]["args"]
        assert arguments[arguments.index("--checkpoints") + 1] == "/checkpoints"
    mine, again = (mounts(containers(spec)["candidate"])["checkpoints"] for spec in (first, second))
    assert mine == again
    assert mine["mountPath"] == "/checkpoints"
    assert re.fullmatch(r"s-001-0-full-0-train-[0-9a-f]{16}", mine["subPath"])
    assert not mine.get("readOnly")
    other = mounts(containers(pod(template=template, learningRate=0.5))["candidate"])["checkpoints"]
    assert other["subPath"] != mine["subPath"], "another input must not find what this one left"
    assert "--checkpoints" not in containers(plain)["candidate"]["args"]
    assert "checkpoints" not in str(pod(TaskKind.SCORE, template))


def test_the_artifacts_are_no_place_for_checkpoints() -> None:
    settings = Settings("worker", "trainer", artifacts=ArtifactSettings(claim="mine"))
    with pytest.raises(InvalidInputError, match=r"evaluation\.template\.checkpointClaim: mine holds the artifacts"):
        job(template={"checkpointClaim": "mine"}, settings=settings)


def test_a_volume_is_seen_by_those_whom_it_names() -> None:
    volumes = [
        {"claimName": "both", "mountPath": "/models"},
        {"claimName": "benchmarks", "mountPath": "/data/benchmarks", "usedBy": ["score"]},
        {"claimName": "problems", "mountPath": "/data/train", "usedBy": ["train"]},
    ]

    def claims(kind: TaskKind) -> set[str]:
        spec = pod(kind, {"volumes": volumes})
        return {
            item["persistentVolumeClaim"]["claimName"] for item in spec["volumes"] if item["name"].startswith("data-")
        }

    assert claims(TaskKind.TRAIN) == claims(TaskKind.VERIFY) == {"both", "problems"}
    assert claims(TaskKind.SCORE) == {"both", "benchmarks"}


def test_candidate_code_is_never_shown_the_benchmark_problems() -> None:
    """Whoever forgets usedBy is told; a volume below another one counts by itself."""
    models = {"claimName": "models", "mountPath": "/data"}
    apart = {"claimName": "benchmarks", "mountPath": "/data/benchmarks", "usedBy": ["score"]}
    assert job(template={"volumes": [models, apart]}, problems="/data/benchmarks/suite")
    wrong = ([models], [models, {**apart, "usedBy": ["train", "score"]}], [{**apart, "usedBy": ["train"]}])
    for volumes in wrong:
        with pytest.raises(
            InvalidInputError, match=r"evaluation\.template\.volumes: .* would show the benchmark problems"
        ):
            job(template={"volumes": volumes}, problems="/data/benchmarks")
    below = [{"claimName": "one", "mountPath": "/data/benchmarks/aime"}]
    with pytest.raises(InvalidInputError, match="one at /data/benchmarks/aime"):
        job(template={"volumes": below}, problems="/data/benchmarks")
    assert job(TaskKind.SCORE, {"volumes": [models]}, problems="/data/benchmarks")


def test_without_gpus_nothing_asks_for_one() -> None:
    for kind in (TaskKind.TRAIN, TaskKind.SCORE):
        spec = pod(kind, platform="cpu", rollout={"engine": "hf"})
        assert "gpu" not in str(spec)
        assert "NCCL" not in str(spec)
        assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}} in spec["volumes"]


def test_without_an_image_for_training_the_search_is_told() -> None:
    with pytest.raises(InvalidInputError, match=r"images\.trainer"):
        job(settings=Settings(worker_image="worker"))
    assert job(TaskKind.VERIFY, settings=Settings(worker_image="worker"))


def test_with_an_object_store_the_platform_has_to_say_where_it_is() -> None:
    open_wide = Settings("worker", "trainer", artifacts=ArtifactSettings(store=ObjectStoreSettings("s3://bucket")))
    with pytest.raises(InvalidInputError, match=r"artifacts\.egress"):
        job(settings=open_wide)
    narrow = Settings("worker", "trainer", artifacts=ArtifactSettings(store=STORE))
    candidate = containers(pod(settings=narrow))["candidate"]
    assert "--offline" not in candidate["args"], "Ray needs sockets"
    assert "bucket" not in str(candidate)
    assert "--offline" in containers(pod(TaskKind.VERIFY, settings=narrow))["candidate"]["args"]


# --- several nodes ------------------------------------------------------------------------------------------------------

SHARED: Final = {"checkpointClaim": "kept"}


def as_made(**verl: Any) -> dict[str, Any]:
    """The Job as the API server has it."""
    made = job(template=SHARED, **verl)
    made["metadata"] |= {"uid": "job-uid"}
    return made


def test_one_node_is_an_ordinary_job() -> None:
    made = as_made()
    assert not {"completionMode", "completions", "parallelism"} & set(made["spec"])
    assert groups.companions(made) == []
    assert "POISE_NODES" not in str(made)


def test_several_nodes_are_an_indexed_job_whose_pods_know_their_number_and_the_first_one() -> None:
    made = as_made(nodes=2)
    spec = made["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"], spec["backoffLimit"]) == (
        "Indexed",
        2,
        2,
        0,
    )
    template = spec["template"]["spec"]
    for name, container in containers(template).items():
        variables = told(container)
        if name == "look-up":
            assert "POISE_NODES" not in variables
            continue
        assert variables["POISE_NODES"] == "2"
        path = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
        assert variables["POISE_NODE_RANK"] == {"fieldRef": {"fieldPath": path}}
        host, _, service = variables["POISE_HEAD"].partition(".")
        assert (host, service) == (f"{made['metadata']['name']}-0", template["subdomain"])
    assert containers(template)["candidate"]["resources"]["limits"]["nvidia.com/gpu"] == "4", "of a pod, not of all"


def test_a_pod_of_several_has_a_host_name_that_is_a_label() -> None:
    wide = {"nodes": 512, "batchSize": 1024}
    long = TaskRequest(kind=TaskKind.TRAIN, name="c" * 90, input=input_of(**wide))
    made = manifests.job(long, 9999, search(SHARED, **wide), SETTINGS)
    assert len(f"{made['metadata']['name']}-511") <= 63


def test_a_headless_service_names_pods_that_are_not_ready_and_they_talk_to_one_another_alone() -> None:
    made = as_made(nodes=2)
    (_, service), (_, policy) = groups.companions(made)
    name = made["metadata"]["name"]
    mine = {"batch.kubernetes.io/job-name": name}
    assert service["metadata"]["name"] == made["spec"]["template"]["spec"]["subdomain"]
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", service["metadata"]["name"])
    assert service["spec"] == {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": mine}
    assert policy["spec"]["podSelector"] == {"matchLabels": mine}
    peers = [{"podSelector": {"matchLabels": mine}}]
    assert policy["spec"]["ingress"] == [{"from": peers}]
    names, others = policy["spec"]["egress"]
    assert {rule["port"] for rule in names["ports"]} == {53}
    assert others == {"to": peers}
    for document in (service, policy):
        (owner,) = document["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("Job", name, "job-uid")
    again = manifests.job(
        TaskRequest(kind=TaskKind.TRAIN, name="other-train", input=input_of(nodes=2)),
        1, search(SHARED, nodes=2), SETTINGS,
    )  # fmt: skip
    assert again["spec"]["template"]["spec"]["subdomain"] != service["metadata"]["name"]


def test_several_nodes_need_a_volume_that_all_of_them_write() -> None:
    with pytest.raises(InvalidInputError, match=r"checkpointClaim is missing, and evaluation\.verl\.nodes is 2"):
        job(nodes=2)


def test_scoring_takes_one_pod_however_many_train() -> None:
    made = job(TaskKind.SCORE, SHARED, nodes=2)
    assert "completionMode" not in made["spec"]
    assert "subdomain" not in made["spec"]["template"]["spec"]


def test_a_queue_admits_all_pods_of_a_job_at_once() -> None:
    wanted = search(SHARED, nodes=2)
    queued = wanted.model_copy(update={"spec": wanted.spec.model_copy(update={"queue_name": "gpus"})})
    request = TaskRequest(kind=TaskKind.TRAIN, name="t", input=input_of(nodes=2))
    made = manifests.job(request, 1, queued, SETTINGS)
    assert made["spec"]["suspend"] is True
    assert made["spec"]["parallelism"] == 2
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
