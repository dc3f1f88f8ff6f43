"""Tasks of engine verl, as far as they go where VeRL is not installed: what is missing is told, and nothing is kept."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save_file

from poise_lib.artifacts import ArtifactStore
from poise_lib.errors import EngineError
from poise_lib.evaluation.verl import job as j
from poise_lib.evaluation.verl.training import ENTRY
from poise_lib.sandbox import Limits, SandboxResult
from poise_lib.tasks import handlers, verl
from poise_lib.tasks.context import Fault, TaskContext
from poise_lib.tasks.protocol import FrameReader, TaskKind, TaskRequest

TENSORS = {"a": torch.full((2, 3), 0.5), "b": torch.arange(4.0)}


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    save_file({name: tensor.to(torch.bfloat16) for name, tensor in TENSORS.items()}, base / "model.safetensors")
    (tmp_path / "train.jsonl").write_text(json.dumps({"problem": "1+1=", "answer": "2"}) + "\n")
    return {
        "platform": "cpu",
        "model": {"path": str(base)},
        "data": {"train": [str(tmp_path / "train.jsonl")]},
        "problems": str(tmp_path / "secret"),
        "rollout": {"engine": "hf"},
        "gpusPerNode": 1,
    }


def training(verl: dict[str, Any] | None) -> TaskRequest:
    document: dict[str, Any] = {"source": "x = 1", "engine": "verl", "suite": "sums-v1", "nano": {}, "seed": 0}
    return TaskRequest(kind=TaskKind.TRAIN, name="e", input=document | ({"verl": verl} if verl is not None else {}))


class Leaves:
    """A run that leaves what it is told to, as VeRL's process does."""

    def __init__(self, account: dict[str, Any], tensors: dict[str, torch.Tensor] | None = None, steps: int = 3) -> None:
        self.account, self.tensors, self.steps = account, tensors, steps
        self.job: dict[str, Any] = {}

    def __call__(self, entry: str, workdir: Path, limits: Limits, on_line: Any = None) -> SandboxResult:
        assert entry == ENTRY
        self.job = json.loads((workdir / j.JOB_FILE).read_text())
        records = [{"training/global_step": float(step), "critic/score/mean": 0.1 * step} for step in range(self.steps)]
        for record in records:
            on_line(json.dumps({"steps": 9, "record": record}))
        on_line("something else")
        lines = [*map(json.dumps, records), '{"actor/kl": NaN}', "[", '{"actor/kl": "x"}']
        (workdir / j.TRAJECTORY_FILE).write_text("\n".join(lines))
        (workdir / j.ACCOUNT_FILE).write_text(json.dumps(self.account))
        if self.tensors is not None:
            for number, (name, tensor) in enumerate(self.tensors.items(), 1):
                save_file({name: tensor}, workdir / j.WEIGHTS.format(number))
        return SandboxResult(True, "", 0, None, "", 1.0, 1.0, 1, ())


def handled(
    root: Path, request: TaskRequest, run: Leaves
) -> tuple[dict[str, Any], ArtifactStore, list[dict[str, Any]]]:
    store, reports = ArtifactStore(root / "store"), []
    context = TaskContext(store, root / "work", reports.append, outside=run)
    (root / "work").mkdir()
    return handlers.handle(request, context), store, reports


def test_a_finished_run(tmp_path: Path, settings: dict[str, Any]) -> None:
    run = Leaves({"kind": "finished", "step": 3}, TENSORS)
    output, store, reports = handled(tmp_path, training(settings), run)
    assert "ended" not in output
    held = load(store.get(output["policy"]))
    assert {name: tensor.dtype for name, tensor in held.items()} == dict.fromkeys(TENSORS, torch.bfloat16)
    assert all(torch.equal(held[name].float(), tensor) for name, tensor in TENSORS.items())
    assert reports == [{"step": step, "steps": 9} for step in (1, 2, 3)]
    assert [record["critic/score/mean"] for record in output["trajectory"]] == [0.0, 0.1, 0.2]
    assert "problems" not in run.job["settings"] or run.job["settings"]["problems"] is None, "training was shown them"


