"""VeRL on this machine: a tiny model made on the spot, trained by VeRL with a candidate, scored from its checkpoint.

The candidate's code runs in VeRL's processes, which are the user's own: Ray needs sockets, shared memory and many
processes, so none of the sandbox's layers holds around them.  This process never loads the candidate.  It reads metrics
as numbers and the checkpoint as tensors, and scores them in the architecture, with the tokenizer and on the problems
of a base that it made before.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import poise_lib
from poise_lib import sandbox
from poise_lib.errors import CandidateError, EngineError, InvalidInputError, SandboxError
from poise_lib.evaluation.verl.adapter import tiny
from poise_lib.evaluation.verl.adapter.driver import FAILURE_VARIABLE
from poise_lib.evaluation.verl.adapter.metrics import record_of
from poise_lib.evaluation.verl.adapter.processes import Family
from poise_lib.evaluation.verl.adapter.required import hydra
from poise_lib.evaluation.verl.adapter.spec import SPEC_VARIABLE, CandidateSpec
from poise_lib.evaluation.verl.versions import require_verl

_DRIVER: Final = "poise_lib.evaluation.verl.adapter.driver"
_PLUGIN: Final = "poise_lib.evaluation.verl.adapter.plugin"
_LOOK_SECONDS: Final = 0.2
_LEAST_BYTES: Final = 64 * 1024**2
_MAX_METRICS: Final = 200
_LOG: Final = "verl.log"
_METRICS: Final = "metrics.jsonl"
_FAILURE: Final = "failure.json"
_CHECKPOINTS: Final = "checkpoints"

Record = dict[str, float]


@dataclass(frozen=True, slots=True)
class TinySettings:
    """A run on the tiny task."""

    steps: int = 20
    seed: int = 0
    prompts: int = 16
    """Prompts a step."""
    samples: int = 8
    """Responses a prompt."""
    mini_batches: int = 2
    """Updates a step; with one the ratio is 1 and no clip ever acts."""
    learning_rate: float = 1e-3
    platform: str = "cpu"
    """"cpu" in float32, or "cuda" with VeRL's own mixed precision (bfloat16)."""
    shape: str = "tiny"
    """Of the model: one of :data:`poise_lib.evaluation.verl.adapter.tiny.SHAPES`."""


@dataclass(frozen=True, slots=True)
class EmbeddedReport:
    """What a run left behind; the trajectory comes from untrusted code and is advisory."""

    before: dict[str, float]
    """The base's scores."""
    after: dict[str, float]
    """The checkpoint's."""
    trajectory: tuple[Record, ...]
    weights: bytes
    """The checkpoint that was scored, safetensors."""
    seconds: float
    start_seconds: float
    """Until the first step was done."""


def require_platform(platform: str) -> None:
    """Check that the platform is there.

    Raises:
        EngineError: it is not; the message says what PyTorch sees.
    """
    import torch

    if platform == "cuda" and not torch.cuda.is_available():
        raise EngineError(
            f"platform cuda: PyTorch {torch.__version__} sees no GPU; use --platform cpu, or install a driver and a CUDA "
            "build of PyTorch (nvidia-smi and `python -c 'import torch; print(torch.cuda.is_available())'` tell which is missing)"
        )


def train_tiny(
    spec: CandidateSpec,
    settings: TinySettings,
    workdir: Path,
    on_progress: Callable[[Record], None] = lambda record: None,
    on_stage: Callable[[str], None] = lambda text: None,
    extra: tuple[str, ...] = (),
) -> EmbeddedReport:
    """Train the tiny base with a candidate through VeRL, and score what comes out.

    Args:
        spec: the candidate.
        settings: of the run.
        workdir: an empty folder; keeps VeRL's log, metrics and checkpoints.
        on_progress: receives each step's record as it is made.
        on_stage: receives a few words when something else begins.
        extra: more overrides of VeRL's configuration, in Hydra's grammar.

    Raises:
        CandidateError: the candidate failed; the message is its own, and the metrics until then are in ``workdir``.
        InvalidInputError: VeRL does not take a setting.
        EngineError: VeRL is missing or failed, or the checkpoint is not usable.
    """
    require_verl()
    require_platform(settings.platform)
    shape = tiny.SHAPES[settings.shape]
    started = time.monotonic()
    on_stage("making the base")
    base = tiny.make_base(workdir / "base", settings.seed, shape, settings.platform)
    on_stage("starting VeRL: Ray, workers, rollout")
    run = workdir / "run"
    run.mkdir()
    shutil.copytree(base.folder, run / "base")  # what VeRL's processes are shown is a copy
    spec.write(run / "candidate.json")
    records: list[Record] = []
    first = math.nan

    def heard(record: Record) -> None:
        nonlocal first
        if not records:
            first = time.monotonic() - started
        records.append(record)
        on_progress(record)

    _run(run, overrides(run, settings) + list(extra), settings.platform, heard)
    on_stage("scoring the checkpoint and the base")
    name = f"{_CHECKPOINTS}/global_step_{settings.steps}/actor/huggingface/{tiny.WEIGHTS}"
    try:
        weights = sandbox.read_output(run, name, _LEAST_BYTES + 2 * shape.weight_bytes)
    except SandboxError as error:
        raise EngineError(f"VeRL left no usable checkpoint: {error}") from error
    before, after = (tiny.score(base, content, settings.seed) for content in (None, weights))
    return EmbeddedReport(before, after, tuple(records), weights, time.monotonic() - started, first)


