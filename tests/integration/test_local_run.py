"""``poise run`` as a user runs it: real processes, the real engine, kills at real moments."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from poise_lib.archive.digest import archive_digest
from poise_lib.local.state import StateDir
from poise_lib.resources import Search
from poise_lib.resources.candidate import FINAL_CANDIDATE_PHASES, CandidatePhase
from poise_lib.resources.search import SearchPhase
from tests.integration.conftest import command, finish, start

# One worker runs them all: they share a finished search, and each uses both cores.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("local-run")]


def digest(state: Path) -> str:
    directory = StateDir(state)
    search = directory.search()
    assert search is not None
    return archive_digest(search, tuple(directory.candidates()), tuple(directory.evaluations()))


def stored_results(state: Path) -> dict[str, float]:
    """Results in the artifact store with the time at which each was written; not what a killed writer left half done."""
    return {path.name: path.stat().st_mtime for path in (state / "artifacts" / "results").glob("[!.]*.json")}


def until(condition: object, process: subprocess.Popen[str], seconds: float = 300.0) -> bool:
    """Wait for a condition while the process lives; False when it ended first."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if callable(condition) and condition():
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.01)
    raise AssertionError("the condition never came true")


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_search_runs_to_its_end_and_says_what_it_found(finished: Path) -> None:
    directory = StateDir(finished)
    search = directory.search()
    assert search is not None
    assert search.status.phase is SearchPhase.COMPLETE
    assert search.status.counts.total == 4
    assert search.status.digest == digest(finished)
    candidates = directory.candidates()
    assert all(candidate.status.phase in FINAL_CANDIDATE_PHASES for candidate in candidates)
    archived = [candidate for candidate in candidates if candidate.status.phase is CandidatePhase.ARCHIVED]
    assert len(archived) >= 2
    for candidate in archived:
        assert candidate.status.metrics
        assert candidate.status.trajectory
        assert candidate.status.reflection is not None
        assert candidate.status.verification is not None
        assert candidate.status.verification.passed
    assert not any((finished / "work").iterdir())


def test_one_worker_reaches_the_same_archive(finished: Path, manifest: Path, tmp_path: Path) -> None:
    finish(tmp_path / "state", manifest, "--workers", "1")
    assert digest(tmp_path / "state") == digest(finished)


