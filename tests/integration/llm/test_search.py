"""A whole search whose every idea, line of code and diagnosis comes over HTTP from a scripted model, and the same from its transcripts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.llm.script import Script
from tests.llm.server import ScriptedServer

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("local-run")]

KEY = "sk-of-a-whole-search-0123456789"
SCRIPT = Path(__file__).parents[2] / "llm" / "scripts" / "search.yaml"
MANIFEST: dict[str, Any] = {
    "apiVersion": "poise.dev/v1alpha1",
    "kind": "Search",
    "metadata": {"name": "asked"},
    "spec": {
        "seed": 3,
        "directive": "Shorten responses, keep accuracy.",
        "strategy": {"parentsPerRound": 1, "proposalsPerParent": 1},
        "verification": {"trainingProbe": False},
        "proposer": {
            "type": "LLM",
            "llm": {"model": "scripted", "prices": {"inputPerMillion": 1.0, "outputPerMillion": 8.0}},
        },
        "evaluation": {
            "fidelities": {"full": {"steps": 2, "promptsPerStep": 4, "groupSize": 4}},
            "confirmation": {"top": 0},
        },
        "budget": {"candidates": 2, "concurrent": 2, "llmCostUSD": 20},
    },
}


def poise(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    command = [sys.executable, "-m", "poise_lib.cli.main", *arguments]
    return subprocess.run(
        command, cwd=folder, env={**kept, **environment}, capture_output=True, text=True, timeout=900, check=False
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder with the state of a search that has ended, and what was printed."""
    folder = tmp_path_factory.mktemp("asked")
    (folder / "search.yaml").write_text(yaml.safe_dump(MANIFEST), encoding="utf-8")
    script = Script.of({**yaml.safe_load(SCRIPT.read_text(encoding="utf-8")), "key": KEY})
    with ScriptedServer(script) as server:
        ran = poise(folder, "run", "search.yaml", "--state", "st", OPENAI_BASE_URL=server.url, OPENAI_API_KEY=KEY)
        assert server.requests
    assert ran.returncode == 0, ran.stderr
    return folder, ran.stdout + ran.stderr


def documents(folder: Path) -> list[dict[str, Any]]:
    return [yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.yaml"))]


def test_every_part_of_it_comes_from_the_model(done: tuple[Path, str]) -> None:
    folder, printed = done
    status = yaml.safe_load((folder / "st" / "search.yaml").read_text(encoding="utf-8"))["status"]
    ledger = status["ledger"]
    assert status["phase"] == "Complete"
    assert (ledger["open"], ledger["reservedTokens"], ledger["fallback"], ledger["exhausted"]) == ([], 0, "", "")
    assert ledger["calls"] > 10
    assert 0 < ledger["costUSD"] < 20
    assert f"{ledger['calls']} calls" in printed
    assert status["principles"]
    children = [item for item in documents(folder / "st" / "candidates") if item["spec"].get("parents")]
    assert len(children) == 1
    artifacts = {
        f"sha256:{path.parent.name}{path.name}" for path in (folder / "st" / "artifacts" / "blobs").glob("*/*")
    }
    for child in children:
        proposal = child["spec"]["proposal"]
        assert not proposal.get("composition")
        assert proposal["screening"]["reasons"]
        assert proposal["prompts"]
        kept = [proposal["design"], *proposal["transcripts"], *child["status"]["transcripts"]]
        assert len(kept) > 3
        assert set(kept) <= artifacts
        for revision in child["status"].get("revisions", ()):
            assert {revision["source"], revision["report"]} <= artifacts


def test_the_key_is_nowhere(done: tuple[Path, str]) -> None:
    folder, printed = done
    assert KEY not in printed
    for file in folder.rglob("*"):
        if file.is_file():
            assert KEY.encode() not in file.read_bytes(), file


def test_a_replay_reaches_the_same_archive_with_no_model(done: tuple[Path, str]) -> None:
    folder, _ = done
    again = poise(folder, "replay", "st", "--into", "again")
    assert again.returncode == 0, again.stderr
    first, second = (
        yaml.safe_load((folder / state / "search.yaml").read_text(encoding="utf-8"))["status"]
        for state in ("st", "again")
    )
    assert second["digest"] == first["digest"]
    assert "same archive" in again.stdout + again.stderr


def test_a_wrong_key_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(MANIFEST), encoding="utf-8")
    with ScriptedServer(Script.of({"key": KEY})) as server:
        told = poise(
            tmp_path, "run", "search.yaml", "--state", "st", OPENAI_BASE_URL=server.url, OPENAI_API_KEY="sk-another-one"
        )
    assert told.returncode == 7
    assert "LLMWrongKey" in told.stderr
    assert not list((tmp_path / "st" / "evaluations").glob("*.yaml"))