def overrides(run: Path, settings: TinySettings) -> list[str]:
    """VeRL's configuration of a run on the tiny task."""
    rows = settings.prompts * settings.samples
    mini = max(1, settings.prompts // settings.mini_batches)
    model, actor, rollout = (f"actor_rollout_ref.{part}" for part in ("model", "actor", "rollout"))
    base = run / "base"
    values: dict[str, object] = {
        "data.train_files": str(base / tiny.TRAIN_FILE),
        "data.val_files": str(base / tiny.TEST_FILE),
        "data.train_batch_size": settings.prompts,
        "data.max_prompt_length": tiny.PROMPT_TOKENS,
        "data.max_response_length": tiny.RESPONSE_TOKENS,
        "data.dataloader_num_workers": 0,
        "data.filter_overlong_prompts": False,
        "data.truncation": "error",
        "data.seed": settings.seed,
        "reward.custom_reward_function.path": str(Path(tiny.__file__).with_name("tiny_reward.py")),
        "reward.custom_reward_function.name": "compute_score",
        "reward.num_workers": 1,
        f"{model}.path": str(base / tiny.MODEL),
        f"+{model}.override_config.attn_implementation": "sdpa",
        f"{model}.use_remove_padding": False,
        f"{model}.enable_gradient_checkpointing": False,
        f"{actor}.strategy": "fsdp2",
        f"{actor}.fsdp_config.strategy": "fsdp2",
        f"{actor}.use_torch_compile": False,
        f"{actor}.ppo_mini_batch_size": mini,
        f"{actor}.ppo_micro_batch_size_per_gpu": mini * settings.samples,
        f"{actor}.optim.lr": settings.learning_rate,
        f"{actor}.optim.lr_warmup_steps": 0,
        f"{actor}.optim.weight_decay": 0.0,
        f"{actor}.data_loader_seed": settings.seed,
        f"{actor}.checkpoint.save_contents": ["model", "optimizer", "extra", "hf_model"],
        "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu": rows,
        f"{rollout}.name": "hf",
        f"{rollout}.mode": "async",
        f"{rollout}.n": settings.samples,
        f"{rollout}.seed": settings.seed,
        f"{rollout}.tensor_model_parallel_size": 1,
        f"{rollout}.dtype": "float32" if settings.platform == "cpu" else "bfloat16",
        f"{rollout}.calculate_log_probs": True,
        f"{rollout}.log_prob_micro_batch_size_per_gpu": rows,
        f"{rollout}.agent.num_workers": 1,
        f"{rollout}.free_cache_engine": False,
        f"{rollout}.max_num_seqs": 512,
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
        "ray_kwargs.ray_init.num_cpus": 8,
        "+ray_kwargs.ray_init.num_gpus": 1,  # a logical one on a CPU: VeRL counts nothing else
        "+ray_kwargs.ray_init.include_dashboard": False,
        "+ray_kwargs.ray_init.object_store_memory": 200_000_000 + 4 * tiny.SHAPES[settings.shape].weight_bytes,
        "trainer.device": settings.platform,
        "trainer.n_gpus_per_node": 1,
        "trainer.nnodes": 1,
        "trainer.logger": ["file"],
        "trainer.project_name": "poise",
        "trainer.experiment_name": "tiny",
        "trainer.total_epochs": 1_000_000,
        "trainer.total_training_steps": settings.steps,
        "trainer.save_freq": settings.steps,
        "trainer.test_freq": -1,
        "trainer.val_before_train": False,
        "trainer.resume_mode": "auto",
        "trainer.default_local_dir": str(run / _CHECKPOINTS),
    }
    for part in (actor, "actor_rollout_ref.ref"):  # both in one precision, or the reference would differ from the base
        engine = f"{part}.fsdp_config"
        values |= {f"{engine}.model_dtype": "fp32", f"{engine}.use_torch_compile": False}
        if settings.platform == "cpu":
            values |= {f"+{engine}.mixed_precision.{kind}_dtype": "fp32" for kind in ("param", "reduce", "buffer")}
    return [hydra(key, value) for key, value in values.items()]


def _environment(run: Path, platform: str, ray_folder: str) -> dict[str, str]:
    """Of VeRL's processes: this one's, and what makes VeRL start quickly, and run where there is no accelerator."""
    search = [str(Path(poise_lib.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    elsewhere = {"VERL_PLATFORM": "cpu", "VERL_ENGINE_DEVICE": "cuda"} if platform == "cpu" else {}
    return (
        inherited
        | elsewhere
        | {  # six processes import the same thousands of modules: the first one compiles them for all
            SPEC_VARIABLE: str(run / "candidate.json"),
            FAILURE_VARIABLE: str(run / _FAILURE),
            "PYTHONPATH": os.pathsep.join(part for part in search if part),
            "VERL_USE_EXTERNAL_MODULES": _PLUGIN,
            "VERL_USE_EXTERNAL_PLUGINS": "none",
            "VERL_FILE_LOGGER_PATH": str(run / _METRICS),
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "WANDB_MODE": "disabled",
            "HYDRA_FULL_ERROR": "1",
            "RAY_TMPDIR": ray_folder,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_DEDUP_LOGS": "0",
            "RAY_memory_monitor_refresh_ms": "0",
            # Ray would start an idle worker for each processor, and import everything in it.
            "RAY_prestart_worker_first_driver": "0",
            "RAY_enable_worker_prestart": "0",
        }
    )


def _run(run: Path, settings: list[str], platform: str, heard: Callable[[Record], None]) -> None:
    """Run VeRL to its end, or raise what it failed of; no process is left either way."""
    for left in (_METRICS, _FAILURE):  # by a run that this one goes on with
        (run / left).unlink(missing_ok=True)
    # Ray's sockets lie there, and their paths may have 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as ray_folder,
        (run / _LOG).open("wb") as log,
        Family() as family,
    ):
        process = family.start(
            [sys.executable, "-m", _DRIVER, *settings],
            cwd=run,
            environment=_environment(run, platform, ray_folder),
            output=log,
        )
        lines = _follow(run / _METRICS, lambda: process.poll() is None)
        for line in lines:
            record = _record(line)
            if record is not None:
                heard(record)
    if process.returncode:
        raise _failure(run, process.returncode)


def _follow(path: Path, alive: Callable[[], bool]) -> Iterator[str]:
    """Lines of a file that another process writes, until that process has ended."""
    rest = ""
    with contextlib.ExitStack() as stack:
        file = None
        while True:
            going = alive()
            if file is None and path.exists():
                file = stack.enter_context(path.open(encoding="utf-8", errors="replace"))
            rest += "" if file is None else file.read()
            *whole, rest = rest.split("\n")
            yield from whole
            if not going:
                return
            if not whole:
                time.sleep(_LOOK_SECONDS)


def _record(line: str) -> Record | None:
    """A line of VeRL's JSON-lines logger as a record of the trajectory; None when it is anything else."""
    try:
        parsed = json.loads(line)
        step, data = int(parsed["step"]), parsed["data"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    if not isinstance(data, dict):
        return None
    record = record_of(data, step - 1)
    return record if 1 < len(record) <= _MAX_METRICS else None


def _failure(run: Path, code: int) -> Exception:
    """What the driver said of its failure."""
    where = f"the log is {run / _LOG}"
    try:
        account = json.loads(sandbox.read_output(run, _FAILURE, 1024**2))
        kind, message = str(account["kind"]), str(account["message"])
    except (SandboxError, ValueError, KeyError, TypeError):
        return EngineError(f"VeRL ended with exit code {code} and said nothing of it; {where}")
    if kind == "candidate":
        return CandidateError(message)
    return InvalidInputError(message) if kind == "settings" else EngineError(f"{message}; {where}")
