"""Three trainers on one machine's processors: POISE's embedded engine, VeRL through the adapter, and TRL's GRPOTrainer.

pip install --no-deps --target DIR trl==1.16.0
python -m benchmarks.bench_trainers --trl DIR [--steps 40] [--trainers embedded verl trl] [--json FILE] [--plot FILE]

VeRL and TRL train the same base (poise_lib/evaluation/verl/adapter/tiny.py) on the same problems with the same
settings: 16 prompts of 8 responses a step, 2 updates a step, AdamW at 1e-3, GRPO with clip ratio 0.2 and KL 0.001.  The
embedded engine cannot load it: it trains its own model on its own task with the same numbers of prompts, responses and
updates.  Each runs in a process of its own, one after the other, so that start-up counts: imports, workers, model.  TRL
lies in a folder of its own, because VeRL, where it sees one, imports from it what present releases have no more.  A
trainer that is not installed is left out and named.  Figures of one run only: what else the machine does changes them.
--read FILE shows and draws what --json has written, for an environment without matplotlib.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

PROMPTS: Final = 16
SAMPLES: Final = 8
ROWS: Final = PROMPTS * SAMPLES
UPDATES: Final = 2
RATE: Final = 1e-3
GOAL: Final = 0.4
"""Mean reward of a step: the base has about 0.1, the embedded engine's on its own, harder task 0.05."""
WINDOW: Final = 3
"""Steps over which it must hold on average."""
NEEDS: Final = {"embedded": "torch", "verl": "verl", "trl": "trl"}

Mark = Callable[[float], None]


def embedded(steps: int, seed: int, mark: Mark) -> None:
    """POISE's own, on its own model and task."""
    from poise_lib.algorithms.registry import load
    from poise_lib.evaluation.nano.config import NanoConfig
    from poise_lib.evaluation.nano.training import train
    from poise_lib.evaluation.trajectory import ACCURACY

    algorithm = load("grpo")
    config = NanoConfig(steps=steps, prompts_per_step=PROMPTS, group_size=SAMPLES, epochs=1, mini_batches=UPDATES)
    train(algorithm, algorithm.hyper(), config, seed, lambda record: mark(record[ACCURACY]))


def verl(steps: int, seed: int, mark: Mark) -> None:
    """VeRL with its workers, through the adapter."""
    from poise_lib.algorithms.registry import zoo_source
    from poise_lib.evaluation.trajectory import ACCURACY
    from poise_lib.evaluation.verl.adapter.embedded import TinySettings, train_tiny
    from poise_lib.evaluation.verl.adapter.spec import CandidateSpec

    settings = TinySettings(
        steps=steps, seed=seed, prompts=PROMPTS, samples=SAMPLES, mini_batches=UPDATES, learning_rate=RATE
    )
    with tempfile.TemporaryDirectory() as folder:
        spec = CandidateSpec(name="grpo", source=zoo_source("grpo"))
        train_tiny(spec, settings, Path(folder), lambda record: mark(record[ACCURACY]))


def trl(steps: int, seed: int, mark: Mark) -> None:
    """TRL's GRPOTrainer in one process."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    from poise_lib.evaluation.verl.adapter import tiny
    from poise_lib.evaluation.verl.rewards import judge

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        base = tiny.make_base(Path(folder) / "base", seed)
        rows = [
            {"prompt": [{"role": "user", "content": f"{a}+{b}="}], "answer": str(a + b)} for a, b in tiny.sums().train
        ]

        def reward(completions: list[Any], answer: list[str], **_: object) -> list[float]:
            texts = [item if isinstance(item, str) else item[0]["content"] for item in completions]
            found = [float(verdict.correct) for verdict in judge(list(zip(texts, answer, strict=True)))]
            mark(sum(found) / len(found))
            return found

        config = GRPOConfig(
            output_dir=str(Path(folder) / "out"),
            use_cpu=True,
            bf16=False,
            per_device_train_batch_size=ROWS // UPDATES,
            steps_per_generation=UPDATES,
            num_generations=SAMPLES,
            max_completion_length=tiny.RESPONSE_TOKENS,
            max_steps=steps * UPDATES,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            weight_decay=0.0,
            beta=0.001,
            epsilon=0.2,
            loss_type="grpo",
            gradient_checkpointing=False,
            logging_steps=steps * UPDATES,
            save_strategy="no",
            report_to=[],
            seed=seed,
            dataloader_num_workers=0,
        )
        GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(base.model, dtype=torch.float32),
            reward_funcs=reward,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(base.model, padding_side="left"),
        ).train()


TRAINERS: Final = {"embedded": embedded, "verl": verl, "trl": trl}


def child(name: str, steps: int, seed: int, file: Path) -> None:
    """Train in this process and write (moment, mean reward) of each step's rollouts to a file."""
    marks: list[tuple[float, float]] = []
    TRAINERS[name](steps, seed, lambda reward: marks.append((time.time(), reward)))
    file.write_text(json.dumps(marks), encoding="utf-8")


