"""Searches with a language model on the command line: money, troubles, proposals, replays."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from poise_lib.cli import progress, report
from poise_lib.cli.money import cost, dollars, long_line, per_candidate, tokens
from poise_lib.cli.state import read_state
from poise_lib.cli.surroundings import environment, is_local
from poise_lib.llm.config import ENV_KEY, ENV_LITERATURE, ENV_REPLAY, ENV_URL
from poise_lib.local import runner
from poise_lib.local.runner import RunView
from poise_lib.local.state import StateDir
from poise_lib.resources import Search
from poise_lib.resources.llm import Ledger, Spend
from poise_lib.resources.suites import CHAINS_V1
from tests.llm.script import Script
from tests.llm.server import ScriptedServer
from tests.unit.cli import world
from tests.unit.cli.conftest import Poise

PAPERS = """papers:
  - {identifier: note-1, title: A note, year: 2026, mechanism: "Halve it.", claim: "It helps."}
"""
LEDGER = {
    "calls": 41, "promptTokens": 1_250_000, "cachedTokens": 200_000, "completionTokens": 90_000, "costUSD": 3.4,
    "estimatedCalls": 1, "reservedTokens": 50_000, "reservedUSD": 0.4,
    "open": [{"task": world.ESCAPE, "tokens": 50_000, "usd": 0.4}],
}  # fmt: skip


def with_model(
    state: Path, *, budget: dict[str, Any] | None = None, llm: dict[str, Any] | None = None, **status: Any
) -> Search:
    """The search of a state directory, now one that asks a model."""
    directory = StateDir(state)
    found = directory.search()
    assert found is not None
    document = found.to_document()
    document["spec"]["proposer"] = {"type": "LLM", "llm": {"model": "scripted", **(llm or {})}}
    document["spec"]["budget"] |= budget or {}
    document["status"] |= status
    made = Search.model_validate(document)
    directory.write(made)
    return made


def with_scores(state: Path) -> None:
    """Give what is archived all the metrics of its suite, so that a parent can be chosen."""
    directory = StateDir(state)
    for item in directory.candidates():
        utility = item.status.utility
        if utility is None:
            continue
        metrics = dict.fromkeys(CHAINS_V1.metric_names(), utility)
        directory.write(item.model_copy(update={"status": item.status.model_copy(update={"metrics": metrics})}))


def manifest(folder: Path, llm: str = "", budget: str = "") -> Path:
    path = folder / "mine.yaml"
    path.write_text(
        "apiVersion: poise.dev/v1alpha1\nkind: Search\nmetadata: {name: mine}\nspec:\n"
        f"  budget: {{candidates: 4{budget}}}\n  proposer: {{type: LLM, llm: {{model: gpt-4o{llm}}}}}\n"
    )
    return path


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (ENV_KEY, ENV_URL, ENV_REPLAY, ENV_LITERATURE):
        monkeypatch.delenv(name, raising=False)


def test_numbers() -> None:
    assert [tokens(count) for count in (0, 999, 12_345, 1_200_000, 10**9)] == ["0", "999", "12.3k", "1.2M", "1.0G"]
    assert [dollars(amount) for amount in (0.0, 0.0042, 1.234)] == ["$0.00", "$0.0042", "$1.23"]
    assert cost(Spend(calls=2, unpriced_calls=2)) == "price unknown"
    assert cost(Spend(calls=2, unpriced_calls=1, cost_usd=1)) == "$1.00 and 1 call without a price"


def test_the_whole_ledger_in_a_sentence() -> None:
    told = long_line(Ledger.model_validate(LEDGER | {"exhausted": "budget.llmTokens", "fallback": world.ESCAPE}))
    assert told == (
        "41 calls, 1.2M tokens in (200.0k of them cached), 90.0k out, $3.40; 50.0k tokens and $0.40 set aside for tasks that "
        "run; 1 call counted at the most that was possible; budget.llmTokens is reached; the library took over: red title"
    )


def test_progress_and_report_tell_the_money(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = with_model(state, ledger=LEDGER)
    snapshot = read_state(state)
    candidates = {item.metadata.name: item for item in snapshot.candidates}
    view = RunView(made, candidates, {}, (), 5.0)
    assert progress.standing(view, None).model.startswith("41 calls, 1.2M tokens in")
    with progress.observer(live=False) as shown:
        shown.on_update(view)
    assert "; model $3.40, 1.3M tokens; " in capsys.readouterr().err
    text = "\n".join(report.report_lines(snapshot))
    assert "Asked scripted: 41 calls" in text
    assert "That is $1.13, 446.7k tokens and 13.7 calls for each of the 3 candidates that it brought" in text
    document = report.report_document(snapshot)
    assert document["ledger"]["calls"] == 41
    assert document["perArchivedCandidate"] == {"tokens": 446_667, "costUSD": 1.133333}
    assert per_candidate(Ledger(), ()) == ""


def test_a_search_without_a_model_says_nothing_of_one(state: Path, poise: Poise) -> None:
    assert "ledger" not in report.report_document(read_state(state))
    assert "SPENT" not in poise("get", "searches", state).out
    assert "Language model" not in poise("describe", "demo", "--state", state).out


def test_get_and_describe(state: Path, poise: Poise) -> None:
    principle = {
        "statement": f"Scale by batch. {world.ESCAPE}",
        "supports": ["demo-001-0"],
        "contradicts": ["demo-001-2"],
    }
    with_model(state, budget={"llmCostUSD": 5}, ledger=LEDGER, principles=[principle], distilled=2)
    head, row = poise("get", "searches", state).out.splitlines()
    assert "SPENT" in head
    assert "$3.40" in row
    told = poise("describe", "demo", "--state", state).out
    for part in ("Model:        scripted", "Caps:         $5.00", "41 calls", "SET ASIDE FOR", "Principles, drawn after round 2",
                 "1. Scale by batch. red title", "for: demo-001-0", "against: demo-001-2"):  # fmt: skip
        assert part in told
    assert "\x1b" not in told


def test_describe_a_candidate_of_a_model(state: Path, poise: Poise) -> None:
    directory = StateDir(state)
    found = next(item for item in directory.candidates() if item.metadata.name == "demo-002-0")
    document = found.to_document()
    document["spec"]["proposal"] |= {
        "design": world.DIGEST,
        "prompts": "sha256:abcdef0123456789",
        "transcripts": [world.DIGEST],
    }
    document["status"] |= {
        "transcripts": [world.DIGEST],
        "revisions": [{"revision": 1, "source": world.DIGEST, "report": world.DIGEST}],
    }
    directory.write(type(found).model_validate(document))
    told = poise("describe", "002-0", "--state", state).out
    for part in (
        "By a language model",
        f"Design:       {world.DIGEST}",
        "abcdef012345",
        "revision 1, which was repaired",
    ):
        assert part in told


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("https://api.openai.com/v1", False), ("http://127.0.0.1:8000/v1", True), ("http://[::1]:8000/v1", True),
        ("http://vllm:8000/v1", True), ("http://10.1.2.3/v1", True), ("http://models.team.svc/v1", True),
        ("http://8.8.8.8/v1", False),
    ],
)  # fmt: skip
def test_local_addresses(url: str, local: bool) -> None:
    assert is_local(url) is local


def test_validate_says_what_is_missing(poise: Poise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = manifest(tmp_path, ", literature: {file: papers.yaml}")
    result = poise("validate", path)
    assert result.code == 0
    assert "OPENAI_API_KEY is not set on this machine" in result.err
    assert "papers.yaml: cannot be read" in result.err
    assert "nothing limits what the model may cost" in result.err
    (tmp_path / "papers.yaml").write_text(PAPERS)
    monkeypatch.setenv(ENV_KEY, "x" * 20)
    assert poise("validate", manifest(tmp_path, ", literature: {file: papers.yaml}", ", llmCostUSD: 3")).err == ""
    refused = poise("validate", manifest(tmp_path, ", structuredOutput: Text, maxOutputTokens: 99", ", llmCostUSD: 3"))
    assert refused.code == 0
    text = manifest(tmp_path, budget=", llmCostUSD: 3").read_text().replace("gpt-4o", "my-own")
    (tmp_path / "mine.yaml").write_text(text)
    refused = poise("validate", tmp_path / "mine.yaml")
    assert refused.code == 2
    assert "the price of model 'my-own' is not known" in refused.err


def ended(reason: str, message: str) -> list[dict[str, str]]:
    return [{"type": "Failed", "status": "True", "reason": reason, "message": message}]


def test_run_ends_with_the_models_trouble(poise: Poise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str | None] = {}

    def run_search(search: Search, state: Path, **_: Any) -> Search:
        seen.update({ENV_LITERATURE: os.environ.get(ENV_LITERATURE)})
        status = {
            "phase": "Failed",
            "conditions": ended("LLMWrongKey", f"it does not accept the API key {world.ESCAPE}"),
        }
        made = Search.model_validate({**search.to_document(), "status": status})
        StateDir(state).write(made)
        return made

    monkeypatch.setattr(runner, "run_search", run_search)
    (tmp_path / "papers.yaml").write_text(PAPERS)
    result = poise("run", manifest(tmp_path, ", literature: {file: papers.yaml}"))
    assert result.code == 7
    assert result.out == "", "nothing was begun, so there is nothing else to tell"
    assert (
        "search mine stopped (LLMWrongKey): it does not accept the API key red title. Once that is mended" in result.err
    )
    copy = tmp_path / "mine.poise" / "literature.yaml"
    assert seen[ENV_LITERATURE] == str(copy)
    assert copy.read_text() == PAPERS
    assert ENV_LITERATURE not in os.environ


def test_a_missing_literature_file_stops_a_run_before_it_starts(poise: Poise, tmp_path: Path) -> None:
    result = poise("run", manifest(tmp_path, ", literature: {file: papers.yaml}"))
    assert result.code == 2
    assert "papers.yaml" in result.err
    assert not (tmp_path / "mine.poise").exists()


def test_what_stops_no_search_is_no_trouble() -> None:
    conditions = ended("LLMUnreachable", "gone")
    assert report.model_trouble(world.search(phase="Complete", conditions=conditions)) is None
    assert report.model_trouble(world.search(phase="Failed", conditions=ended("TaskFailed", "x"))) is None
    fallen = world.search(phase="Searching", conditions=conditions, ledger={"fallback": "gone"})
    assert report.model_trouble(fallen) is None
    stalled = [{**conditions[0], "type": "Stalled"}]
    trouble = report.model_trouble(world.search(phase="Searching", conditions=stalled))
    assert trouble is not None
    assert trouble.exit_code == 7


def test_a_dry_run_shows_the_prompt(state: Path, poise: Poise) -> None:
    with_scores(state)
    result = poise("propose", state, "--dry-run")
    assert result.code == 0, result.err
    assert "asks no model" in result.err
    for part in (
        "Round 3, slot 0, from demo-",
        "Direction 1 of 6: ",
        "Prompt: about ",
        "--- system ---",
        "--- user ---",
        "6: ",
    ):
        assert part in result.out
    assert "\x1b[31" not in result.out.replace("\x1b[1m", "").replace("\x1b[0m", "")


def test_a_dry_run_for_one_parent_and_direction(state: Path, poise: Poise) -> None:
    with_scores(state)
    with_model(state, llm={"prices": {"inputPerMillion": 1, "outputPerMillion": 2}})
    (state / "literature.yaml").write_text(PAPERS)
    result = poise("propose", state, "--parent", "001-0", "--direction", "2", "--dry-run", "-o", "json")
    assert result.code == 0, result.err
    (asked,) = json.loads(result.out)
    assert asked["direction"] == 2
    assert asked["tokens"] <= asked["budget"] == 24_000
    assert asked["worst"]["costUSD"] > 0.03
    assert "demo-001-0" in asked["messages"][1]["content"]
    shown = asked["messages"][1]["content"] + " ".join(asked["omitted"])
    assert "note-1" in shown
    assert poise("propose", state, "--parent", "009-9", "--dry-run").code == 2
    assert poise("propose", state, "--direction", "7", "--dry-run").code == 2


DRAFT = {
    "rationale": "demo-001-0 gained.", "title": "Calm clip", "hypothesis": "Less noise.",
    "mechanisms": [{"name": "calm-clip", "family": "stabilisation", "claim": "Calms.", "computation": "clip(A)",
                    "hyperparameter": "width", "off": 9.0}],
    "changed": ["calm-clip"],
    "hyperparameters": [{"name": "width", "default": 2.0, "low": 0.5, "high": 9.0, "description": "Width."}],
    "expected_effect": "Less variance.", "risk": "",
}  # fmt: skip


def test_asking_for_a_proposal(state: Path, poise: Poise, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script.of({"rules": [{"replies": [{"answer": "prose"}, {"content": json.dumps(DRAFT)}]}]})
    with_scores(state)
    with_model(state, llm={"prices": {"inputPerMillion": 1, "outputPerMillion": 2}})
    before = (state / "search.yaml").read_bytes()
    with ScriptedServer(script) as server:
        monkeypatch.setenv(ENV_URL, server.url)
        result = poise("propose", state, "--direction", "1")
    assert result.code == 0, result.err
    assert "title: Calm clip" in result.out
    assert "Spent: 2 calls, " in result.err
    assert "The search's ledger does not count this." in result.err
    assert len(list((state / "asked").glob("*.json"))) == 1
    assert (state / "search.yaml").read_bytes() == before


def test_what_asking_costs_adds_up_and_keeps_to_the_caps(
    state: Path, poise: Poise, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second proposal knows of the first, although no ledger does, also of one that was cut before it was settled."""
    script = Script.of({"rules": [{"replies": [{"content": json.dumps(DRAFT)}]}]})
    with_scores(state)
    with_model(state, llm={"prices": {"inputPerMillion": 1, "outputPerMillion": 2}})
    with ScriptedServer(script) as server:
        monkeypatch.setenv(ENV_URL, server.url)
        first = json.loads(poise("propose", state, "--direction", "1", "-o", "json").out)
        again = poise("propose", state, "--direction", "2", "-o", "json")
        second = json.loads(again.out)
        assert first["inLedger"] is False
        assert first["spentByPropose"] == first["spend"]
        tokens = [sum(item["spend"][name] for name in ("promptTokens", "completionTokens")) for item in (first, second)]
        total = second["spentByPropose"]
        assert total["promptTokens"] + total["completionTokens"] == sum(tokens)
        assert "All that poise propose has asked here" in again.err
        asked = len(server.requests)
        cut = state / "asked" / "ledger" / "crashed"
        cut.mkdir()
        worst = {"call": "x-0", "worst": {"calls": 1, "promptTokens": 10**6}}
        (cut / "x.jsonl").write_text(json.dumps(worst) + "\n")
        with_model(state, budget={"llmTokens": 10**6})
        refused = poise("propose", state, "--direction", "1")
        assert refused.code == 2
        assert "budget.llmTokens of 1,000,000 is reached" in refused.err
        assert len(server.requests) == asked