def test_a_finished_search_is_left_as_it_is(finished: Path, manifest: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    shutil.copytree(finished, state)
    before = {path: path.read_bytes() for path in state.rglob("*.yaml")}
    finish(state, manifest)
    assert {path: path.read_bytes() for path in state.rglob("*.yaml")} == before


def test_a_runner_killed_again_and_again_loses_nothing(finished: Path, manifest: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    chance = random.Random(7)
    results: dict[str, float] = {}
    for _ in range(8):
        process = start(state, manifest, "--workers", "2")
        goal = len(results) + chance.randint(0, 3)

        def reached(goal: int = goal) -> bool:
            return (state / "artifacts" / "results").is_dir() and len(stored_results(state)) >= goal

        if until(reached, process):
            kill(process)
        if (state / "artifacts" / "results").is_dir():
            now = stored_results(state)
            assert {name: now[name] for name in results} == results, "a finished task was done again"
            results = now
    finish(state, manifest, "--workers", "2")
    now = stored_results(state)
    assert {name: now[name] for name in results} == results, "a finished task was done again"
    assert digest(state) == digest(finished)


def task_processes(state: Path) -> list[int]:
    """Process ids of tasks that work on a state directory."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"poise_lib.tasks" in words and str(state / "artifacts").encode() in words:
                found.append(int(entry.name))
    return found


def test_tasks_that_are_killed_are_tried_again(finished: Path, manifest: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    process = start(state, manifest, "--workers", "2")
    for _ in range(2):
        if until(lambda: bool(task_processes(state)), process):
            victims = task_processes(state)[:1]
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            until(lambda victims=victims: not set(victims) & set(task_processes(state)), process)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert digest(state) == digest(finished)


def test_tasks_die_with_their_runner(manifest: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    process = start(state, manifest)
    assert until(lambda: bool(task_processes(state)), process)
    kill(process)
    deadline = time.monotonic() + 60
    while task_processes(state):
        assert time.monotonic() < deadline, "a task outlived its runner"
        time.sleep(0.01)


def test_an_orphan_leaves_no_result_in_a_later_run(tmp_path: Path) -> None:
    fence = tmp_path / "run"
    fence.write_text("later")
    request = json.dumps(
        {"kind": "conclude", "name": "x", "input": {"baseline": [1, 2], "arms": {}, "confidence": 0.9, "picked": 0}}
    )
    arguments = ["--store", str(tmp_path / "store"), "--work", str(tmp_path), "--attempt", "a" * 32]
    task = [sys.executable, "-m", "poise_lib.tasks", *arguments, "--fence"]
    late = subprocess.run([*task, f"{fence}=earlier"], input=request, capture_output=True, text=True, check=False)
    assert late.returncode == 1
    assert "a later run has taken over" in late.stderr
    assert not (tmp_path / "store" / "results").exists()
    current = subprocess.run([*task, f"{fence}=later"], input=request, capture_output=True, text=True, check=False)
    assert current.returncode == 0, current.stderr
    assert len(list((tmp_path / "store" / "results").iterdir())) == 1


def test_interrupting_stops_cleanly_and_the_same_command_goes_on(
    finished: Path, manifest: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    process = start(state, manifest, "--workers", "2")
    assert until(lambda: (state / "candidates").is_dir() and bool(task_processes(state)), process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "The same command goes on" in output
    assert not task_processes(state)
    finish(state, manifest)
    assert digest(state) == digest(finished)


def test_a_directory_in_use_is_refused(manifest: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with StateDir(state).lock("token"):
        second = subprocess.run(command(state, manifest), capture_output=True, text=True, check=False)
    assert second.returncode == 3
    assert "in use by process" in second.stderr + second.stdout


def change(manifest: Path, tmp_path: Path, old: str, new: str) -> Path:
    text = manifest.read_text()
    assert old in text
    path = tmp_path / "changed.yaml"
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ("name: tiny", "name: other", 3, "holds the search 'tiny'"),
        ("seed: 3", "seed: 4", 2, "spec.seed: cannot change"),
        ("steps: 2", "steps: 3", 2, "spec.evaluation.fidelities: cannot change"),
    ],
)
def test_another_search_in_the_same_directory_is_refused(
    finished: Path, manifest: Path, tmp_path: Path, old: str, new: str, code: int, words: str
) -> None:
    changed = change(manifest, tmp_path, old, new)
    refused = subprocess.run(command(finished, changed), capture_output=True, text=True, check=False)
    assert refused.returncode == code
    assert words in refused.stderr + refused.stdout


def test_a_bigger_budget_goes_on(finished: Path, manifest: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    shutil.copytree(finished, state)
    bigger = change(manifest, tmp_path, "candidates: 4", "candidates: 5")
    search: Search = finish(state, bigger, "--workers", "2")
    assert search.status.counts.total == 5
    assert search.status.phase is SearchPhase.COMPLETE


def test_a_damaged_manifest_is_named_with_the_way_out(finished: Path, manifest: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    shutil.copytree(finished, state)
    victim = state / "candidates" / "tiny-001-0.yaml"
    victim.write_bytes(victim.read_bytes()[:300])
    refused = subprocess.run(command(state, manifest), capture_output=True, text=True, check=False)
    text = " ".join((refused.stderr + refused.stdout).split())
    assert refused.returncode == 3, text
    assert "tiny-001-0.yaml" in text.replace("\n", "")
    assert "remove the file and run again" in text
    victim.unlink()
    search = finish(state, manifest, "--workers", "2")
    assert search.status.phase is SearchPhase.COMPLETE
    assert search.status.counts.total == 4