def reached(rewards: Iterable[tuple[float, float]]) -> float | None:
    """The first moment at which the last steps have the wanted reward on average."""
    seen: list[float] = []
    for moment, reward in rewards:
        seen.append(reward)
        last = seen[-WINDOW:]
        if len(last) == WINDOW and sum(last) / WINDOW >= GOAL:
            return moment
    return None


def seen_by(name: str, trl_folder: Path | None) -> list[str]:
    """Folders beside the environment from which a trainer's process imports."""
    return [str(trl_folder.absolute())] if name == "trl" and trl_folder is not None else []


def installed(name: str, folders: list[str]) -> str | None:
    """The version of what a trainer needs; None where it is not there."""
    found = distributions(name=NEEDS[name], path=[*folders, *sys.path])
    return next((item.version for item in found), None)


def measure(name: str, steps: int, seed: int, folders: list[str]) -> dict[str, Any]:
    """One trainer in a process of its own.

    Raises:
        RuntimeError: it failed; the message has the end of its output.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "marks.json"
        command = [sys.executable, "-m", "benchmarks.bench_trainers", "--steps", str(steps), "--seed", str(seed)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        if folders:
            environment["PYTHONPATH"] = os.pathsep.join(folders)
        started = time.time()
        done = subprocess.run(
            [*command, "--child", name, "--into", str(file)],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        ended = time.time()
        if done.returncode:
            raise RuntimeError(f"{name} failed:\n{done.stderr[-3000:]}")
        marks: list[tuple[float, float]] = [(moment, reward) for moment, reward in json.loads(file.read_text())]
    first, last = marks[0][0], marks[-1][0]
    goal = reached(marks)
    return {
        "trainer": name,
        "version": installed(name, folders),
        "steps": len(marks),
        "startSeconds": first - started,
        "samplesPerSecond": ROWS * (len(marks) - 1) / (last - first),
        "seconds": ended - started,
        "firstReward": marks[0][1],
        "lastReward": sum(reward for _, reward in marks[-WINDOW:]) / WINDOW,
        "goalSeconds": None if goal is None else goal - started,
        "rewards": [reward for _, reward in marks],
        "moments": [moment - started for moment, _ in marks],
    }


def row(item: dict[str, Any]) -> str:
    """A line of the table."""
    goal = f"{item['goalSeconds']:.0f} s" if item["goalSeconds"] is not None else "never"
    rewards = f"{item['firstReward']:.2f} -> {item['lastReward']:.2f}"
    return (
        f"{item['trainer']:<10} {item['version']:<9} {item['startSeconds']:>5.1f} s {item['samplesPerSecond']:>10.0f} "
        f"{goal:>8} {rewards:>14}"
    )


def plot(found: list[dict[str, Any]], file: Path) -> None:
    """Rewards by step."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for item in found:
        label = f"{item['trainer']}, {item['samplesPerSecond']:.0f} samples a second"
        axes.plot(range(1, item["steps"] + 1), item["rewards"], label=label)
    axes.axhline(GOAL, linestyle=":", color="gray", linewidth=1)
    axes.set(xlabel="step of 128 samples", ylabel="mean reward of the step", ylim=(0, 1))
    axes.legend()
    figure.tight_layout()
    figure.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trainers", nargs="+", choices=list(TRAINERS), default=list(TRAINERS))
    parser.add_argument("--trl", type=Path, help="the folder that TRL is installed in")
    parser.add_argument("--read", type=Path, help="show what was measured before")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--plot", type=Path, help="draw the rewards here")
    parser.add_argument("--child", choices=list(TRAINERS), help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.steps, options.seed, options.into)
        return
    found: list[dict[str, Any]] = json.loads(options.read.read_text(encoding="utf-8")) if options.read else []
    print(f"{'trainer':<10} {'version':<9} {'start':>7} {'samples/s':>10} {'to ' + str(GOAL):>8} {'reward':>14}")
    for item in found:
        print(row(item))
    for name in [] if options.read else options.trainers:
        folders = seen_by(name, options.trl)
        if installed(name, folders) is None:
            print(
                f"{name:<10} is not installed here: left out (make verl; pip install --no-deps --target DIR trl, --trl DIR)"
            )
            continue
        found.append(measure(name, options.steps, options.seed, folders))
        print(row(found[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2), encoding="utf-8")
    if options.plot and found:
        plot(found, options.plot)


if __name__ == "__main__":
    main()
