"""Who gets the key of a language model: the trusted container of a task that asks it, and nobody else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller import manifests
from controller.asking import ENV_LITERATURE, LABEL_ASKS, NOTHING, Extras, extras
from controller.pods import TASK_CONTAINER, USER, pod_template
from controller.settings import ArtifactSettings, ObjectStoreSettings, Settings
from poise_lib.resources import Search
from poise_lib.resources.template import PodTemplate
from poise_lib.tasks.protocol import MODEL_KINDS, SPLIT_KINDS, TaskKind, TaskRequest
from tests.unit.controller.templates import templates

SECRET = "the-secret"
CLAIM = Settings(worker_image="worker")
STORE = Settings(worker_image="w", artifacts=ArtifactSettings(store=ObjectStoreSettings("s3://bucket", secret="store")))
LLM = {"model": "m", "secretRef": {"name": SECRET, "key": "the-key"}, "literature": {"configMap": "papers"}}
REFERENCE = {"name": "OPENAI_API_KEY", "valueFrom": {"secretKeyRef": {"name": SECRET, "key": "the-key"}}}


def search(llm: dict[str, Any] | None, template: PodTemplate | None = None) -> Search:
    proposer = {} if llm is None else {"proposer": {"type": "LLM", "llm": llm}}
    evaluation = {} if template is None else {"evaluation": {"template": template.to_document()}}
    metadata = {"name": "s", "namespace": "team", "uid": "search-uid"}
    return Search.model_validate(
        {"metadata": metadata, "spec": {"budget": {"candidates": 2}, **proposer, **evaluation}}
    )


def request(kind: TaskKind, llm: dict[str, Any] | None) -> TaskRequest:
    return TaskRequest(kind=kind, name="s-task", input={"llm": llm, "source": "code"})


def pod_of(kind: TaskKind, asks: bool, names: bool, given: Settings, template: PodTemplate | None = None) -> Any:
    asked = request(kind, LLM if asks else None)
    return manifests.job(asked, 1, search(LLM if names else None, template), given)["spec"]["template"]


def containers(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]}


@given(
    kind=st.sampled_from(TaskKind),
    asks=st.booleans(),
    names=st.booleans(),
    given=st.sampled_from([CLAIM, STORE]),
    default=templates,
    template=templates,
)
@settings(max_examples=100, deadline=None)
def test_the_key_is_in_the_one_container_of_a_task_that_asks_and_nowhere_else(
    kind: TaskKind, asks: bool, names: bool, given: Settings, default: PodTemplate, template: PodTemplate
) -> None:
    pod = pod_of(kind, asks, names, replace(given, pod_template=default), template)
    may = asks and names and kind in MODEL_KINDS
    assert (pod["metadata"]["labels"].get(LABEL_ASKS) == "true") is may
    for name, container in containers(pod).items():
        has = may and name == TASK_CONTAINER
        assert (REFERENCE in container["env"]) is has
        assert (SECRET in str(container)) is has
        assert ({"name": ENV_LITERATURE, "value": "/literature"} in container["env"]) is has
        mounts = [item for item in container["volumeMounts"] if item["mountPath"] == "/literature"]
        assert mounts == ([{"name": "literature", "mountPath": "/literature", "readOnly": True}] if has else [])
        assert "envFrom" not in container
    volumes = [item for item in pod["spec"]["volumes"] if item["name"] == "literature"]
    assert volumes == ([{"name": "literature", "configMap": {"name": "papers"}}] if may else [])
    assert str(pod).count(SECRET) == int(may), "neither a volume nor an annotation speaks of it"


def test_no_kind_that_runs_candidate_code_may_ask() -> None:
    assert not set(MODEL_KINDS) & set(SPLIT_KINDS)
    assert TaskKind.SCORE not in MODEL_KINDS


@pytest.mark.parametrize("kind", SPLIT_KINDS)
def test_what_is_given_to_a_task_with_candidate_code_all_the_same_does_not_reach_its_pod(kind: TaskKind) -> None:
    """A second lock: whoever adds such a kind to those that may ask finds this one closed."""
    given = Extras({LABEL_ASKS: "true"}, (REFERENCE,), ({"name": "literature"},), ({"name": "literature"},))
    plain = pod_template(kind, "job-1", "f" * 32, {}, PodTemplate(), CLAIM)
    assert pod_template(kind, "job-1", "f" * 32, {}, PodTemplate(), CLAIM, asking=given) == plain


def test_a_server_without_a_key_needs_no_secret() -> None:
    found = extras(request(TaskKind.PROPOSE, {"model": "m"}), search({"model": "m"}))
    assert (found.labels, found.environment, found.volumes) == ({LABEL_ASKS: "true"}, (), ())


def test_the_searchs_word_counts_and_not_the_inputs() -> None:
    other = {"model": "m", "secretRef": {"name": "somebody-elses", "key": "k"}}
    found = extras(request(TaskKind.REFLECT, other), search(LLM))
    assert REFERENCE in found.environment
    assert "somebody-elses" not in str(found)
    assert extras(request(TaskKind.REFLECT, other), search(None)) == NOTHING


def test_a_local_file_of_literature_is_none_of_the_clusters() -> None:
    found = extras(request(TaskKind.PROPOSE, LLM), search({"model": "m", "literature": {"file": "papers.yaml"}}))
    assert (found.environment, found.mounts, found.volumes) == ((), (), ())


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_a_task_that_asks_can_write_its_book_of_spending(kind: TaskKind) -> None:
    """Beside the artifacts, which are a volume of the pod's own group."""
    pod = pod_of(kind, True, True, CLAIM)
    (mount,) = (item for item in containers(pod)[TASK_CONTAINER]["volumeMounts"] if item["name"] == "artifacts")
    assert not mount.get("readOnly", False)
    security = pod["spec"]["securityContext"]
    assert security["fsGroup"] == security["runAsUser"] == USER
