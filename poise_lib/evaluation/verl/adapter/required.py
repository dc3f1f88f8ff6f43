"""What the adapter needs of VeRL's configuration, whatever else a run sets: a few Hydra overrides."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

MODE: Final = "poise"
"""VeRL's ``trainer.v1.trainer_mode``: the name under which the adapter's trainer is registered."""


def required_overrides(needs: Collection[str]) -> dict[str, object]:
    """Overrides by key; they go after, and so over, those of the run.

    Args:
        needs: the candidate's NEEDS; what it does not name is not computed.
    """
    return {
        "trainer.use_v1": True,
        "trainer.v1.trainer_mode": MODE,
        # Never called: the trainer asks the candidate. GRPO's name says "no critic" to VeRL.
        "algorithm.adv_estimator": "grpo",
        "algorithm.use_kl_in_reward": False,
        # Makes VeRL hold a reference policy; the term itself is VeRL's loss, which is not used.
        "actor_rollout_ref.actor.use_kl_loss": "reference" in needs,
        "actor_rollout_ref.actor.calculate_entropy": "entropy" in needs,
    }


def hydra(key: str, value: object) -> str:
    """An override in Hydra's grammar; strings are quoted, so that no character of a path means anything."""
    if value is None:
        return f"{key}=null"
    if isinstance(value, bool):
        return f"{key}={str(value).lower()}"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"{key}='{escaped}'"
    if isinstance(value, list | tuple):
        return f"{key}=[{','.join(hydra('', item)[1:] for item in value)}]"
    return f"{key}={value}"
