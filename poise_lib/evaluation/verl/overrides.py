"""From the settings of a Search to VeRL's configuration: one pure function, and what a user may change of the result.

:func:`describe` gives the whole run: Hydra overrides with the setting that each comes from, the environment and the
command.  It needs no VeRL; :mod:`poise_lib.evaluation.verl.composing` checks the overrides against VeRL's own
configuration where VeRL is installed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from poise_lib.errors import InvalidInputError
from poise_lib.evaluation.verl.adapter.required import hydra, required_overrides
from poise_lib.evaluation.verl.platforms import Part, platform_parts
from poise_lib.resources.evaluation import Fidelity
from poise_lib.resources.verl import RolloutEngine, VerlSettings

ENTRY: Final = "poise_lib.evaluation.verl.adapter.driver"
"""The module that composes VeRL's configuration, puts the candidate in and trains."""
CANDIDATE_VARIABLE: Final = "POISE_VERL_CANDIDATE"
"""What the adapter calls it (``adapter.spec``); written here too, so that a scorer imports no candidate's loader."""
METRICS_VARIABLE: Final = "VERL_FILE_LOGGER_PATH"
FIELD: Final = "evaluation.verl"

ROLLOUT_NAMES: Final = {RolloutEngine.VLLM: "vllm", RolloutEngine.SGLANG: "sglang", RolloutEngine.HF: "hf"}
"""VeRL's names; the last is that of the replica which the adapter registers."""

_PLAIN: Final = re.compile(r"/?(?!(?:true|false|null|nan|inf)\b)[A-Za-z][A-Za-z0-9_./-]*", re.IGNORECASE)
"""Text that Hydra reads as itself without quotes."""

Value = bool | int | float | str | None | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a run finds and leaves things; the folders are there, or are made by VeRL."""

    model: str
    """Folder of the base, or an id of the hub."""
    train: tuple[str, ...]
    """Parquet in VeRL's format."""
    reward: str
    """Python file with the reward function."""
    candidate: str
    """The candidate as the adapter reads it."""
    checkpoints: str
    metrics: str
    """VeRL's metrics, JSON lines, followed while it trains."""


@dataclass(frozen=True, slots=True)
class Override:
    """One value of VeRL's configuration, and why it is what it is."""

    key: str
    value: Value
    source: str
    """A setting such as ``evaluation.verl.batchSize``, or a sentence."""
    raw: bool = False
    """The value is in Hydra's own grammar already."""

    def text(self) -> str:
        """As Hydra's command line has it."""
        if self.raw:
            return f"{self.key}={self.value}"
        if isinstance(self.value, tuple) and all(map(_PLAIN.fullmatch, self.value)):
            return f"{self.key}=[{','.join(self.value)}]"
        plain = isinstance(self.value, str) and _PLAIN.fullmatch(self.value)
        return f"{self.key}={self.value}" if plain else hydra(self.key, self.value)


@dataclass(frozen=True, slots=True)
class RunDescription:
    """All that decides a run."""

    overrides: tuple[Override, ...]
    environment: Mapping[str, str]

    @property
    def arguments(self) -> tuple[str, ...]:
        """The overrides as Hydra's command line has them; later ones win."""
        return tuple(override.text() for override in self.overrides)

    @property
    def command(self) -> tuple[str, ...]:
        """What is executed, in :attr:`environment`."""
        return ("python", "-u", "-m", ENTRY, *self.arguments)

    def shell(self) -> str:
        """The same as a line for a shell, an argument a line."""
        words = [*(f"{name}={shlex.quote(value)}" for name, value in sorted(self.environment.items()))]
        words += ["python -u -m " + ENTRY, *map(shlex.quote, self.arguments)]
        return " \\\n  ".join(words)


def describe(
    settings: VerlSettings,
    paths: Paths,
    *,
    name: str,
    needs: Collection[str] = (),
    fidelity: Fidelity = Fidelity.FULL,
    seed: int = 0,
) -> RunDescription:
    """The run that trains one candidate.

    Args:
        settings: the protocol.
        paths: where things are.
        name: of the candidate, for logs.
        needs: its NEEDS.
        fidelity: probe takes ``probeSteps`` instead of all; confirmation trains as full does.
        seed: of the data's order and of sampling.

    Raises:
        InvalidInputError: an override of the settings is not allowed; the message names it and the way out.
    """
    made = {override.key: override for override in _settings_overrides(settings, paths, name, fidelity, seed)}
    for key, value in required_overrides(needs).items():
        # What makes the objective the candidate's comes from the adapter, and goes over everything else.
        made[key] = Override(key, _value(value), "the objective is the candidate's")
    users = tuple(_users(key, value, made) for key, value in settings.overrides.items())
    return RunDescription((*made.values(), *users), _environment(paths))


