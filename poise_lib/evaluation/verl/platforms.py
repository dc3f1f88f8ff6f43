"""What VeRL's configuration needs beyond the settings where there is no GPU, or no vLLM.

Nothing here changes what is trained: precision apart, which on a processor is float32 throughout.
"""

from __future__ import annotations

from typing import Final

from poise_lib.resources.verl import Platform, RolloutEngine, VerlSettings

_SMALL: Final = "a model small enough for rollout.engine hf needs one process of each kind"
_PLAIN: Final = "rollout.engine hf goes with plain attention: flash-attn is not asked for"
_CPU: Final = "platform cpu"
_LOGICAL_CPUS: Final = 8
"""What Ray is told of processors, so that VeRL's actors find a place; they share what there is."""
_OBJECT_STORE: Final = 200_000_000
"""Bytes; the weights of a tiny model and a step's batch, many times over."""

Part = tuple[str, bool | int | float | str | tuple[str, ...] | None, str]
"""A key of VeRL's, its value, and where it comes from."""


def platform_parts(settings: VerlSettings) -> tuple[Part, ...]:
    """What the platform and the rollout engine add to a run's overrides; nothing for vLLM on GPUs."""
    parts: tuple[Part, ...] = ()
    if settings.rollout.engine is RolloutEngine.HF:
        parts += _without_vllm()
    if settings.platform is Platform.CPU:
        parts += _on_processors(settings)
    return parts


def _without_vllm() -> tuple[Part, ...]:
    rollout = "actor_rollout_ref.rollout."
    return (
        ("+actor_rollout_ref.model.override_config.attn_implementation", "sdpa", _PLAIN),
        ("actor_rollout_ref.model.use_remove_padding", False, _PLAIN),
        (f"{rollout}free_cache_engine", False, "rollout.engine hf keeps no cache between steps"),
        (f"{rollout}max_num_seqs", 512, "rollout.engine hf samples as many at once"),
        (f"{rollout}agent.num_workers", 1, _SMALL),
        ("reward.num_workers", 1, _SMALL),
        ("transfer_queue.backend.SimpleStorage.num_data_storage_units", 1, _SMALL),
        ("data.dataloader_num_workers", 0, _SMALL),
        ("+ray_kwargs.ray_init.include_dashboard", False, _SMALL),
    )


def _on_processors(settings: VerlSettings) -> tuple[Part, ...]:
    actor = "actor_rollout_ref.actor."
    parts: list[Part] = [
        ("trainer.device", "cpu", "platform"),
        ("actor_rollout_ref.rollout.dtype", "float32", _CPU),
        (f"{actor}use_torch_compile", False, _CPU),
        ("ray_kwargs.ray_init.num_cpus", _LOGICAL_CPUS, _CPU),
        # Logical ones: VeRL counts nothing else.
        ("+ray_kwargs.ray_init.num_gpus", settings.gpus_per_node, _CPU),
        ("+ray_kwargs.ray_init.object_store_memory", _OBJECT_STORE, _CPU),
    ]
    # Both in one precision, or the reference would differ from the base.
    for engine in (f"{actor}fsdp_config", "actor_rollout_ref.ref.fsdp_config"):
        parts += [(f"{engine}.model_dtype", "fp32", _CPU), (f"{engine}.use_torch_compile", False, _CPU)]
        parts += [(f"+{engine}.mixed_precision.{kind}_dtype", "fp32", _CPU) for kind in ("param", "reduce", "buffer")]
    return tuple(parts)
