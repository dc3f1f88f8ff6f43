"""Training protocol of the VeRL engine: what trains, on what, how much, and on which hardware.

The defaults are the paper's setting (arXiv:2603.23951, experimental setting) where it gives a number, and VeRL's own
elsewhere; each description says which.  The objective has no field here: advantages, loss, KL and entropy terms are the
candidate's.  :mod:`poise_lib.evaluation.verl.overrides` turns these settings into VeRL's configuration.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue, StringConstraints, model_validator

from poise_lib.resources.base import Digest, Duration, Fraction, Model, ShortText

FilePath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9/][A-Za-z0-9_.@=+/-]*$", max_length=256)]
"""A path or an id of the Hugging Face hub; no signs that a shell or Hydra would read as their own."""
Revision = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]*$", max_length=64)]
"""A commit, tag or branch of a repository of the hub."""
Column = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=64)]
FunctionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=64)]
OverrideKey = Annotated[
    str, StringConstraints(pattern=r"^[+]{0,2}[A-Za-z_][A-Za-z0-9_]*([.][A-Za-z0-9_]+)*$", max_length=128)
]
"""A key of VeRL's configuration; + before it adds one that is not there, as Hydra has it."""

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
"""What the makers of Qwen2.5-Math evaluate it with (arXiv:2409.12122)."""


class VerlModel(Model):
    """The policy that training starts from: the trusted base, from which scoring takes all but the weights."""

    path: FilePath = Field(
        description="A folder, such as a mounted cache, or an id of the Hugging Face hub, such as Qwen/Qwen2.5-Math-1.5B."
    )
    revision: Revision | None = Field(
        None, description="Commit of a hub repository; without it a run next month may start from another base."
    )
    trust_remote_code: bool = Field(
        False, description="Whether Python code of the model's repository runs, in training and in scoring."
    )


class DataFormat(StrEnum):
    """What the training files hold."""

    PROBLEMS = "Problems"
    """Problems with answers in columns (JSON, JSON lines, CSV or parquet); POISE converts them."""
    VERL = "VeRL"
    """VeRL's parquet already: prompt, data_source, reward_model; used as it is."""


class VerlColumns(Model):
    """How columns of the training files are named; the defaults are MATH's."""

    problem: Column = Field("problem", description="The question.")
    answer: Column = Field(
        "answer", description="The final answer; where missing, the solution's last \\boxed{} is it."
    )
    solution: Column = Field("solution", description="The worked solution.")
    level: Column = Field("level", description="Difficulty, a number or text such as 'Level 3'; needed for levels.")


class VerlReward(Model):
    """Who judges responses while training; scoring has a judge of its own and does not ask this one."""

    path: FilePath | None = Field(
        None, description="Python file of a function of yours; POISE's (math-verify, format apart) when missing."
    )
    function: FunctionName = Field(
        "compute_score",
        description="Its name: (data_source, solution_str, ground_truth, extra_info) -> score, correct, valid.",
    )


class VerlData(Model):
    """What is trained on.  Benchmark problems belong to scoring, which no training process ever sees."""

    train: tuple[FilePath, ...] = Field(
        min_length=1, max_length=16, description="Files, or one id of a data set of the hub."
    )
    digest: Digest | None = Field(
        None, description="SHA-256 of the training files, one after the other; checked before training when given."
    )
    split: Column = Field("train", description="Split of a data set of the hub.")
    format: DataFormat = Field(DataFormat.PROBLEMS, description="What the files hold.")
    columns: VerlColumns = Field(default_factory=VerlColumns, description="Names of columns, for format Problems.")
    levels: tuple[Annotated[int, Field(ge=1, le=9)], ...] = Field(
        (), max_length=9, description="Only problems of these levels; all when empty. The paper has 3, 4 and 5."
    )
    limit: int | None = Field(
        None, ge=1, le=10_000_000, description="So many problems at most, drawn with a fixed seed. The paper has 5,000."
    )
    instruction: ShortText = Field(
        INSTRUCTION, description="Follows each problem, in training and in scoring; the default is Qwen2.5-Math's."
    )
    reward: VerlReward = Field(default_factory=VerlReward, description="Who judges responses while training.")


class Strategy(StrEnum):
    """How parameters, gradients and optimiser states are split over GPUs."""

    FSDP = "fsdp"
    FSDP2 = "fsdp2"


class Parallelism(Model):
    """How the model is split; the defaults suit models up to about 7B on cards of 80 GB."""

    tensor: int = Field(
        1, ge=1, le=64, description="Tensor parallelism of the rollout; 1 as long as the weights fit one card."
    )
    sequence: int = Field(1, ge=1, le=64, description="Ulysses sequence parallelism of training, for long responses.")
    fsdp: int = Field(0, ge=0, le=4096, description="GPUs that share one copy of the weights; 0: all of them.")
    strategy: Strategy = Field(Strategy.FSDP2, description="fsdp2 is PyTorch's current one, VeRL's default is fsdp.")


