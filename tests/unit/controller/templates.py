"""Templates of pods, drawn by chance."""

from __future__ import annotations

from hypothesis import strategies as st

from poise_lib.resources.template import PodTemplate

UNITS = {"": 1.0, "m": 1e-3, "k": 1e3, "Ki": 1024.0, "M": 1e6, "Mi": 1024.0**2, "G": 1e9, "Gi": 1024.0**3, "T": 1e12,
         "Ti": 1024.0**4}  # fmt: skip

keys = st.sampled_from(
    ["cpu", "memory", "nvidia.com/gpu", "team", "container.apparmor.security.beta.kubernetes.io/candidate",
     "seccomp.security.alpha.kubernetes.io/pod", "io.kubernetes.cri-o.Devices"]
)  # fmt: skip
values = st.sampled_from(["", "a", "unconfined", "true", "runtime-default"])
names = st.sampled_from(["a", "poise-artifact", "work", "default", "input"])
quantities = st.builds("{}{}".format, st.integers(1, 500), st.sampled_from(sorted(UNITS)))
amounts = st.dictionaries(st.sampled_from(["cpu", "memory", "nvidia.com/gpu"]), quantities)
templates = st.fixed_dictionaries(
    {},
    optional={
        "resources": st.fixed_dictionaries({}, optional={"requests": amounts, "limits": amounts}),
        "nodeSelector": st.dictionaries(keys, values, max_size=3),
        "nodeAffinity": st.lists(st.fixed_dictionaries({"key": keys, "operator": st.just("Exists")}), max_size=2),
        "tolerations": st.lists(st.fixed_dictionaries({"key": keys, "value": values}), max_size=2),
        "runtimeClassName": names,
        "priorityClassName": names,
        "imagePullSecrets": st.lists(names, max_size=2),
        "volumes": st.lists(
            st.fixed_dictionaries({"claimName": names, "mountPath": st.sampled_from(["/data", "/models/a", "/mnt/b"])}),
            max_size=3,
        ),
        "annotations": st.dictionaries(keys, values, max_size=4),
        "scoringResources": st.fixed_dictionaries({}, optional={"requests": amounts, "limits": amounts}),
        "checkpointClaim": names,
        "hfHome": st.just("/models/a"),
        "sharedMemory": quantities,
        "scratch": quantities,
        "nccl": st.dictionaries(st.sampled_from(["NCCL_DEBUG", "NCCL_IB_HCA"]), st.sampled_from(["INFO", "mlx5"])),
    },
).map(PodTemplate.model_validate)


def amount(quantity: str) -> float:
    """What a Kubernetes quantity means."""
    number = quantity.rstrip("".join(UNITS))
    return float(number) * UNITS[quantity[len(number) :]]


def possible(template: PodTemplate) -> bool:
    """Whether the template is one that a platform may have as its default."""
    fits = all(
        amount(resources.requests[name]) <= amount(resources.limits[name])
        for resources in (template.resources, template.scoring_resources)
        if resources is not None
        for name in set(resources.requests) & set(resources.limits)
    )
    return fits and not any(word in name for name in template.annotations for word in ("apparmor", "seccomp", "cri-o"))


defaults = templates.filter(possible)