@pytest.mark.parametrize("kind", ["candidate", "stopped"])
def test_a_run_that_ended_early_keeps_what_it_left(tmp_path: Path, settings: dict[str, Any], kind: str) -> None:
    account = {"kind": kind, "reason": "KLBlowUp", "message": "ended after step 3 of 9", "step": 3}
    output, store, _ = handled(tmp_path, training(settings), Leaves(account, TENSORS))
    assert output["ended"] == {"reason": "KLBlowUp", "message": "ended after step 3 of 9", "step": 3}
    assert len(output["trajectory"]) == 3
    assert store.has(output["policy"])


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (None, "there is no checkpoint"),
        ({"a": torch.full((2, 3), torch.inf), "b": TENSORS["b"]}, "tensor 'a' is not finite"),
        ({"a": TENSORS["a"]}, "tensor 'b' is missing"),
        ({"a": TENSORS["a"], "b": torch.ones(5)}, "tensor 'b' is F32 \\[5\\], expected"),
    ],
)
def test_weights_that_are_none_are_not_kept(
    tmp_path: Path, settings: dict[str, Any], tensors: dict[str, torch.Tensor] | None, words: str
) -> None:
    output, _, _ = handled(tmp_path, training(settings), Leaves({"kind": "finished", "step": 3}, tensors))
    assert "policy" not in output
    assert output["ended"]["reason"] == "TrainingFailed"
    assert words.replace("\\", "") in output["ended"]["message"]


def test_an_accident_is_no_result(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match="a worker died"):
        handled(tmp_path, training(settings), Leaves({"kind": "lost", "message": "a worker died"}))


@pytest.mark.parametrize("reason", ["GPUMissing", "DataInvalid", "SettingsInvalid"])
def test_what_keeps_a_run_from_beginning_is_a_fault(tmp_path: Path, settings: dict[str, Any], reason: str) -> None:
    run = Leaves({"kind": "unusable", "reason": reason, "message": "say what"}, steps=0)
    with pytest.raises(Fault, match="say what") as caught:
        handled(tmp_path, training(settings), run)
    assert (caught.value.reason, caught.value.keep) == (reason, False)


