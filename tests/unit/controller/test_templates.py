"""The platform's default for pods: what it may be, and how a Search's template goes over it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.__main__ import main
from controller.settings import Settings
from controller.templates import layered, merged, platform_default
from poise_lib.errors import InvalidInputError
from poise_lib.resources.template import PodTemplate, Resources
from tests.unit.controller.templates import amount, defaults, templates

NONE = PodTemplate()
SHARED, DEVICES = ("cpu", "memory"), ("nvidia.com/gpu", "hugepages-2Mi")
LISTS = ("node_affinity", "tolerations", "image_pull_secrets", "volumes")
MAPS = ("node_selector", "annotations", "nccl")
TEXTS = ("runtime_class_name", "priority_class_name", "checkpoint_claim", "hf_home", "shared_memory", "scratch")

quantities = st.sampled_from(["1", "500m", "2", "1Gi", "3000Mi"])
sides = st.fixed_dictionaries({}, optional=dict.fromkeys((*SHARED, *DEVICES), quantities))


@st.composite
def valid_resources(draw: st.DrawFn) -> Resources:
    """Resources that an API server takes: no request above its limit, and devices only with request and limit alike."""
    requests, limits = draw(sides), draw(sides)
    for name in set(requests) & set(limits):
        requests[name], limits[name] = sorted((requests[name], limits[name]), key=amount)
    requests = {name: limits.get(name, text) if name in DEVICES else text for name, text in requests.items()}
    return Resources(
        requests={name: text for name, text in requests.items() if name in (*SHARED, *limits)}, limits=limits
    )


def template(**fields: Any) -> PodTemplate:
    return PodTemplate.model_validate(fields)


# --- what the default may be ----------------------------------------------------------------------------------------------


@given(default=defaults)
def test_the_default_is_read_as_the_chart_passes_it_on(default: PodTemplate) -> None:
    variables = {"POISE_WORKER_IMAGE": "w", "POISE_POD_TEMPLATE": json.dumps(default.to_document())}
    assert Settings.from_environment(variables).pod_template == default


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"hostNetwork": True}, "podTemplate.hostNetwork is no field here"),
        ({"runtimeClasName": "x"}, "podTemplate.runtimeClasName is no field here; did you mean runtimeClassName?"),
        ({"runtime_class_name": "x"}, "podTemplate.runtime_class_name is no field here"),
        ({"runtimeClassName": "g Visor"}, "podTemplate.runtimeClassName must be lower-case letters"),
        ({"tolerations": [{}, {"operator": "Exist"}]}, "podTemplate.tolerations[1].operator must be Exists or Equal"),
        ({"tolerations": {"key": "a"}}, "podTemplate.tolerations must be a list, but is a mapping"),
        ({"tolerations": [{"tolerationSeconds": "5"}]}, "podTemplate.tolerations[0].tolerationSeconds must be a whole number"),
        ({"nodeSelector": {"a": 1}}, "podTemplate.nodeSelector.a must be text; put it in quotes, but is 1"),
        ({"nodeSelector": {"a b": "1"}}, 'podTemplate.nodeSelector["a b"] must be text that matches'),
        ({"resources": {"limits": {"cpu": 2}}}, "podTemplate.resources.limits.cpu must be text; put it in quotes"),
        ({"resources": {"limits": {"cpu": "much"}}}, "podTemplate.resources.limits.cpu must be text that matches"),
        ({"volumes": [{"claimName": "a"}]}, "podTemplate.volumes[0].mountPath is missing"),
        ({"volumes": [{"claimName": "a", "mountPath": "/etc"}]}, "podTemplate.volumes[0].mountPath must be text that"),
        ({"imagePullSecrets": ["a"] * 9}, "podTemplate.imagePullSecrets has 9 entries; at most 8"),
        # What the model takes, and no pod could use:
        (
            {"volumes": [{"claimName": "b", "mountPath": "/mnt"}, {"claimName": "mine", "mountPath": "/data"}]},
            "podTemplate.volumes[1].claimName is mine, which holds the artifacts",
        ),
        (
            {"annotations": {"container.apparmor.security.beta.kubernetes.io/task": "unconfined"}},
            'podTemplate.annotations["container.apparmor.security.beta.kubernetes.io/task"] chooses what a pod is',
        ),
        ({"checkpointClaim": "mine"}, "podTemplate.checkpointClaim is mine, which holds the artifacts"),
        (
            {"resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "500M"}}},
            "podTemplate.resources.requests.memory is 1Gi, above its limit of 500M",
        ),
        (
            {"scoringResources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "500M"}}},
            "podTemplate.scoringResources.requests.memory is 1Gi, above its limit of 500M",
        ),
    ],
)  # fmt: skip
def test_a_wrong_default_is_refused_by_its_field(document: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        platform_default(json.dumps(document), "mine")
    assert str(refused.value).startswith(f"POISE_POD_TEMPLATE: {complaint}")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "gvisor"])
def test_what_is_no_template_at_all_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^POISE_POD_TEMPLATE: podTemplate "):
        platform_default(text, "mine")


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(InvalidInputError, match=r"podTemplate\.a is no field .*; podTemplate\.b is no field"):
        platform_default('{"a": 1, "b": 2}', "mine")


def test_the_controller_ends_with_the_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POISE_WORKER_IMAGE", "w")
    monkeypatch.setenv("POISE_POD_TEMPLATE", '{"tolerations": [{"operator": "Exist"}]}')
    assert main() == InvalidInputError.exit_code
    said = capsys.readouterr().err
    assert said.startswith("Error: POISE_POD_TEMPLATE: podTemplate.tolerations[0].operator must be Exists or Equal")


# --- a Search's template over it --------------------------------------------------------------------------------------------


@given(default=defaults, own=templates)
def test_a_field_that_the_search_sets_wins_and_the_default_fills_the_rest(
    default: PodTemplate, own: PodTemplate
) -> None:
    both = merged(default, own)
    for name in (*LISTS, *TEXTS):
        assert getattr(both, name) == getattr(default if getattr(own, name) is None else own, name), name
    for name in MAPS:
        theirs, ours, found = (getattr(one, name) for one in (default, own, both))
        assert set(found) == {*theirs, *ours}
        assert all(found[key] == ours.get(key, theirs.get(key)) for key in found)
    assert {*MAPS, *LISTS, *TEXTS, "resources", "scoring_resources"} == set(PodTemplate.model_fields), (
        "say how a new field is merged"
    )


@given(one=templates)
def test_nothing_over_or_under_a_template_changes_it(one: PodTemplate) -> None:
    assert merged(NONE, one) == one == merged(one, NONE) == merged(one, one)


def test_an_empty_list_is_a_list_and_takes_the_default_away() -> None:
    volume = {"claimName": "models", "mountPath": "/models"}
    default = template(volumes=[volume], tolerations=[{"key": "a"}], imagePullSecrets=["a"], nodeAffinity=[
        {"key": "a", "operator": "Exists"}])  # fmt: skip
    none = merged(default, template(volumes=[], tolerations=[], imagePullSecrets=[], nodeAffinity=[]))
    assert [getattr(none, name) for name in LISTS] == [()] * 4
    assert none.pod_fields() == {}
    assert merged(default, template(tolerations=[{"key": "b"}])).to_document()["tolerations"] == [
        {"key": "b", "operator": "Exists"}
    ]


def test_maps_may_grow_beyond_what_one_template_may_hold() -> None:
    first, second = ({f"{letter}{index}": "x" for index in range(16)} for letter in "ab")
    both = merged(
        template(nodeSelector=first, resources={"limits": {f"a/{name}": "1" for name in first}}),
        template(nodeSelector=second, resources={"limits": {f"b/{name}": "1" for name in second}}),
    )
    assert len(both.node_selector) == 32
    assert both.resources is not None
    assert len(both.resources.limits) == 32


@given(under=valid_resources(), over=valid_resources())
def test_resources_that_an_api_server_takes_go_over_others_of_the_kind_and_it_takes_the_outcome(
    under: Resources, over: Resources
) -> None:
    found = layered(under, over)
    for name in (*SHARED, *DEVICES):
        request, limit = found.requests.get(name), found.limits.get(name)
        for side, kept in (("requests", request), ("limits", limit)):
            first, second = getattr(over, side).get(name), getattr(under, side).get(name)
            if first is not None:
                assert kept == first, "the Search's word"
            elif name not in over.requests and name not in over.limits:
                assert kept == second, "the default, where the Search says nothing of it"
        if request is not None and limit is not None:
            assert amount(request) <= amount(limit)
        if name in DEVICES:
            assert request is None or request == limit


@pytest.mark.parametrize(
    ("default", "own", "expected"),
    [
        ({"requests": {"cpu": "2"}}, {"limits": {"cpu": "1"}}, {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}),
        ({"requests": {"cpu": "2"}}, {"limits": {"cpu": "3"}}, {"requests": {"cpu": "2"}, "limits": {"cpu": "3"}}),
        ({"limits": {"cpu": "2"}}, {"requests": {"cpu": "3"}}, {"requests": {"cpu": "3"}, "limits": {"cpu": "3"}}),
        ({"limits": {"cpu": "2"}}, {"requests": {"cpu": "1"}}, {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}),
        ({"limits": {"cpu": "2"}}, {"limits": {"memory": "1Gi"}}, {"requests": {}, "limits": {"cpu": "2", "memory": "1Gi"}}),
        (
            {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}},
            {"limits": {"nvidia.com/gpu": "2"}},
            {"requests": {}, "limits": {"nvidia.com/gpu": "2"}},
        ),
        ({"limits": {"nvidia.com/gpu": "1"}}, {"limits": {"nvidia.com/gpu": "0"}}, {"requests": {}, "limits": {"nvidia.com/gpu": "0"}}),
    ],
)  # fmt: skip
def test_resources_by_hand(default: dict[str, Any], own: dict[str, Any], expected: dict[str, Any]) -> None:
    found = merged(template(resources=default), template(resources=own)).resources
    assert found is not None
    assert found.to_document() == expected