class Platform(StrEnum):
    """What trains and scores."""

    CUDA = "cuda"
    CPU = "cpu"
    """This machine's processors, in float32: for a tiny model, to see everything at work."""


class RolloutEngine(StrEnum):
    """What samples responses."""

    VLLM = "vllm"
    SGLANG = "sglang"
    HF = "hf"
    """transformers, through POISE's own rollout: slow, for a CPU and tiny models."""


class Rollout(Model):
    """How responses are sampled while training."""

    engine: RolloutEngine = Field(RolloutEngine.VLLM, description="What samples; vllm is what the paper has.")
    memory_share: Fraction = Field(
        0.5, description="Share of a GPU's memory that vLLM or SGLang may take; VeRL's default, the rest is training's."
    )
    temperature: float = Field(
        1.0, gt=0.0, le=4.0, description="Of sampling; another than 1 makes log-probabilities other."
    )
    eager: bool = Field(False, description="Without CUDA graphs: slower, but takes less memory and starts faster.")


class Offload(Model):
    """What waits in the host's memory while it is not needed: slower, but a smaller card is enough."""

    parameters: bool = Field(False, description="The policy's weights.")
    optimizer: bool = Field(False, description="The optimiser's states: eight bytes a parameter.")
    reference: bool = Field(
        True, description="The reference policy's weights, needed once a step, where the candidate's NEEDS asks for it."
    )


class VerlCheckpoints(Model):
    """When training is saved; the last step always is, because it is what is scored."""

    every: int = Field(20, ge=1, le=100_000, description="Steps: what a pre-empted run loses at most.")
    keep: int = Field(
        1,
        ge=1,
        le=100,
        description="How many of the newest stay on the volume, two at least: one of them is always whole.",
    )


class Logger(StrEnum):
    """Where VeRL reports to, beside the file that POISE follows."""

    CONSOLE = "console"
    TENSORBOARD = "tensorboard"
    WANDB = "wandb"
    MLFLOW = "mlflow"
    SWANLAB = "swanlab"


PLATFORM_NEEDS_HF = "platform cpu needs rollout.engine hf: vllm and sglang run on GPUs only"


def gpus_problem(settings: VerlSettings) -> str | None:
    """Why the GPUs cannot be split as asked, with the fix; None when they can."""
    gpus, tensor, sequence = settings.gpus, settings.parallelism.tensor, settings.parallelism.sequence
    for name, value in (("tensor", tensor), ("sequence", sequence)):
        if gpus % value:
            return (
                f"gpusPerNode * nodes is {gpus}, no multiple of parallelism.{name} ({value}); make one divide the other"
            )
    return None


_RULES: list[JsonValue] = [
    {"rule": "self.platform != 'cpu' || self.rollout.engine == 'hf'", "message": PLATFORM_NEEDS_HF},
    {"rule": "self.batchSize % self.miniBatches == 0", "message": "batchSize must be a multiple of miniBatches"},
    {
        "rule": "self.gpusPerNode * self.nodes % self.parallelism.tensor == 0 "
        "&& self.gpusPerNode * self.nodes % self.parallelism.sequence == 0",
        "message": "gpusPerNode * nodes must be a multiple of parallelism.tensor and of parallelism.sequence",
    },
    {
        "rule": "self.batchSize * self.groupSize / self.miniBatches * self.parallelism.sequence "
        "% (self.gpusPerNode * self.nodes) == 0",
        "message": "the samples of a mini-batch (batchSize * groupSize / miniBatches) must share out evenly over the "
        "GPUs (gpusPerNode * nodes / parallelism.sequence)",
    },
    {
        "rule": "self.tokensPerGpu * self.parallelism.sequence >= self.promptLength + self.responseLength",
        "message": "tokensPerGpu * parallelism.sequence must hold one whole sample (promptLength + responseLength)",
    },
]
"""What the validator of :class:`VerlSettings` says too, for the API server."""


