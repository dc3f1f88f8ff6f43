"""What is asked of pods: a Search's template over the platform's default.  Pure; :mod:`controller.pods` hardens it, last.

The Search's word wins.  Maps are merged by key.  A list of the Search's takes the place of the default's, an empty one too,
as in a chart's values: added to it, a Search could never be rid of an entry, such as a claim that its namespace lacks.
"""

from __future__ import annotations

import re
from typing import Any, Final

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from poise_lib.errors import InvalidInputError
from poise_lib.resources.messages import explain, field_path
from poise_lib.resources.template import PodTemplate, Resources

VARIABLE: Final = "POISE_POD_TEMPLATE"
VALUE: Final = "podTemplate"
"""What the chart calls the default."""

_HARDENING_ANNOTATIONS: Final = ("apparmor.security.", "seccomp.security.", "io.kubernetes.cri-o.")
"""Parts of annotations that choose what a pod is confined by; they are the controller's business."""
_QUANTITY: Final = re.compile(r"([0-9.]+)([a-zA-Z]*)")
_UNITS: Final = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
                 "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}  # fmt: skip


def platform_default(text: str, artifacts_claim: str | None) -> PodTemplate:
    """The default that the platform sets for all searches, from JSON.

    Args:
        text: as the chart passes it on.
        artifacts_claim: which no task may mount as data; None where an object store holds the artifacts.

    Raises:
        InvalidInputError: it is no template, or one that could never be used; the message names each wrong field.
    """
    try:
        template = PodTemplate.model_validate_json(text, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        complaints = [explain(PodTemplate, item) for item in error.errors(include_url=False)]
    else:
        complaints = _useless(template, artifacts_claim)
    if complaints:
        told = "; ".join(f"{field_path((VALUE, *path))} {complaint}" for path, complaint in complaints)
        raise InvalidInputError(f"{VARIABLE}: {told}")
    return template


def _useless(template: PodTemplate, artifacts_claim: str | None) -> list[tuple[tuple[str | int, ...], str]]:
    """What no pod could come of, or what would be left out of it without a word."""
    complaints: list[tuple[tuple[str | int, ...], str]] = [
        (
            ("volumes", index, "claimName"),
            f"is {artifacts_claim}, which holds the artifacts and is not for tasks to mount",
        )
        for index, volume in enumerate(template.volumes or ())
        if volume.claim_name == artifacts_claim
    ]
    complaints += [
        (("annotations", name), "chooses what a pod is confined by, and that is fixed")
        for name in template.annotations
        if not is_free(name)
    ]
    if artifacts_claim is not None and template.checkpoint_claim == artifacts_claim:
        told = f"is {artifacts_claim}, which holds the artifacts and is not for tasks to mount"
        complaints.append((("checkpointClaim",), told))
    for field in ("resources", "scoring_resources"):
        wanted = getattr(template, field) or Resources()
        for name, amount in wanted.requests.items():
            limit = wanted.limits.get(name, amount)
            if _amount(amount) > _amount(limit):
                complaints.append(((to_camel(field), "requests", name), f"is {amount}, above its limit of {limit}"))
    return complaints


def is_free(annotation: str) -> bool:
    """Whether a template may set this annotation of a pod."""
    return not any(part in annotation for part in _HARDENING_ANNOTATIONS)


def merged(default: PodTemplate, own: PodTemplate) -> PodTemplate:
    """A Search's template with the platform's default where it says nothing."""
    fields = {name: _over(getattr(default, name), getattr(own, name)) for name in PodTemplate.model_fields}
    return PodTemplate.model_construct(**fields)  # the bounds were those of either, not of both together


def _over(under: Any, over: Any) -> Any:
    if over is None or under is None:
        return under if over is None else over
    if isinstance(over, Resources):
        return layered(under, over)
    return {**under, **over} if isinstance(over, dict) else over


def layered(under: Resources, over: Resources) -> Resources:
    """Resources by name.  Where ``over`` names one of request and limit, the other one of ``under`` gives way to it: the
    API server refuses a request above its limit, and of what cannot be shared a request that is not its limit.
    """
    named = over.requests.keys() | over.limits.keys()
    requests, limits = ({name: text for name, text in side.items() if name not in named or is_shared(name)}
                        for side in (under.requests, under.limits))  # fmt: skip
    requests = {name: min(text, over.limits.get(name, text), key=_amount) for name, text in requests.items()}
    limits = {name: max(text, over.requests.get(name, text), key=_amount) for name, text in limits.items()}
    return Resources.model_construct(requests={**requests, **over.requests}, limits={**limits, **over.limits})


def is_shared(resource: str) -> bool:
    """Whether a container may be promised less of it than it may use: not of devices and huge pages."""
    return "/" not in resource and not resource.startswith("hugepages-")


def _amount(quantity: str) -> float:
    match = _QUANTITY.fullmatch(quantity)
    assert match is not None, quantity
    return float(match[1]) * _UNITS[match[2]]
