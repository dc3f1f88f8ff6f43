"""The chart's ``podTemplate``: its schema follows the model, and what helm takes reaches the controller as it was given."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, Final

import pytest
import yaml

from controller.settings import Settings
from poise_lib.errors import InvalidInputError
from poise_lib.resources.chart_values import with_pod_template
from poise_lib.resources.template import PodTemplate
from tests.kube import chart
from tests.kube.assets import Assets, MissingError, find, unavailable
from tests.kube.chart import CHART, HelmError
from tests.kube.cluster import ROOT

SCHEMA: Final = CHART / "values.schema.json"
WHOLE: Final[dict[str, Any]] = {
    "resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "4Gi", "nvidia.com/gpu": "1"}},
    "nodeSelector": {"example.com/pool": "searches", "empty": ""},
    "nodeAffinity": [{"key": "zone", "operator": "In", "values": ["a", "b"]}],
    "tolerations": [{"key": "searches", "operator": "Equal", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 1000000}],
    "runtimeClassName": "gvisor",
    "priorityClassName": "low",
    "imagePullSecrets": ["registry"],
    "volumes": [{"claimName": "models", "mountPath": "/models/a", "usedBy": ["train"]}],
    "scoringResources": {"requests": {"cpu": "1"}, "limits": {"memory": "8Gi"}},
    "checkpointClaim": "kept",
    "hfHome": "/models/a",
    "sharedMemory": "8Gi",
    "scratch": "200Gi",
    "nccl": {"NCCL_IB_HCA": "mlx5_0,mlx5_1"},
    "annotations": {"example.com/note": """$(POISE_IDENTITY) "quoted" 'single' \\ ü ✓ <&> {{ .Values }}\n\tlast"""},
}  # fmt: skip
"""Every field, and texts that a shell, YAML, JSON, Go templates or a kubelet would take for more than text."""
WRONG: Final[dict[str, dict[str, Any]]] = {
    "/podTemplate": {"hostNetwork": True},
    "/podTemplate/runtimeClassName": {"runtimeClassName": "g Visor"},
    "/podTemplate/priorityClassName": {"priorityClassName": ""},
    "/podTemplate/nodeSelector": {"nodeSelector": {"a b": "x"}},
    "/podTemplate/nodeSelector/a": {"nodeSelector": {"a": True}},
    "/podTemplate/annotations/a": {"annotations": {"a": "x" * 257}},
    "/podTemplate/resources/limits/cpu": {"resources": {"limits": {"cpu": 2}}},
    "/podTemplate/resources": {"resources": {"claims": {}}},
    "/podTemplate/tolerations/0/operator": {"tolerations": [{"operator": "Exist"}]},
    "/podTemplate/tolerations/0/tolerationSeconds": {"tolerations": [{"tolerationSeconds": -1}]},
    "/podTemplate/tolerations": {"tolerations": [{}] * 17},
    "/podTemplate/nodeAffinity/0": {"nodeAffinity": [{"key": "a"}]},
    "/podTemplate/volumes/0/mountPath": {"volumes": [{"claimName": "a", "mountPath": "/etc"}]},
    "/podTemplate/volumes/0/usedBy/0": {"volumes": [{"claimName": "a", "mountPath": "/mnt", "usedBy": ["verify"]}]},
    "/podTemplate/nccl": {"nccl": {"LD_PRELOAD": "/x"}},
    "/podTemplate/sharedMemory": {"sharedMemory": "much"},
    "/podTemplate/imagePullSecrets/0": {"imagePullSecrets": [{"name": "a"}]},
}
"""Where it is wrong -> a value that neither helm nor the controller may take."""


@cache
def helm() -> Assets:
    try:
        return find(["helm"], tools=())
    except MissingError as missing:
        unavailable(missing)


def passed_on(value: dict[str, Any]) -> str:
    """What the Deployment gives to the controller for this value.  Raises HelmError as helm does."""
    documents = chart.render(helm(), {"podTemplate": value, "crds": {"install": False}})
    [deployment] = [document for document in documents if document["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    [text] = [item["value"] for item in container["env"] if item["name"] == "POISE_POD_TEMPLATE"]
    assert isinstance(text, str)
    return text


def read(text: str) -> PodTemplate:
    return Settings.from_environment({"POISE_WORKER_IMAGE": "w", "POISE_POD_TEMPLATE": text}).pod_template


def test_the_schema_follows_the_model() -> None:
    text = SCHEMA.read_text(encoding="utf-8")
    assert with_pod_template(text) == text, "run: make generate"


def test_the_rest_of_the_schema_is_left_alone() -> None:
    before = json.loads(SCHEMA.read_text(encoding="utf-8"))
    after = json.loads(
        with_pod_template(json.dumps({**before, "properties": {**before["properties"], "podTemplate": 1}}))
    )
    assert after == before


def test_every_field_reaches_the_controller_as_it_was_given() -> None:
    assert set(WHOLE) == {field.alias or name for name, field in PodTemplate.model_fields.items()}
    text = passed_on(WHOLE)
    assert read(text) == PodTemplate.model_validate(WHOLE)
    assert json.loads(text) == WHOLE


def test_a_kubelet_finds_nothing_to_expand() -> None:
    assert "$" not in passed_on(WHOLE)


def test_nothing_is_the_default() -> None:
    assert read(passed_on({})) == PodTemplate()
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert values["podTemplate"] == {}


def test_the_example_in_the_documentation_is_valid() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```yaml\n(podTemplate:\n.*?)```", text, re.DOTALL)
    example = yaml.safe_load(block)["podTemplate"]
    assert json.loads(passed_on(example)) == example
    read(json.dumps(example))


def test_the_examples_in_the_values_are_valid() -> None:
    lines = (CHART / "values.yaml").read_text(encoding="utf-8").partition("\npodTemplate: {}\n")[2].split("\n\n")[0]
    example = yaml.safe_load("\n".join(line.replace("  # ", "", 1) for line in lines.splitlines()))
    assert len(example) >= 5
    assert read(passed_on(example)).to_document().keys() >= example.keys()


@pytest.mark.parametrize("place", sorted(WRONG))
def test_what_helm_refuses_by_its_place_the_controller_refuses_too(place: str) -> None:
    with pytest.raises(HelmError) as refused:
        passed_on(WRONG[place])
    assert f"at '{place}'" in str(refused.value)
    with pytest.raises(InvalidInputError, match=r"^POISE_POD_TEMPLATE: podTemplate\."):
        read(json.dumps(WRONG[place]))