def test_asking_in_vain(state: Path, poise: Poise, monkeypatch: pytest.MonkeyPatch) -> None:
    assert poise("propose", state).code == 2, "a search of the library asks nobody"
    with_scores(state)
    with_model(state, llm={"model": "unknown"})
    with ScriptedServer(Script()) as server:
        monkeypatch.setenv(ENV_URL, server.url)
        result = poise("propose", state)
        assert len(server.requests) == 1
    assert result.code == 7
    assert "has no model 'unknown'" in result.err
    with_model(state, budget={"llmTokens": 100})
    result = poise("propose", state)
    assert result.code == 2
    assert "budget.llmTokens of 100 is reached" in result.err


def record(state: Path) -> None:
    """A transcript in the state's store, of a search that asked one thing."""
    import asyncio

    from poise_lib.llm.client import Client
    from poise_lib.llm.config import ClientConfig
    from poise_lib.llm.ledger import Allotment
    from poise_lib.llm.purse import Purse, book_folder

    async def ask() -> bytes:
        with ScriptedServer(Script()) as server:
            config = ClientConfig(model="scripted", base_url=server.url, key="key-of-the-recording")
            async with Client(config) as client:
                found = await client.check(Purse(Allotment(10**8), book_folder(state / "artifacts", "a" * 64)))
        return found.transcript.to_bytes()

    StateDir(state).artifacts.put(asyncio.run(ask()))