def _environment(paths: Paths) -> dict[str, str]:
    return {
        CANDIDATE_VARIABLE: paths.candidate,
        METRICS_VARIABLE: paths.metrics,
        "HF_HUB_OFFLINE": "1",  # the model is there before training starts; nothing is fetched beside candidate code
        "HYDRA_FULL_ERROR": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _value(value: object) -> Value:
    if isinstance(value, list | tuple):
        return tuple(str(item) for item in value)
    assert value is None or isinstance(value, bool | int | float | str), value
    return value


def _settings_overrides(
    settings: VerlSettings, paths: Paths, name: str, fidelity: Fidelity, seed: int
) -> tuple[Override, ...]:
    """What the settings decide, and what the standard protocol fixes for all candidates."""
    parts = (
        *_data(settings, paths, seed),
        *_model(settings, paths),
        *_actor(settings, seed),
        *_rollout(settings, seed),
        *_trainer(settings, paths, name, fidelity),
        *platform_parts(settings),
    )
    return tuple(Override(key, value, source if " " in source else f"{FIELD}.{source}") for key, value, source in parts)


def _data(settings: VerlSettings, paths: Paths, seed: int) -> tuple[Part, ...]:
    reward = settings.data.reward
    return (
        ("data.train_files", paths.train, "data.train"),
        # VeRL wants a validation set; benchmarks belong to scoring, so it gets one row and never validates.
        ("data.val_files", paths.train, "no benchmark is ever shown to training"),
        ("data.val_max_samples", 1, "no benchmark is ever shown to training"),
        ("data.train_batch_size", settings.batch_size, "batchSize"),
        ("data.max_prompt_length", settings.prompt_length, "promptLength"),
        ("data.max_response_length", settings.response_length, "responseLength"),
        ("data.filter_overlong_prompts", True, "prompts longer than promptLength are left out"),
        ("data.truncation", "error", "prompts longer than promptLength are left out"),
        ("data.shuffle", True, "the order of the data depends on the seed alone"),
        ("data.seed", seed, "the Evaluation's seed"),
        ("data.trust_remote_code", settings.model.trust_remote_code, "model.trustRemoteCode"),
        ("reward.custom_reward_function.path", paths.reward, "data.reward.path"),
        ("reward.custom_reward_function.name", reward.function, "data.reward.function"),
    )


def _model(settings: VerlSettings, paths: Paths) -> tuple[Part, ...]:
    at = "actor_rollout_ref.model."
    return (
        (f"{at}path", paths.model, "model.path"),
        (f"{at}trust_remote_code", settings.model.trust_remote_code, "model.trustRemoteCode"),
        (f"{at}enable_gradient_checkpointing", settings.gradient_checkpointing, "gradientCheckpointing"),
    )


def _actor(settings: VerlSettings, seed: int) -> tuple[Part, ...]:
    at, fsdp, split = "actor_rollout_ref.actor.", "actor_rollout_ref.actor.fsdp_config.", settings.parallelism
    return (
        (f"{at}strategy", split.strategy.value, "parallelism.strategy"),
        (f"{fsdp}strategy", split.strategy.value, "parallelism.strategy"),
        (f"{fsdp}fsdp_size", split.fsdp or -1, "parallelism.fsdp"),
        (f"{fsdp}param_offload", settings.offload.parameters, "offload.parameters"),
        (f"{fsdp}optimizer_offload", settings.offload.optimizer, "offload.optimizer"),
        (f"{fsdp}seed", seed, "the Evaluation's seed"),
        (f"{at}optim.lr", settings.learning_rate, "learningRate"),
        (f"{at}optim.lr_warmup_steps", settings.warmup_steps, "warmupSteps"),
        (f"{at}optim.weight_decay", settings.weight_decay, "weightDecay"),
        (f"{at}optim.clip_grad", settings.max_grad_norm, "maxGradNorm"),
        (f"{at}grad_clip", settings.max_grad_norm, "maxGradNorm"),
        # In prompts; VeRL multiplies by n.
        (f"{at}ppo_mini_batch_size", settings.batch_size // settings.mini_batches, "batchSize / miniBatches"),
        (f"{at}ppo_epochs", settings.passes, "passes"),
        (f"{at}data_loader_seed", seed, "the Evaluation's seed"),
        (f"{at}use_dynamic_bsz", True, "micro-batches are filled by tokens, which changes no result"),
        (f"{at}ppo_max_token_len_per_gpu", settings.tokens_per_gpu, "tokensPerGpu"),
        (f"{at}ulysses_sequence_parallel_size", split.sequence, "parallelism.sequence"),
        # A micro-batch of 16,384 tokens times 151,936 words in float32 is 10 GB; chunks need no such tensor.
        (f"{at}entropy_from_logits_with_chunking", True, "entropy in chunks, which changes no result"),
        (
            f"{at}checkpoint.save_contents",
            ("model", "optimizer", "extra", "hf_model"),
            "the last one is what is scored",
        ),
        ("actor_rollout_ref.ref.fsdp_config.param_offload", settings.offload.reference, "offload.reference"),
        ("actor_rollout_ref.ref.entropy_from_logits_with_chunking", True, "entropy in chunks, which changes no result"),
    )


def _rollout(settings: VerlSettings, seed: int) -> tuple[Part, ...]:
    at, rollout = "actor_rollout_ref.rollout.", settings.rollout
    return (
        (f"{at}name", ROLLOUT_NAMES[rollout.engine], "rollout.engine"),
        (f"{at}n", settings.group_size, "groupSize"),
        (f"{at}temperature", rollout.temperature, "rollout.temperature"),
        (f"{at}top_p", 1.0, "samples come from the policy itself"),
        (f"{at}top_k", -1, "samples come from the policy itself"),
        (f"{at}gpu_memory_utilization", rollout.memory_share, "rollout.memoryShare"),
        (f"{at}tensor_model_parallel_size", settings.parallelism.tensor, "parallelism.tensor"),
        (f"{at}enforce_eager", rollout.eager, "rollout.eager"),
        (f"{at}max_model_len", settings.prompt_length + settings.response_length, "promptLength + responseLength"),
        (f"{at}seed", seed, "the Evaluation's seed"),
        (f"{at}calculate_log_probs", True, "the candidate may correct for what the rollout engine computes otherwise"),
    )


def steps_asked(settings: VerlSettings, fidelity: Fidelity) -> tuple[int | None, str]:
    """Steps of a run, and the setting that says so; None where epochs decide."""
    if fidelity is Fidelity.PROBE:
        return settings.probe_steps, "probeSteps"
    return settings.steps, "steps"


def _trainer(settings: VerlSettings, paths: Paths, name: str, fidelity: Fidelity) -> tuple[Part, ...]:
    steps, counted = steps_asked(settings, fidelity)
    # With a number of steps the epochs must not end the run before: each has at least one step.
    epochs, passes = (settings.epochs, "epochs") if steps is None else (steps, counted)
    return (
        ("trainer.nnodes", settings.nodes, "nodes"),
        ("trainer.n_gpus_per_node", settings.gpus_per_node, "gpusPerNode"),
        ("trainer.total_epochs", epochs, passes),
        ("trainer.total_training_steps", steps, counted),
        ("trainer.save_freq", settings.checkpoints.every, "checkpoints.every"),
        ("trainer.max_actor_ckpt_to_keep", settings.checkpoints.keep, "checkpoints.keep"),
        ("trainer.default_local_dir", paths.checkpoints, "a restart goes on from its last checkpoint"),
        ("trainer.resume_mode", "auto", "a restart goes on from its last checkpoint"),
        ("trainer.val_before_train", False, "no benchmark is ever shown to training"),
        ("trainer.test_freq", -1, "no benchmark is ever shown to training"),
        ("trainer.logger", (*(logger.value for logger in settings.loggers), "file"), "loggers"),
        ("trainer.project_name", "poise", "a name for people"),
        ("trainer.experiment_name", name, "a name for people"),
    )


_OBJECTIVE: Final = "would take the objective from the candidate, whose advantages and loss are all that is compared"
_REWARD: Final = f"would change what a response is worth; set {FIELD}.data.reward, which holds for all candidates"
_SCORED: Final = "would change what is left for scoring, which takes whole weights with the base's names and shapes"
_CODE: Final = "would bring code into the run that is not the candidate's"

PROTECTED: Final[Mapping[str, str]] = {
    "algorithm": _OBJECTIVE,
    "critic": _OBJECTIVE,
    "distillation": _OBJECTIVE,
    "actor_rollout_ref.actor.policy_loss": _OBJECTIVE,
    "actor_rollout_ref.actor.loss_agg_mode": _OBJECTIVE,
    "actor_rollout_ref.actor.loss_scale_factor": _OBJECTIVE,
    "actor_rollout_ref.actor.entropy_coeff": _OBJECTIVE,
    "actor_rollout_ref.actor.kl_loss_coef": _OBJECTIVE,
    "actor_rollout_ref.actor.kl_loss_type": _OBJECTIVE,
    "actor_rollout_ref.actor.clip_ratio": _OBJECTIVE,
    "actor_rollout_ref.actor.clip_ratio_low": _OBJECTIVE,
    "actor_rollout_ref.actor.clip_ratio_high": _OBJECTIVE,
    "actor_rollout_ref.actor.clip_ratio_c": _OBJECTIVE,
    "actor_rollout_ref.actor.tau_pos": _OBJECTIVE,
    "actor_rollout_ref.actor.tau_neg": _OBJECTIVE,
    "actor_rollout_ref.ref.path": _OBJECTIVE,
    "actor_rollout_ref.rollout.mtp": _OBJECTIVE,
    "trainer.use_v1": _OBJECTIVE,
    "trainer.critic_warmup": _OBJECTIVE,
    "trainer.v1.trainer_mode": _OBJECTIVE,
    "reward": _REWARD,
    "reward_model": _REWARD,
    "custom_reward_function": _REWARD,
    "sandbox_fusion": _REWARD,
    "trainer.val_only": _SCORED,
    "trainer.resume_from_path": _SCORED,
    "trainer.resume_mode": _SCORED,
    "trainer.default_hdfs_dir": _SCORED,
    "actor_rollout_ref.actor.checkpoint": _SCORED,
    "actor_rollout_ref.actor.qat": _SCORED,
    "actor_rollout_ref.actor.fsdp_config.qat": _SCORED,
    "actor_rollout_ref.model.lora": _SCORED,
    "actor_rollout_ref.model.lora_rank": _SCORED,
    "actor_rollout_ref.model.lora_adapter_path": _SCORED,
    "actor_rollout_ref.model.mtp": _SCORED,
    "actor_rollout_ref.model.hf_config_path": _SCORED,
    "actor_rollout_ref.model.tokenizer_path": _SCORED,
    "actor_rollout_ref.model.external_lib": _CODE,
    "data.custom_cls": _CODE,
    "trainer.v1.sampler.custom_sampler": _CODE,
    "trainer.checkpoint_callback_class": _CODE,
    "ray_kwargs.ray_init.runtime_env": _CODE,
    "hydra": "is Hydra's own configuration, not VeRL's",
}
"""Parts of VeRL's configuration that no override may touch, and why."""
ALLOWED: Final = frozenset({"algorithm.filter_groups", "reward.num_workers"})
"""Exceptions: which groups are sampled again is the protocol's, the same for all candidates; processes are nobody's."""


def _users(key: str, value: str, made: Mapping[str, Override]) -> Override:
    """One override of the user's.

    Raises:
        InvalidInputError: it is not allowed.
    """
    where, plain = f"{FIELD}.overrides[{key!r}]", key.lstrip("+")
    if "_target_" in plain.split(".") or "_target_" in value:
        raise InvalidInputError(f"{where}: {_CODE}; remove it")
    for part in protected_parts(plain):
        raise InvalidInputError(f"{where}: {PROTECTED[part]}; remove it")
    for mine in made.values():
        if _meet(plain, mine.key):
            way = f"set {mine.source} instead" if mine.source.startswith(f"{FIELD}.") else f"it is fixed: {mine.source}"
            raise InvalidInputError(f"{where}: {mine.key} has its own setting; {way}")
    return Override(key, value, where, raw=True)


def protected_parts(key: str) -> tuple[str, ...]:
    """Protected parts that a key lies in, or that lie in what it would replace."""
    if any(key == allowed or key.startswith(f"{allowed}.") for allowed in ALLOWED):
        return ()
    return tuple(part for part in PROTECTED if _meet(key, part))


def _meet(one: str, other: str) -> bool:
    """Whether one key is the other, or lies inside it."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")
