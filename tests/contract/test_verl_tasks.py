"""Training and scoring by VeRL as tasks: in three processes as in a pod, killed and resumed, and in a whole search."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("verl", reason="VeRL is not installed: make verl")

import yaml
from safetensors.torch import load

from poise_lib.algorithms.registry import zoo_source
from poise_lib.artifacts import ArtifactStore
from poise_lib.evaluation import trajectory as names
from poise_lib.evaluation.verl.adapter import tiny
from poise_lib.evaluation.verl.adapter.embedded import TinySettings, settings_of
from poise_lib.evaluation.verl.adapter.processes import descendants
from poise_lib.tasks.protocol import FrameReader, TaskKind, TaskRequest, TaskResult

pytestmark = [pytest.mark.verl, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
TOKEN = "d" * 32
SMALL = TinySettings(steps=2, prompts=8, samples=4)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tiny.TinyBase:
    return tiny.make_base(tmp_path_factory.mktemp("base") / "tiny")


def training(base: tiny.TinyBase, run: TinySettings = SMALL, source: str | None = None, **more: Any) -> TaskRequest:
    settings = settings_of(base, run).model_copy(update=more.pop("settings", {}))
    document = {
        "source": source or zoo_source("grpo"), "engine": "verl", "suite": "sums-v1", "nano": {}, "seed": 1,
        "verl": settings.to_document(), "fidelity": "full", **more,
    }  # fmt: skip
    return TaskRequest(kind=TaskKind.TRAIN, name="demo-001-0-1", input=document)


class Places:
    """The volumes of one pod, and the store of its namespace."""

    def __init__(self, root: Path, request: TaskRequest) -> None:
        self.root, self.handover, self.store = root, root / "handover", root / "store"
        self.input = root / "request.json.gz"
        self.input.write_bytes(gzip.compress(request.model_dump_json(by_alias=True).encode()))

    def command(self, *arguments: str | Path) -> list[str]:
        whole = [sys.executable, "-m", "poise_lib.tasks", "--request", self.input, *arguments]
        return [str(part) for part in [*whole, "--checkpoints", self.root / "checkpoints"]]

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, check=False)

    def judged(self, *arguments: str | Path) -> TaskResult:
        done = self.run("--store", self.store, "--attempt", TOKEN, *arguments)
        assert done.returncode == 0, done.stderr
        reader = FrameReader(TOKEN)
        for line in done.stdout.splitlines():
            reader.feed(line)
        assert reader.accepted is not None
        return reader.accepted

    def in_three(self) -> TaskResult:
        assert self.run("--store", self.store, "--look-up", self.handover).returncode == 0
        done = self.run("--hand-over", self.handover)
        assert done.returncode == 0, done.stderr
        assert "poise-result" not in done.stdout
        return self.judged("--handed-over", self.handover)


def test_three_processes_train_and_a_fourth_scores_what_is_in_the_store(base: tiny.TinyBase, tmp_path: Path) -> None:
    places = Places(tmp_path, training(base))
    result = places.in_three()
    assert result.output is not None, result.fault
    assert "ended" not in result.output
    assert [record[names.STEP] for record in result.output["trajectory"]] == [0.0, 1.0]
    weights = ArtifactStore(places.store).get(result.output["policy"])
    untrained = load((base.model / tiny.WEIGHTS).read_bytes())
    trained = load(weights)
    assert {name: tensor.shape for name, tensor in trained.items()} == {
        name: tensor.shape for name, tensor in untrained.items()
    }
    assert any(not bool((trained[name] == untrained[name]).all()) for name in trained)
    assert not list((tmp_path / "checkpoints").iterdir()), "checkpoints of a task whose result is made are left"
    for split in ("search", "confirm"):
        scored = Places(tmp_path, scoring(base, result.output["policy"], split)).judged()
        assert scored.output is not None, scored.fault
        assert set(scored.output["metrics"]) == {
            "sums_acc1", "sums_mean8", "overall", "format_valid", "response_length",
        }  # fmt: skip
        lines = ArtifactStore(places.store).get(scored.output["records"]).decode().splitlines()
        asked = {json.loads(line)["problem"] for line in lines}
        pairs = tiny.sums().search if split == "search" else tiny.sums().confirm
        assert asked == {f"{a}+{b}=" for a, b in pairs}


def test_a_suite_of_a_team_s_own_is_scored_on_its_problems(base: tiny.TinyBase, tmp_path: Path) -> None:
    """One that extends sums-v1: what it keeps, and problems of its own in the same folder."""
    folder = tmp_path / "problems"
    shutil.copytree(base.problems, folder)
    mine = [{"problem": "1+1=", "answer": "2"}, {"problem": "2+2=", "answer": "4"}]
    (folder / "house.jsonl").write_text("".join(json.dumps(row) + "\n" for row in mine))
    house = {
        "name": "house_pass2",
        "weight": 0.5,
        "passK": 2,
        "maxTokens": 6,
        "source": {"files": ["house.jsonl"], "count": 2},
    }
    definition = {"name": "ours", "extends": "sums-v1", "benchmarks": [{"name": "sums_mean8", "weight": 0}, house]}
    policy = ArtifactStore(tmp_path / "store").put((base.model / tiny.WEIGHTS).read_bytes())
    request = scoring(base, policy, "search")
    settings = {**request.input["verl"], "problems": str(folder)}
    request.input.update(suite="ours", suiteDefinition=definition, verl=settings)
    scored = Places(tmp_path, request).judged()
    assert scored.output is not None, scored.fault
    metrics = scored.output["metrics"]
    assert set(metrics) == {"sums_acc1", "house_pass2", "overall", "format_valid", "response_length"}
    assert metrics["overall"] == pytest.approx(0.5 * metrics["sums_acc1"] + 0.5 * metrics["house_pass2"], abs=1e-5)
    lines = ArtifactStore(tmp_path / "store").get(scored.output["records"]).decode().splitlines()
    asked = [json.loads(line) for line in lines]
    assert [one["problem"] for one in asked if one["benchmark"] == "house_pass2"] == ["1+1=", "2+2="]


def scoring(base: tiny.TinyBase, policy: str, split: str) -> TaskRequest:
    document = {"policy": policy, "engine": "verl", "suite": "sums-v1", "split": split, "seed": 1,
                "verl": settings_of(base, SMALL).to_document()}  # fmt: skip
    return TaskRequest(kind=TaskKind.SCORE, name="demo-001-0-1-score", input=document)


def test_a_candidate_that_fails_keeps_its_last_checkpoint_and_what_it_measured(
    base: tiny.TinyBase, tmp_path: Path
) -> None:
    head, signature, rest = zoo_source("grpo").partition("def advantages(batch: Batch, hyper: Hyper) -> Tensor:\n")
    assert signature
    source = f'{head}{signature}    if batch.step == 1:\n        raise ValueError("no luck")\n{rest}'
    every = {"checkpoints": settings_of(base, SMALL).checkpoints.model_copy(update={"every": 1})}
    result = Places(tmp_path, training(base, source=source, settings=every)).in_three()
    assert result.output is not None, result.fault
    assert result.output["ended"]["reason"] == "TrainingFailed"
    assert "step 1: advantages raised ValueError: no luck" in result.output["ended"]["message"]
    assert result.output["ended"]["step"] == 1
    assert [record[names.STEP] for record in result.output["trajectory"]] == [0.0]
    assert ArtifactStore(tmp_path / "store").has(result.output["policy"])


def test_a_killed_training_goes_on_from_its_checkpoint_and_leaves_no_process(
    base: tiny.TinyBase, tmp_path: Path
) -> None:
    """SIGKILL to the task, as a runner that dies sends it: what it started ends by itself, the next attempt goes on."""
    every = {"checkpoints": settings_of(base, SMALL).checkpoints.model_copy(update={"every": 1})}
    places = Places(tmp_path, training(base, TinySettings(steps=8, prompts=8, samples=4), settings=every))
    command = places.command("--store", places.store, "--attempt", TOKEN)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if '"step":3' in line:
                break
        below = descendants(process.pid)
        process.kill()
    assert below
    for _ in range(300):
        if not [pid for pid in below if alive(pid)]:
            break
        time.sleep(0.2)
    assert [pid for pid in below if alive(pid)] == []
    (kept,) = (tmp_path / "checkpoints").iterdir()
    saved = int((kept / "latest_checkpointed_iteration.txt").read_text())
    assert saved >= 2
    result = places.judged()
    assert result.output is not None, result.fault
    assert [record[names.STEP] for record in result.output["trajectory"]] == [float(step) for step in range(8)]
    assert not kept.exists()


def alive(pid: int) -> bool:
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_an_override_that_verl_does_not_know_is_a_fault(base: tiny.TinyBase, tmp_path: Path) -> None:
    wrong = {"overrides": {"trainer.no_such_setting": "1"}}
    result = Places(tmp_path, training(base, settings=wrong)).judged()
    assert result.fault is not None
    assert result.fault.reason == "SettingsInvalid"
    assert "evaluation.verl.overrides['trainer.no_such_setting']: is no key of VeRL" in result.fault.message


def test_a_whole_search(tmp_path: Path) -> None:
    """The example, smaller: a baseline and a candidate, trained and scored; confirmed where the candidate was better."""
    poise = [sys.executable, "-m", "poise_lib.cli.main"]
    subprocess.run([*poise, "verl-base", "verl-tiny"], cwd=tmp_path, check=True, env=environment())
    document = yaml.safe_load((ROOT / "examples" / "search-verl-tiny.yaml").read_text(encoding="utf-8"))
    document["spec"]["budget"]["candidates"] = 2
    document["spec"]["evaluation"]["verl"]["steps"] = 2
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(document))
    done = subprocess.run(
        [*poise, "run", "search.yaml", "--workers", "1", "-o", "json"],
        cwd=tmp_path, check=False, capture_output=True, text=True, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    runs = [yaml.safe_load(file.read_text()) for file in (tmp_path / "verl-tiny.poise" / "evaluations").iterdir()]
    assert {run["status"]["phase"] for run in runs} == {"Complete"}
    assert [run["spec"]["fidelity"] for run in runs].count("full") == 2
    assert all(run["status"]["metrics"]["overall"] >= 0.0 for run in runs)


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
