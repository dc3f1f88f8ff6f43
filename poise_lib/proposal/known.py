"""Compositions of known algorithms, and the composition to start from where a parent brings none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from poise_lib.archive.entry import Entry
from poise_lib.proposal.catalogue import GRAMMAR
from poise_lib.proposal.composition import Composition, canonical, component
from poise_lib.proposal.repair import repair

_Part = str | tuple[str, Mapping[str, float]]


def _composed(*parts: _Part) -> Composition:
    return canonical(component(part) if isinstance(part, str) else component(*part) for part in parts)


_KL: Final = ("reference-kl", {"kl_coef": 0.001})

GRPO: Final = _composed(
    ("group-normalisation", {"eps": 1e-6, "normalise": 1.0}),
    ("ratio-clip", {"clip_ratio": 0.2}),
    "seq-mean-token-mean",
    _KL,
)
"""Numerically equal to the zoo's GRPO at its defaults."""

_LOW_ENTROPY: Final = ("entropy-bonus", {"entropy_coef": 0.001})

KNOWN: Final[Mapping[str, Composition]] = {
    "grpo": GRPO,
    "dapo": _composed(
        # Rewards of -1 and 1 and a penalty of 1 are, after scaling, those of 0 and 1 and a penalty of 1/2.
        ("overlong-shaping", {"overlong_penalty": 0.5, "overlong_buffer": 0.2}),
        "group-normalisation",
        ("clip-higher", {"clip_ratio": 0.2, "clip_extra": 0.08}),
        "token-mean",
    ),
    "dr-grpo": _composed("unscaled", "ratio-clip", "seq-mean-token-sum-norm"),
    "gspo": _composed("group-normalisation", ("sequence-ratio", {"clip_ratio": 0.003})),
    "gmpo": _composed("group-normalisation", ("geometric-mean", {"log_clip": 0.4})),
    "sapo": _composed("group-normalisation", "soft-gate"),
    "aspo": _composed("group-normalisation", "ratio-flip", "token-mean"),
    "rloo": _composed("leave-one-out", "unscaled", "ratio-clip", "seq-mean-token-sum"),
    "reinforce-pp": _composed(
        ("batch-mixed-baseline", {"batch_share": 1.0}), "batch-normalisation", "ratio-clip", "token-mean", _KL
    ),
    "rf": _composed(
        ("format-penalty", {"format_penalty": 0.2}),
        ("damped-normalisation", {"damping": 0.1}),
        ("reference-fallback", {"fallback": 0.05}),
        "ratio-clip",
        _KL,
    ),
    "bn": _composed(
        ("format-penalty", {"format_penalty": 0.2}),
        "batch-normalisation",
        ("advantage-clip", {"advantage_limit": 1.5}),
        "ratio-clip",
        _KL,
        _LOW_ENTROPY,
    ),
    "av": _composed(
        ("format-penalty", {"format_penalty": 1.0}),
        "moment-scale",
        "ratio-clip",
        _KL,
        ("entropy-bonus", {"entropy_coef": 0.0005}),
    ),
    "vm-av": _composed(
        "valid-subset-baseline",
        "bernoulli-scale",
        ("invalid-floor", {"invalid_floor": 3.0}),
        "length-attenuation",
        "ratio-clip",
        _KL,
        _LOW_ENTROPY,
        "entropy-target",
    ),
    "msa": _composed(
        "format-penalty",
        ("anchored-deviation", {"anchor_floor": 0.1}),
        ("mixed-only", {"uniform_scale": 0.3}),
        ("length-power-law", {"length_power": 0.2}),
        "ratio-clip",
        _KL,
    ),
    "fa": _composed(
        "group-normalisation", "regime-penalties", ("advantage-clip", {"advantage_limit": 1.5}), "ratio-clip", _KL
    ),
    "dfr": _composed(
        "group-normalisation",
        ("format-stream", {"format_weight": 0.3}),
        ("entropy-signal", {"entropy_signal": 0.1}),
        "ratio-clip",
        _KL,
    ),
    "pr": _composed("group-normalisation", ("uniform-penalty", {"fail_penalty": 0.5}), "ratio-clip", _KL),
    "cda": _composed(
        ("optimistic-baseline", {"optimism": 1.0}),
        "bernoulli-scale",
        ("format-stream", {"format_weight": 0.3}),
        ("efficiency-stream", {"efficiency_weight": 0.1}),
        "ratio-clip",
        _KL,
    ),
    "sa": _composed(("batch-mixed-baseline", {"batch_share": 0.5}), "unscaled", "ratio-clip", _KL),
    "dace": _composed(
        "group-normalisation",
        ("difficulty-weighting", {"difficulty_weight": 0.5}),
        ("efficiency-stream", {"efficiency_weight": 0.2}),
        "ratio-clip",
        _KL,
        ("entropy-bonus", {"entropy_coef": 0.005}),
        "entropy-anneal",
    ),
    "cag": _composed("group-normalisation", ("overlength-cost", {"efficiency_weight": 0.5}), "ratio-clip", _KL),
    "dcbe": _composed("group-normalisation", ("length-index", {"efficiency_weight": 0.5}), "ratio-clip", _KL),
}
"""Zoo algorithms in the grammar, at the zoo's settings as far as kinds and ranges reach: twelve come out the same (the
contract tests name them), the others keep the idea and differ in a detail, such as a schedule or the order of
bounds."""


def composition_of(entry: Entry) -> Composition:
    """The composition that a proposal on ``entry`` starts from.

    An entry's own composition comes first; then a known algorithm of that title or name; then GRPO with those of the
    entry's mechanisms that the grammar has.
    """
    if entry.composition:
        own = repair(entry.composition)
        if own is not None:
            return own
    for name in (entry.title, entry.name):
        key = "-".join(re.findall(r"[a-z0-9]+", name.casefold().replace("++", "-pp")))
        for known in (key, key.removesuffix("-grpo")):
            if known in KNOWN:
                return KNOWN[known]
    declared = frozenset(name for name in entry.mechanisms if name in GRAMMAR.kinds)
    nearest = repair([*GRPO, *(component(name) for name in sorted(declared))], keep=declared)
    return nearest if nearest is not None else GRPO
