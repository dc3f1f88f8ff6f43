"""VeRL on a GPU: GRPO and another algorithm, trained for real (benchmarks.verl_device compares the arithmetic).

python -m benchmarks.verl_gpu [--json FILE] [--logs FOLDER] [--large-steps 20] [--only tiny|large]

Needs VeRL and a GPU. The model and the task are those of ``poise train --engine verl`` (sums below 20): a model of some
60,000 parameters, and one with the blocks of Qwen2.5-0.5B (358 million) and weights made on the spot. Responses are sampled by
transformers in bfloat16, VeRL trains with its own mixed precision, scores come from the checkpoint. What is said to be
VeRL's own measurement stands in its metrics under that name.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any, Final

import torch

from poise_lib.algorithms.registry import zoo_source
from poise_lib.evaluation.verl import child
from poise_lib.evaluation.verl.adapter import embedded
from poise_lib.evaluation.verl.adapter.embedded import TinySettings, train_tiny
from poise_lib.evaluation.verl.adapter.spec import CandidateSpec

ALGORITHMS: Final = ("grpo", "vm-av")
WARM: Final = 3
"""Steps that are left out of speeds: the first ones compile and allocate."""
VERL_FIGURES: Final = {
    "max memory allocated, GB": "perf/max_memory_allocated_gb",
    "max memory reserved, GB": "perf/max_memory_reserved_gb",
    "step, s": "timing_s/step",
    "sampling, s": "timing_s/gen",
    "update, s": "timing_s/update_actor",
    "weights to the rollout, s": "timing_s/update_weights",
}


def trained(name: str, settings: TinySettings, logs: Path) -> dict[str, Any]:
    """Scores, speed and memory of one run."""
    folder = Path(tempfile.mkdtemp(prefix="poise-gpu-"))
    run = folder / embedded.RUN / child.RUN
    label = f"{name}-{settings.shape}"
    spec = CandidateSpec(name=name, source=zoo_source(name), hyper={})
    try:
        report = train_tiny(spec, settings, folder, on_stage=lambda text: print(f"{label}: {text}", flush=True))
        records = [json.loads(line)["data"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    finally:
        for file in ("verl.log", "metrics.jsonl"):
            if (run / file).exists():
                shutil.copyfile(run / file, logs / f"{label}-{file}")
        shutil.rmtree(folder, ignore_errors=True)
    later = records[WARM:]
    figures = {
        label: statistics.median(record[key] for record in later)
        for label, key in VERL_FIGURES.items()
        if later and all(key in record for record in later)
    }
    if seconds := figures.get("step, s"):
        figures["samples a second"] = settings.prompts * settings.samples / seconds
    return {"before": report.before, "after": report.after, "seconds": report.seconds, "steps": settings.steps,
            "until the first step, s": report.start_seconds, "figures": figures,
            "trajectory": list(report.trajectory)}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--logs", type=Path, default=Path("."))
    parser.add_argument("--tiny-steps", type=int, default=20)
    parser.add_argument("--large-steps", type=int, default=20)
    parser.add_argument("--only", choices=["tiny", "large"])
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("not measured: PyTorch sees no GPU")
        return 0
    found: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}

    def keep() -> None:
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")

    runs = {
        "tiny": TinySettings(steps=options.tiny_steps, platform="cuda"),
        "large": TinySettings(steps=options.large_steps, prompts=32, learning_rate=1e-5, platform="cuda",
                              shape="qwen2.5-0.5b"),
    }  # fmt: skip
    for kind, settings in runs.items():
        if options.only in (None, kind):
            for name in ALGORITHMS:
                found[f"{kind} {name}"] = trained(name, settings, options.logs)
                keep()
    for title, entry in found.items():
        shown = {k: v for k, v in entry.items() if k != "trajectory"} if isinstance(entry, dict) else entry
        print(title, json.dumps(shown))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
