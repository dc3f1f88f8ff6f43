"""A task that runs candidate code, in one process and in three: the same result, and no trust in the middle one."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from poise_lib.algorithms.registry import zoo_source
from poise_lib.artifacts import ArtifactStore
from poise_lib.errors import SandboxError
from poise_lib.sandbox import Delivered, Delivering, Limits, Received, SandboxResult, handover
from poise_lib.tasks.protocol import SPLIT_KINDS, FrameReader, TaskKind, TaskRequest, TaskResult

TOKEN = "c" * 32
TINY = {"steps": 2, "promptsPerStep": 4, "groupSize": 4, "epochs": 1, "miniBatches": 1}
LIMITS = Limits(cpu_seconds=1, wall_seconds=1, memory_bytes=1, file_bytes=1000)


def request_of(kind: TaskKind, source: str) -> TaskRequest:
    document = {
        TaskKind.VERIFY: {"source": source, "revision": 1, "parentDigests": {}, "trainingProbe": False},
        TaskKind.TRAIN: {"source": source, "engine": "nano", "suite": "chains-v1", "nano": TINY, "seed": 3},
    }[kind]
    return TaskRequest(kind=kind, name="demo-001-0-1", input=document)


class Places:
    """The volumes of one pod, and the store of its namespace."""

    def __init__(self, root: Path, request: TaskRequest) -> None:
        self.root, self.handover, self.store = root, root / "work" / "handover", root / "store"
        self.input = root / "request.json.gz"
        self.input.write_bytes(gzip.compress(request.model_dump_json(by_alias=True).encode()))

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "poise_lib.tasks", "--request", self.input, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def look_up(self) -> subprocess.CompletedProcess[str]:
        return self.run("--store", self.store, "--look-up", self.handover)

    def hand_over(self) -> subprocess.CompletedProcess[str]:
        return self.run("--hand-over", self.handover)

    def judge(self) -> TaskResult | None:
        done = self.run("--store", self.store, "--attempt", TOKEN, "--handed-over", self.handover)
        reader = FrameReader(TOKEN)
        for line in done.stdout.splitlines():
            reader.feed(line)
        return reader.accepted if done.returncode == 0 else None

    def alone(self) -> TaskResult:
        done = self.run("--store", self.root / "other", "--attempt", TOKEN)
        assert done.returncode == 0, done.stderr
        reader = FrameReader(TOKEN)
        for line in done.stdout.splitlines():
            reader.feed(line)
        assert reader.accepted is not None
        return reader.accepted


def without_times(result: TaskResult | None) -> dict[str, object]:
    assert result is not None
    assert result.output is not None
    output = dict(result.output)
    output.pop("seconds", None)
    return output


@pytest.mark.parametrize("kind", SPLIT_KINDS)
def test_three_containers_do_what_one_process_does(tmp_path: Path, kind: TaskKind) -> None:
    places = Places(tmp_path, request_of(kind, zoo_source("grpo")))
    assert places.look_up().returncode == 0
    done = places.hand_over()
    assert done.returncode == 0, done.stderr
    assert "poise-result" not in done.stdout
    left = {path: path.read_bytes() for path in places.handover.rglob("*") if path.is_file()}
    mine = places.judge()
    assert without_times(mine) == without_times(places.alone())
    assert {path: path.read_bytes() for path in left} == left
    # The result is kept: another attempt finds it, and the candidate does not run again.
    for path in left:
        path.unlink()
    assert places.look_up().returncode == 0
    assert places.hand_over().returncode == 0
    assert not (places.handover / "result.json").exists()
    assert places.judge() == mine


@pytest.mark.parametrize("kind", SPLIT_KINDS)
def test_a_candidate_that_raises_is_a_verdict_and_not_a_lost_attempt(tmp_path: Path, kind: TaskKind) -> None:
    head, signature, rest = zoo_source("grpo").partition("def advantages(batch: Batch, hyper: Hyper) -> Tensor:\n")
    source = f'{head}{signature}    raise ValueError("no luck")\n{rest}'
    places = Places(tmp_path, request_of(kind, source))
    assert places.look_up().returncode == 0
    assert places.hand_over().returncode == 0
    result = places.judge()
    assert result is not None
    said = json.dumps(result.to_document())
    assert "no luck" in said
    assert result.fault is not None or not result.output["verification"]["passed"]  # type: ignore[index]


def test_nothing_handed_over_is_a_lost_attempt(tmp_path: Path) -> None:
    places = Places(tmp_path, request_of(TaskKind.TRAIN, zoo_source("grpo")))
    places.look_up()
    assert places.judge() is None
    assert ArtifactStore(places.store).result(request_of(TaskKind.TRAIN, zoo_source("grpo")).digest) is None


@pytest.mark.parametrize(("counts", "told"), [((3, 4), True), ((3, 3), False)])
def test_a_container_without_memory_is_no_fault_of_the_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: tuple[int, int], told: bool
) -> None:
    """Under cgroup v1 the kernel kills the child alone, and whoever is left has to know why."""
    killed = SandboxResult(
        ok=False, reason="The code ended its process: signal SIGKILL.", exit_code=None, signal=9, stderr_tail="",
        wall_seconds=1.0, cpu_seconds=1.0, peak_memory_bytes=1, in_force=(),
    )  # fmt: skip
    kills = iter(counts)
    monkeypatch.setattr(handover, "out_of_memory_kills", lambda: next(kills))
    monkeypatch.setattr(handover, "run", lambda *_: killed)
    with pytest.raises(SandboxError if told else Delivered, match="limits.memory" if told else None):
        Delivering(tmp_path / "left")("entry", tmp_path, LIMITS)
    assert (tmp_path / "left" / "result.json").exists() is not told


def test_what_was_given_cannot_be_given_back_changed(tmp_path: Path) -> None:
    handover, work = handed_over(tmp_path, {"candidate.py": b"other", "policy.safetensors": b"weights"})
    (work / "candidate.py").write_text("mine")
    Received(handover)("entry", work, LIMITS)
    assert (work / "candidate.py").read_text() == "mine"
    assert (work / "policy.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize("what", ["too large", "link", "folder", "fifo", "many", "no account", "forged account"])
def test_what_no_child_leaves_is_refused(tmp_path: Path, what: str) -> None:
    handover, work = handed_over(tmp_path, {})
    files = handover / "files"
    if what == "too large":
        (files / "a").write_bytes(b"x" * 600)
        (files / "b").write_bytes(b"x" * 600)
    elif what == "link":
        (files / "a").symlink_to("/etc/passwd")
    elif what == "folder":
        (files / "a").mkdir()
    elif what == "fifo":
        os.mkfifo(files / "a")
    elif what == "many":
        for index in range(65):
            (files / str(index)).touch()
    elif what == "no account":
        (handover / "result.json").unlink()
    else:
        (handover / "result.json").write_text('{"ok": true, "reason": 7}')
    with pytest.raises(SandboxError):
        Received(handover)("entry", work, LIMITS)


def test_what_runs_the_child_can_be_another_one_and_its_files_are_handed_over(tmp_path: Path) -> None:
    def leaves(entry: str, workdir: Path, limits: Limits, on_line: object = None) -> SandboxResult:
        (workdir / "large").write_bytes(b"x" * 900)
        (workdir / "link").symlink_to("/etc/passwd")
        (workdir / "folder").mkdir()
        os.mkfifo(workdir / "pipe")
        return SandboxResult(True, "", 0, None, "", 1.0, 1.0, 1, ())

    work, handover = tmp_path / "work", tmp_path / "handover"
    work.mkdir()
    (work / "given").write_text("ours")
    for _ in range(2):  # a container that is started again finds what it left
        with pytest.raises(Delivered):
            Delivering(handover, leaves)("entry", work, LIMITS)
        assert [path.name for path in (handover / "files").iterdir()] == ["large"]
        for name in ("large", "link", "pipe"):
            (work / name).unlink()
        (work / "folder").rmdir()
    (tmp_path / "judge").mkdir()
    assert Received(handover)("entry", tmp_path / "judge", LIMITS).ok
    assert (tmp_path / "judge" / "large").read_bytes() == b"x" * 900


def test_text_of_the_account_is_cleaned(tmp_path: Path) -> None:
    handover, work = handed_over(tmp_path, {}, reason="\x1b[2Jgone", in_force=["seccomp", "magic"])
    result = Received(handover)("entry", work, LIMITS)
    assert result.reason == "?[2Jgone"
    assert result.in_force == ("seccomp",)


def handed_over(root: Path, files: dict[str, bytes], **changes: object) -> tuple[Path, Path]:
    handover, work = root / "handover", root / "work"
    (handover / "files").mkdir(parents=True)
    work.mkdir()
    for name, content in files.items():
        (handover / "files" / name).write_bytes(content)
    account = {
        "ok": True, "reason": "", "exit_code": 0, "signal": None, "stderr_tail": "", "wall_seconds": 1.0,
        "cpu_seconds": 1.0, "peak_memory_bytes": 1, "in_force": [], **changes,
    }  # fmt: skip
    (handover / "result.json").write_text(json.dumps(account))
    return handover, work
