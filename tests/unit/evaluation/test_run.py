"""Training in the sandbox and scoring what comes out: one real probe run, and hostile output."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from poise_lib import sandbox
from poise_lib.algorithms.contract import Algorithm
from poise_lib.algorithms.zoo import grpo
from poise_lib.errors import CandidateError
from poise_lib.evaluation import run
from poise_lib.evaluation import trajectory as names
from poise_lib.evaluation.nano import child, job
from poise_lib.evaluation.nano.config import PROBE, NanoConfig
from poise_lib.evaluation.nano.training import train
from poise_lib.resources.evaluation import NanoSettings

SOURCE = Path(grpo.__file__).read_text()


def test_the_sandbox_changes_no_bit_of_the_result(tmp_path: Path, baseline: Algorithm) -> None:
    seen: list[dict[str, float]] = []
    report = run.train_candidate(SOURCE, PROBE, 7, tmp_path / "work", seen.append, hyper={"clip_ratio": 0.3})
    here = train(baseline, baseline.hyper({"clip_ratio": 0.3}), PROBE, 7, lambda record: None)
    there = load_file(report.policy_path)
    assert all(torch.equal(tensor, there[name]) for name, tensor in here.policy.state_dict().items())
    assert [record[names.STEP] for record in seen] == [0.0, 1.0, 2.0]
    assert tuple(seen) == report.trajectory
    assert report.trajectory[-1][names.LOSS] == here.trajectory[-1][names.LOSS]
    assert report.in_force


def test_a_candidate_that_fails_is_reported_in_its_own_words(tmp_path: Path) -> None:
    source = SOURCE.replace("return ops.spread(relative", "return ops.spread(relative / 0.0")
    assert source != SOURCE
    with pytest.raises(CandidateError, match=r"training sick failed: .*step 0: advantages is not finite"):
        run.train_candidate(source, PROBE, 0, tmp_path / "work", name="sick")


def result(ok: bool = True) -> sandbox.SandboxResult:
    return sandbox.SandboxResult(ok, "" if ok else "no", 0, None, "", 1.0, 1.0, 1, ())


def test_lines_that_are_no_records_are_skipped(tmp_path: Path) -> None:
    lines = ["hello", "[1]", '{"a": 1.5}', '{"a": NaN}', '{"a": "x", "b": 2.0, "c": true}', "{", '{"a": 1e999}', "null"]

    def hostile(entry: str, workdir: Path, limits: sandbox.Limits, on_line: object) -> sandbox.SandboxResult:
        assert callable(on_line)
        for line in lines:
            on_line(line)
        (workdir / job.TRAJECTORY_FILE).write_text("\n".join(lines))
        (workdir / job.POLICY_FILE).write_bytes(b"")
        return result()

    seen: list[dict[str, float]] = []
    report = run.train_candidate(SOURCE, PROBE, 0, tmp_path / "work", seen.append, run=hostile)  # type: ignore[arg-type]
    assert seen == list(report.trajectory) == [{"a": 1.5}, {"b": 2.0}]


def test_missing_or_linked_output_is_the_candidates_fault(tmp_path: Path) -> None:
    def empty(*_: object) -> sandbox.SandboxResult:
        return result()

    with pytest.raises(CandidateError, match="left no usable output"):
        run.train_candidate(SOURCE, PROBE, 0, tmp_path / "first", run=empty)
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / job.TRAJECTORY_FILE).write_text("")
    (tmp_path / "second" / job.POLICY_FILE).symlink_to("/etc/hostname")
    with pytest.raises(CandidateError, match="left no usable output"):
        run.train_candidate(SOURCE, PROBE, 0, tmp_path / "second", run=empty)


def test_an_unknown_hyperparameter_is_named(tmp_path: Path) -> None:
    described = job.Job(config=PROBE, seed=0, hyper={"clip": 1.0})
    (tmp_path / job.JOB_FILE).write_text(described.model_dump_json(by_alias=True))
    (tmp_path / job.CANDIDATE_FILE).write_text(SOURCE)
    with pytest.raises(CandidateError, match="no hyperparameter 'clip'"):
        child.main(tmp_path)


def test_a_config_survives_json_and_takes_a_searchs_settings() -> None:
    config = NanoConfig.of(NanoSettings(steps=5, learning_rate=2e-4))
    assert (config.steps, config.learning_rate, config.group_size) == (5, 2e-4, NanoSettings().group_size)
    assert NanoConfig.model_validate(json.loads(config.model_dump_json(by_alias=True))) == config


def test_the_trusted_side_of_training_does_without_pytorch() -> None:
    """Its import would cost every training run a second or more, for nothing."""
    code = "import sys, poise_lib.tasks.handlers, poise_lib.evaluation.run, poise_lib.evaluation.trajectory; "
    code += "from poise_lib.verification import verify; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