@pytest.mark.parametrize("same", [True, False])
def test_replay(state: Path, poise: Poise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: bool) -> None:
    """The runner's part is played: it asks through the environment, as a task does, and writes what it has made."""
    import asyncio

    from poise_lib.llm.client import Client
    from poise_lib.llm.config import ClientConfig
    from poise_lib.llm.ledger import Allotment
    from poise_lib.llm.purse import Purse, book_folder

    with_model(state, ledger=LEDGER, llm={"baseURL": "https://models.example.com/v1"})
    (state / "literature.yaml").write_text(PAPERS)
    record(state)
    seen: list[Any] = []

    def run_search(search: Search, into: Path, **_: Any) -> Search:
        assert search.spec.budget.deadline is None
        assert search.status.digest == ""
        assert os.environ[ENV_LITERATURE] == str(state.resolve() / "literature.yaml")

        async def ask() -> None:
            assert search.spec.proposer.llm is not None
            async with Client(ClientConfig.of(search.spec.proposer.llm, os.environ)) as client:
                seen.append(await client.check(Purse(Allotment(10**8), book_folder(into, "a" * 64))))

        asyncio.run(ask())
        made, candidates, runs = world.finished()
        if not same:
            candidates = candidates[:-1]
        for resource in (*candidates, *runs, made.model_copy(update={"spec": search.spec})):
            StateDir(into).write(resource)
        return made

    monkeypatch.setattr(runner, "run_search", run_search)
    result = poise("replay", state, "--into", tmp_path / "again.poise")
    assert result.code == (0 if same else 8), result.err
    assert ("The same archive" if same else "Another archive") in result.out
    assert "1 calls were answered from 1 transcripts." in result.out
    if not same:
        assert "1 candidates differ, the first is where to look: demo-002-1" in result.out
    assert len(seen) == 1
    assert ENV_REPLAY not in os.environ
    told = json.loads(poise("replay", state, "--into", tmp_path / "again.poise", "-o", "json").out)
    assert told["same"] is same


def test_what_cannot_be_replayed(state: Path, poise: Poise) -> None:
    assert "asks no language model" in poise("replay", state).err
    with_model(state)
    assert "holds no transcripts" in poise("replay", state).err
    with_model(state, digest="", phase="Searching")
    assert "has not ended" in poise("replay", state).err
    assert poise("replay", state, "--into", state).code == 2


def test_an_environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISE_TEST_A", "before")
    with environment({"POISE_TEST_A": None, "POISE_TEST_B": "now"}):
        assert "POISE_TEST_A" not in os.environ
        assert os.environ["POISE_TEST_B"] == "now"
    assert os.environ["POISE_TEST_A"] == "before"
    assert "POISE_TEST_B" not in os.environ
