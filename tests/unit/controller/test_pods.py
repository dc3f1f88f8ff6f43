"""Pods: whatever the platform's and a tenant's template say, the hardening holds and candidate code is given nothing more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.pods import CANDIDATE_CONTAINER, LOOK_UP_CONTAINER, TASK_CONTAINER, pod_template
from controller.settings import ArtifactSettings, ObjectStoreSettings, Settings
from poise_lib.errors import InvalidInputError
from poise_lib.resources.template import PodTemplate
from poise_lib.tasks.protocol import SPLIT_KINDS, TaskKind
from tests.unit.controller.templates import amount, defaults, templates

SETTINGS = Settings(worker_image="worker")
TOKEN = "f" * 32
kinds = st.sampled_from(TaskKind)


STORE = Settings(
    worker_image="worker",
    artifacts=ArtifactSettings(
        store=ObjectStoreSettings("s3://bucket/prefix", "http://minio.storage.svc:9000", "eu-1", "store")
    ),
)


def make(kind: TaskKind, template: PodTemplate, settings: Settings = SETTINGS) -> dict[str, Any]:
    return pod_template(kind, "job-1", TOKEN, {"poise.dev/search": "s"}, template, settings)


def under(default: PodTemplate) -> Settings:
    """The settings of a platform with this default, be it one that would be refused at the start."""
    return Settings(worker_image="worker", pod_template=default)


def containers(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]}


@given(kind=kinds, default=templates, template=templates)
@settings(max_examples=60)
def test_no_template_undoes_the_hardening(kind: TaskKind, default: PodTemplate, template: PodTemplate) -> None:
    pod = make(kind, template, under(default))
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert not any(spec[name] for name in ("hostNetwork", "hostPID", "hostIPC"))
    assert not {"serviceAccountName", "serviceAccount", "shareProcessNamespace", "hostUsers"} & set(spec)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(pod).values():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["image"] == "worker"
        assert "envFrom" not in container
        assert all("valueFrom" not in variable for variable in container["env"])
    annotations = pod["metadata"]["annotations"]
    assert not any(word in name for name in annotations for word in ("apparmor", "seccomp", "cri-o"))
    assert set(annotations) <= {*default.annotations, *template.annotations}
    assert pod["metadata"]["labels"] == {"poise.dev/search": "s"}
    kinds_of_volumes = [next(key for key in volume if key != "name") for volume in spec["volumes"]]
    assert set(kinds_of_volumes) <= {"configMap", "emptyDir", "persistentVolumeClaim"}
    assert spec["activeDeadlineSeconds"] == {TaskKind.TRAIN: 4 * 3600, TaskKind.SCORE: 3600}.get(kind, 900)


@given(kind=kinds, default=templates, template=templates)
@settings(max_examples=60)
def test_candidate_code_gets_its_input_scratch_a_way_to_hand_over_and_the_data_of_the_templates(
    kind: TaskKind, default: PodTemplate, template: PodTemplate
) -> None:
    pod = make(kind, template, under(default))
    volumes = (default if template.volumes is None else template).volumes or ()
    assert (CANDIDATE_CONTAINER in containers(pod)) is (kind in SPLIT_KINDS)
    for name, container in containers(pod).items():
        assert (TOKEN in str(container)) is (name == TASK_CONTAINER)
        if name != CANDIDATE_CONTAINER:
            continue
        claims = {
            volume["name"]: volume["persistentVolumeClaim"]["claimName"]
            for volume in pod["spec"]["volumes"]
            if "persistentVolumeClaim" in volume
        }
        mounts = container["volumeMounts"]
        data = {f"data-{index}" for index in range(len(volumes))}
        assert {mount["name"] for mount in mounts} == {"input", "candidate-scratch", "work", *data}
        assert all(claims.get(mount["name"]) != SETTINGS.artifacts.claim for mount in mounts)
        assert all(mount["readOnly"] for mount in mounts if mount["name"] in {"input", *data})
    order = [item["name"] for item in pod["spec"].get("initContainers", [])]
    assert order == ([LOOK_UP_CONTAINER, CANDIDATE_CONTAINER] if kind in SPLIT_KINDS else [])


@given(kind=kinds, default=defaults, template=templates)
@settings(max_examples=60)
def test_resources_name_at_least_what_we_name_and_ours_never_make_a_pod_impossible(
    kind: TaskKind, default: PodTemplate, template: PodTemplate
) -> None:
    plain = containers(make(kind, PodTemplate()))
    wanted = template.resources
    for name, container in containers(make(kind, template, under(default))).items():
        ours, theirs = plain[name]["resources"], container["resources"]
        assert set(ours["requests"]) <= set(theirs["requests"])
        assert set(ours["limits"]) <= set(theirs["limits"])
        assert name != LOOK_UP_CONTAINER or ours == theirs
        for key in set(theirs["requests"]) & set(theirs["limits"]):
            both = wanted is not None and key in wanted.requests and key in wanted.limits
            assert both or amount(theirs["requests"][key]) <= amount(theirs["limits"][key])


@pytest.mark.parametrize("kind", list(TaskKind))
def test_the_artifacts_cannot_be_mounted_as_data(kind: TaskKind) -> None:
    template = PodTemplate.model_validate({"volumes": [{"claimName": "mine", "mountPath": "/data"}]})
    make(kind, template)
    with pytest.raises(InvalidInputError, match=r"evaluation\.template\.volumes: mine"):
        make(kind, template, Settings(worker_image="w", artifacts=ArtifactSettings(claim="mine")))


def test_a_searchs_template_goes_over_the_platforms() -> None:
    default = PodTemplate.model_validate({
        "nodeSelector": {"pool": "searches", "zone": "a"}, "runtimeClassName": "gvisor", "priorityClassName": "low",
        "tolerations": [{"key": "searches"}], "imagePullSecrets": ["registry"], "annotations": {"cost": "platform"},
        "resources": {"limits": {"cpu": "2"}},
    })  # fmt: skip
    own = PodTemplate.model_validate(
        {"nodeSelector": {"zone": "b"}, "tolerations": [], "resources": {"limits": {"memory": "8Gi"}}}
    )
    pod = make(TaskKind.SCORE, own, under(default))
    spec = pod["spec"]
    assert spec["nodeSelector"] == {"pool": "searches", "zone": "b"}
    assert "tolerations" not in spec
    assert (spec["runtimeClassName"], spec["priorityClassName"]) == ("gvisor", "low")
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["metadata"]["annotations"] == {"cost": "platform"}
    assert spec["containers"][0]["resources"] == {
        "requests": {"cpu": "1", "memory": "1Gi"},
        "limits": {"cpu": "2", "memory": "8Gi"},
    }


@given(kind=kinds, default=templates, template=templates)
@settings(max_examples=60)
def test_only_trusted_containers_are_told_of_the_object_store(
    kind: TaskKind, default: PodTemplate, template: PodTemplate
) -> None:
    settings = replace(STORE, pod_template=default)
    pod = pod_template(kind, "job-1", TOKEN, {}, template, settings, namespace="team-a")
    plain = containers(make(kind, template, under(default)))
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in pod["spec"]
    assert all(volume["name"] != "artifacts" for volume in pod["spec"]["volumes"])
    for name, container in containers(pod).items():
        assert "envFrom" not in container
        if name == CANDIDATE_CONTAINER:
            assert container["args"] == [*plain[name]["args"], "--offline"]
            assert {**container, "args": []} == {**plain[name], "args": []}
            assert not any(word in str(container) for word in ("bucket", "minio", "AWS", "secret"))
            continue
        assert container["args"] == [
            "s3://bucket/prefix/team-a" if word == "/artifacts" else word for word in plain[name]["args"]
        ]
        told = {item["name"]: item.get("value", item.get("valueFrom")) for item in container["env"]}
        assert {key: told[key] for key in told if key.startswith("AWS")} == {
            "AWS_ENDPOINT_URL": "http://minio.storage.svc:9000",
            "AWS_REGION": "eu-1",
            **{
                key: {"secretKeyRef": {"name": "store", "key": key}}
                for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
            },
        }
        assert [m for m in plain[name]["volumeMounts"] if m["name"] != "artifacts"] == container["volumeMounts"]