class VerlSettings(Model):
    """Training protocol of engine verl; the defaults are the paper's setting where it gives one."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-validations": _RULES})

    platform: Platform = Field(
        Platform.CUDA, description="cuda, or cpu for a tiny model on any machine; cpu goes with rollout.engine hf."
    )
    model: VerlModel = Field(description="The policy that training starts from.")
    data: VerlData = Field(description="What is trained on.")
    problems: FilePath | None = Field(
        None,
        description="Folder with the files of the benchmarks, as scoring sees it; training is never shown it. Without it "
        "they come from the hub or its cache.",
    )
    batch_size: int = Field(256, ge=1, le=65_536, description="Prompts a step; the paper's.")
    group_size: int = Field(8, ge=1, le=1024, description="Responses a prompt, G in the paper.")
    mini_batches: int = Field(
        2,
        ge=1,
        le=1024,
        description="Optimiser steps a pass. With one the ratio to the sampling policy is 1 and no clipping ever acts: "
        "two is the least that lets a loss show what it does. The paper does not say.",
    )
    passes: int = Field(1, ge=1, le=16, description="Passes over the samples of a step; VeRL's default.")
    prompt_length: int = Field(1024, ge=1, le=1_000_000, description="Longest prompt, tokens; the paper's.")
    response_length: int = Field(3000, ge=1, le=1_000_000, description="Longest response, tokens; the paper's.")
    learning_rate: float = Field(1e-6, gt=0.0, le=1.0, description="AdamW's, constant after warm-up; the paper's.")
    warmup_steps: int = Field(0, ge=0, le=100_000, description="Steps of linear warm-up; VeRL's default is none.")
    weight_decay: Fraction = Field(0.01, description="AdamW's; VeRL's default.")
    max_grad_norm: float = Field(1.0, gt=0.0, le=1e6, description="Gradient clipping by global norm; VeRL's default.")
    epochs: int = Field(8, ge=1, le=10_000, description="Passes over the training data; the paper's.")
    steps: int | None = Field(None, ge=1, le=10_000_000, description="Steps, instead of epochs.")
    time_limit: Duration = Field(
        "24h", description="Of one training, after which it is ended as failed; its last checkpoint is kept."
    )
    probe_steps: int = Field(
        4, ge=1, le=1000, description="Steps of fidelity probe: enough for every code path, a checkpoint among them."
    )
    tokens_per_gpu: int = Field(
        16_384,
        ge=1,
        le=10_000_000,
        description="Tokens of a forward and backward pass on a GPU, what fits its memory; changes no result. "
        "VeRL's default.",
    )
    gradient_checkpointing: bool = Field(
        True, description="Recompute activations instead of keeping them; VeRL's default."
    )
    parallelism: Parallelism = Field(default_factory=Parallelism, description="How the model is split over GPUs.")
    rollout: Rollout = Field(default_factory=Rollout, description="How responses are sampled.")
    offload: Offload = Field(default_factory=Offload, description="What waits in the host's memory.")
    gpus_per_node: int = Field(8, ge=1, le=64, description="GPUs of a node; the paper's eight.")
    nodes: int = Field(1, ge=1, le=512, description="Nodes; they form one Ray cluster.")
    checkpoints: VerlCheckpoints = Field(default_factory=VerlCheckpoints, description="When training is saved.")
    loggers: tuple[Logger, ...] = Field(
        (Logger.CONSOLE,), max_length=5, description="Where VeRL reports to, beside the file that POISE follows."
    )
    overrides: dict[OverrideKey, ShortText] = Field(
        default_factory=dict,
        max_length=64,
        description="Anything else of VeRL's configuration, as its Hydra overrides; applied last. What would take the "
        "objective from the candidate, or the score from the scorer, is refused.",
    )

    @property
    def gpus(self) -> int:
        """GPUs in all; on platform cpu those that VeRL is told of."""
        return self.gpus_per_node * self.nodes

    @property
    def cards(self) -> int:
        """GPUs that a run takes: none on platform cpu."""
        return self.gpus if self.platform is Platform.CUDA else 0

    @model_validator(mode="after")
    def _fits_together(self) -> VerlSettings:
        if self.platform is Platform.CPU and self.rollout.engine is not RolloutEngine.HF:
            raise ValueError(PLATFORM_NEEDS_HF)
        if self.batch_size % self.mini_batches:
            raise ValueError(f"batchSize ({self.batch_size}) must be a multiple of miniBatches ({self.mini_batches})")
        if problem := gpus_problem(self):
            raise ValueError(problem)
        samples, ranks = self.batch_size * self.group_size // self.mini_batches, self.gpus // self.parallelism.sequence
        if samples % ranks:
            raise ValueError(
                f"the {samples} samples of a mini-batch (batchSize * groupSize / miniBatches) must share out evenly "
                f"over {ranks} GPUs (gpusPerNode * nodes / parallelism.sequence)"
            )
        room, whole = self.tokens_per_gpu * self.parallelism.sequence, self.prompt_length + self.response_length
        if room < whole:
            raise ValueError(
                f"tokensPerGpu * parallelism.sequence is {room}, but one sample may have {whole} tokens "
                "(promptLength + responseLength); raise tokensPerGpu"
            )
        return self