def test_a_run_that_has_begun_cannot_blame_the_machine(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Or a candidate could stop a whole search."""
    with pytest.raises(EngineError, match="says that it never began, and there are steps"):
        handled(tmp_path, training(settings), Leaves({"kind": "unusable", "reason": "GPUMissing", "message": "m"}))


def test_a_base_that_is_not_there(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings["model"]["path"] = "/models/none"
    for request in (training(settings), scoring(settings)):
        with pytest.raises(Fault, match=r"model\.path: /models/none: there is no such folder; mount it") as caught:
            verl_handled(tmp_path, request)
        assert (caught.value.reason, caught.value.keep) == ("ModelMissing", False)


def scoring(verl: dict[str, Any]) -> TaskRequest:
    document = {"policy": "sha256:" + "0" * 64, "engine": "verl", "suite": "sums-v1", "split": "search", "seed": 0}
    return TaskRequest(kind=TaskKind.SCORE, name="e", input=document | {"verl": verl})


def verl_handled(root: Path, request: TaskRequest) -> dict[str, Any]:
    """With a blob of weights in the store, whatever they are."""
    store = ArtifactStore(root / "store")
    policy = store.put(b"weights")
    if request.kind is TaskKind.SCORE:
        request = request.model_copy(update={"input": request.input | {"policy": policy}})
    work = root / request.kind.value
    work.mkdir(exist_ok=True)
    return handlers.handle(request, TaskContext(store, work, lambda progress: None))


def test_problems_that_are_not_there(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(Fault, match=r"sums\.jsonl is in .*/secret; name the folder that holds it") as caught:
        verl_handled(tmp_path, scoring(settings))
    assert (caught.value.reason, caught.value.keep) == ("DataInvalid", False)


HOUSE: dict[str, Any] = {
    "name": "ours",
    "benchmarks": [{"name": "house_acc1", "weight": 1.0, "source": {"files": ["house.jsonl"], "count": 2}}],
}


def test_problems_of_a_suite_of_a_team_s_own(tmp_path: Path, settings: dict[str, Any]) -> None:
    """They are looked for in the same folder, and counted as the definition says."""
    places = [tmp_path / name for name in "abc"]
    for place in places:
        place.mkdir()
    request = scoring(settings)
    own = request.model_copy(update={"input": request.input | {"suite": "ours", "suiteDefinition": HOUSE}})
    with pytest.raises(Fault, match=r"house_acc1: none of house\.jsonl is in .*/secret; name the folder") as caught:
        verl_handled(places[0], own)
    assert (caught.value.reason, caught.value.keep) == ("DataInvalid", False)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "house.jsonl").write_text(json.dumps({"problem": "1+1=", "answer": "2"}) + "\n")
    with pytest.raises(Fault, match="holds 1 problems, but the suite says 2"):
        verl_handled(places[1], own)
    without = request.model_copy(update={"input": request.input | {"suite": "ours"}})
    with pytest.raises(Fault, match="unknown suite 'ours'; known: chains-v1"):
        verl_handled(places[2], without)


def test_parents_are_chosen_by_the_metrics_of_such_a_suite(tmp_path: Path) -> None:
    entries = [
        {"name": name, "parents": [], "phase": "Archived", "metrics": {"house_acc1": score}, "utility": score}
        for name, score in (("low", 10.0), ("high", 90.0))
    ]
    document = {"entries": entries, "strategy": {}, "objective": {}, "suite": "ours", "round": 1, "count": 1, "seed": 0}
    strategy = {"acquisition": {"pareto": 0, "performance": 1, "diversity": 0, "bayes": 0}}
    request = TaskRequest(
        kind=TaskKind.SELECT, name="s", input=document | {"strategy": strategy, "suiteDefinition": HOUSE}
    )
    chosen = verl_handled(tmp_path, request)["selection"]["parents"]
    assert [parent["name"] for parent in chosen] == ["high"]


def test_settings_are_needed(tmp_path: Path) -> None:
    with pytest.raises(Fault, match=r"needs the settings evaluation\.verl"):
        verl_handled(tmp_path, training(None))


@pytest.mark.skipif(find_spec("verl") is not None, reason="VeRL is installed here")
def test_without_verl_the_real_process_says_so(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(Fault, match="VeRL is not installed: pip install") as caught:
        verl_handled(tmp_path, training(settings))
    assert (caught.value.reason, caught.value.keep) == ("EngineMissing", False)


@pytest.mark.parametrize(
    ("account", "over"),
    [("{}", False), ('{"kind": "lost"}', False), ('{"kind": "unusable"}', False), ('{"kind": "finished"}', True),
     ('{"kind": "stopped"}', True), ('{"kind": "candidate"}', True)],
)  # fmt: skip
def test_checkpoints_are_needed_until_the_run_is_over(tmp_path: Path, account: str, over: bool) -> None:
    (tmp_path / j.ACCOUNT_FILE).write_text(account)
    assert verl.is_over(tmp_path) is over
    assert verl.is_over(tmp_path / "nothing") is False


@pytest.mark.skipif(find_spec("verl") is not None, reason="VeRL is installed here")
def test_three_containers_say_the_same_and_leave_the_checkpoints(tmp_path: Path, settings: dict[str, Any]) -> None:
    """The untrusted one cannot begin: its account goes through the hand-over, and what was trained before stays."""
    request = training(settings)
    kept = tmp_path / "checkpoints" / request.digest.removeprefix("sha256:")[:16]
    kept.mkdir(parents=True)
    handover, store = tmp_path / "handover", tmp_path / "store"
    (tmp_path / "request.json").write_text(request.model_dump_json(by_alias=True))

    def task(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "poise_lib.tasks", "--request", tmp_path / "request.json", *arguments]
        return subprocess.run(
            [*command, "--checkpoints", tmp_path / "checkpoints"], capture_output=True, text=True, check=True
        )

    task("--store", store, "--look-up", handover)
    task("--hand-over", handover)
    assert (handover / "files" / j.ACCOUNT_FILE).is_file()
    assert not (handover / "files" / "run").exists()
    reader = FrameReader("e" * 32)
    for line in task("--store", store, "--attempt", "e" * 32, "--handed-over", handover).stdout.splitlines():
        reader.feed(line)
    assert reader.accepted is not None
    assert reader.accepted.fault is not None
    assert reader.accepted.fault.reason == "EngineMissing"
    assert "VeRL is not installed" in reader.accepted.fault.message
    assert ArtifactStore(store).result(request.digest) is None, "a machine can be mended"
    assert kept.is_dir()
