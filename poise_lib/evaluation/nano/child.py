"""The entry point of training inside the sandbox: untrusted candidate code runs here, and nowhere else.

Everything is imported, and the base policy read, before the process is locked down.  After that only the work folder is
touched.  What it holds:

- ``job.json`` in: a :class:`Job`.
- ``candidate.py`` in: the module to train.
- ``policy.safetensors`` out: the trained weights.
- ``trajectory.jsonl`` out: one record of metrics per step, also printed to standard output as it is made.

A fault of the candidate's is raised; the parent learns of it from the sandbox's result.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from poise_lib.algorithms.loading import algorithm_from_source
from poise_lib.errors import CandidateError
from poise_lib.evaluation.nano.job import CANDIDATE_FILE, JOB_FILE, POLICY_FILE, TRAJECTORY_FILE, Job
from poise_lib.evaluation.nano.model import save
from poise_lib.evaluation.nano.training import train


def main(workdir: Path) -> None:
    """Train what ``workdir`` describes.

    Raises:
        CandidateError: the source does not load, an override names no hyperparameter, or what the candidate returns is
            unusable.
    """
    torch.set_num_threads(1)
    job = Job.model_validate_json((workdir / JOB_FILE).read_text())
    algorithm = algorithm_from_source((workdir / CANDIDATE_FILE).read_text(), job.name)
    try:
        hyper = algorithm.hyper(job.hyper)
    except KeyError as error:
        raise CandidateError(str(error.args[0])) from error
    with (workdir / TRAJECTORY_FILE).open("w") as file:

        def record(step: dict[str, float]) -> None:
            line = json.dumps(step)
            file.write(line + "\n")
            print(line, flush=True)  # noqa: T201 - standard output is the progress protocol

        trained = train(algorithm, hyper, job.config, job.seed, record)
    save(trained.policy, workdir / POLICY_FILE)
