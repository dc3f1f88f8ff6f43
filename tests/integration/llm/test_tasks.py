"""What a task does with a language model, over real sockets: each kind, each mistake, each failure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from poise_lib.archive.entry import Entry
from poise_lib.llm.errors import LLMError
from poise_lib.llm.ledger import task_allotment
from poise_lib.llm.purse import Purse, book_folder
from poise_lib.prompts import prompts_version
from poise_lib.prompts.responses import ProposalDraft
from poise_lib.resources.candidate import CheckResult, Proposal, Revision
from poise_lib.resources.llm import Reservation, Spend
from poise_lib.resources.search_status import Principle
from poise_lib.tasks import documents as d
from poise_lib.tasks.protocol import TaskKind, TaskRequest, TaskResult, asks_of
from poise_lib.verification.policy import check_source
from tests.integration.llm.tasks_world import ENTRIES, KEY, Tasks
from tests.llm.asking import role_of
from tests.llm.modules import modules
from tests.llm.script import Document, Script
from tests.llm.server import ScriptedServer

Start = Callable[..., Tasks]
SEARCH = Path(__file__).parents[2] / "llm" / "scripts" / "search.yaml"
PHRASES = {
    "propose": "Propose one algorithm along your direction",
    "critic": "Review the proposal",
    "plan": "Plan the module of the proposal",
    "code": "Write the whole module of the proposal",
    "repair": "Write the whole module again",
    "judge": "Compare the module with the proposal",
    "reflect": "Explain the run of the child",
    "principles": "State the principles",
}


@pytest.fixture
def tasks(tmp_path: Path) -> Iterator[Start]:
    """Starts a server whose roles answer as given, and well where nothing is given."""
    with ExitStack() as stack:

        def start(*, script: Document | None = None, **roles: str | list[Document]) -> Tasks:
            rules = []
            for role, replies in roles.items():
                listed = [{"answer": replies}] if isinstance(replies, str) else replies
                rules.append({"match": PHRASES[role], "replies": listed})
            document = {"key": KEY, "rules": rules, **(script or {})}
            return Tasks(stack.enter_context(ScriptedServer(Script.of(document))), tmp_path)

        yield start


def asked(here: Tasks) -> list[str]:
    return [role_of(request) for request in here.server.requests]


def told(here: Tasks, role: str) -> list[str]:
    """What the user's message was, each time that the role was asked."""
    return [request["messages"][1]["content"] for request in here.server.requests if role_of(request) == role]


def proposed(result: TaskResult) -> d.ProposeOutput:
    assert result.fault is None, result.fault
    return d.ProposeOutput.model_validate(result.output)


def implemented(result: TaskResult) -> d.ImplementOutput:
    assert result.fault is None, result.fault
    return d.ImplementOutput.model_validate(result.output)


def reflected(result: TaskResult) -> d.ReflectOutput:
    assert result.fault is None, result.fault
    return d.ReflectOutput.model_validate(result.output)


def spent(result: TaskResult) -> Spend:
    assert result.spend is not None
    return result.spend


# What comes of good answers


def test_check_says_what_the_server_takes(tasks: Start) -> None:
    here = tasks()
    result = here.run(here.check())
    assert result.output == {"structuredOutput": "json_schema"}
    assert spent(result).calls == 1
    assert result.artifacts


def test_proposals_are_screened_and_say_where_they_come_from(tasks: Start) -> None:
    here = tasks()
    result = here.run(here.propose(3))
    proposals = proposed(result).proposals
    assert 1 < len(proposals) <= 3
    scores = [proposal.screening.score for proposal in proposals if proposal.screening]
    assert scores == sorted(scores, reverse=True)
    for proposal in proposals:
        assert proposal.prompts == prompts_version()
        assert proposal.design
        draft = ProposalDraft.model_validate(here.kept(proposal.design))
        assert set(proposal.mechanisms) == set(draft.changed)
        assert proposal.screening
        assert any(reason.startswith("critic on novelty") for reason in proposal.screening.reasons)
        assert proposal.transcripts
        assert len(proposal.transcripts) == 2
        assert all("exchanges" in here.kept(digest) for digest in proposal.transcripts)
        assert set(proposal.transcripts) <= set(result.artifacts)
    assert asked(here).count("propose") == 3
    assert asked(here).count("critic") == len(proposals)
    assert spent(result).calls == len(here.server.requests)
    directions = {text.partition("# Your direction")[2][:200] for text in told(here, "propose")}
    assert len(directions) == 3
    assert here.reports[-1]["answered"] == len(here.server.requests)


def test_the_same_question_leaves_the_same_result(tasks: Start, tmp_path: Path) -> None:
    here = tasks()
    first = here.run(here.propose(2))
    again = Tasks(here.server, tmp_path / "again")
    again.folder.mkdir()
    assert again.run(again.propose(2)) == first


def test_a_module_is_planned_written_and_judged(tasks: Start) -> None:
    here = tasks()
    proposal = here.proposal()
    here.server.requests.clear()
    result = here.run(here.implement(proposal))
    output = implemented(result)
    assert asked(here) == ["plan", "code", "judge"]
    assert output.source == modules()[proposal.title].source
    assert output.message == ""
    assert output.kept
    assert here.store.get(output.kept).decode() == output.source
    assert len(output.transcripts) == 3
    plan = here.server.requests[0]["messages"][1]["content"]
    assert "computes: " in plan  # the whole draft, not only what the Candidate keeps


def test_without_its_design_a_proposal_is_told_in_the_candidate_s_words(tasks: Start) -> None:
    here = tasks()
    proposal = Proposal(title="DAPO", hypothesis="Clip higher.", mechanisms=("clip-higher",))
    assert implemented(here.run(here.implement(proposal, parent=None))).source == modules()["DAPO"].source


def test_a_revision_is_repaired_from_the_report(tasks: Start) -> None:
    here = tasks()
    proposal = here.proposal()
    here.server.requests.clear()
    finding = CheckResult(name="finite", status="failed", evidence="the loss is not finite", hint="guard it")
    request = here.implement(proposal, revision=2, written="x = 1", findings=(finding,))
    output = implemented(here.run(request))
    assert asked(here) == ["repair", "judge"]
    text = here.server.requests[0]["messages"][1]["content"]
    assert "the loss is not finite" in text
    assert "x = 1" in text
    assert "This is repair 1." in text
    assert output.source == modules()[proposal.title].source


def test_a_second_repair_is_told_what_the_first_was_for(tasks: Start) -> None:
    here = tasks()
    proposal = here.proposal()
    here.server.requests.clear()
    check = {"name": "finite", "status": "failed", "evidence": "the loss is not finite at step 3", "hint": ""}
    passed = {**check, "name": "shapes", "status": "passed", "evidence": "of no interest"}
    report = here.store.put(json.dumps({"checks": [check, passed]}).encode())
    first = Revision(revision=1, source=here.store.put(b"FIRST = 1"), report=report)
    gone = Revision(revision=2, source="sha256:" + "0" * 64, report="sha256:" + "1" * 64)
    finding = CheckResult(name="gradient", status="failed", evidence="the gradient vanishes", hint="")
    request = here.implement(proposal, revision=4, written="THIRD = 3", findings=(finding,), revisions=(first, gone))
    implemented(here.run(request))
    text = here.server.requests[0]["messages"][1]["content"]
    for part in (
        "This is repair 3.",
        "THIRD = 3",
        "the gradient vanishes",
        "the loss is not finite at step 3",
        "FIRST = 1",
    ):
        assert part in text
    assert "of no interest" not in text


def test_a_reflection_quotes_what_was_measured(tasks: Start) -> None:
    here = tasks()
    result = here.run(here.reflect())
    output = reflected(result)
    assert "44.75" in output.reflection.diagnosis
    assert "By rules" not in output.reflection.diagnosis
    assert {item.mechanism for item in output.reflection.mechanisms} <= set(ENTRIES[1].mechanisms)
    assert len(output.transcripts) == 1


def test_principles_name_their_candidates(tasks: Start) -> None:
    here = tasks(principles="unknown-candidates")
    output = d.DistillOutput.model_validate(here.run(here.distill()).output)
    (principle,) = output.principles
    assert isinstance(principle, Principle)
    assert set(principle.supports + principle.contradicts) <= {entry.name for entry in ENTRIES}
    assert principle.contradicts
    assert output.transcripts


# What the model gets wrong


@pytest.mark.parametrize("mistake", ["wrong-names", "forbidden", "cut"])
def test_what_the_rules_see_is_mended_before_anything_runs(tasks: Start, mistake: str) -> None:
    here = tasks(code=mistake)
    proposal = here.proposal()
    here.server.requests.clear()
    output = implemented(here.run(here.implement(proposal)))
    assert asked(here) == ["plan", "code", "repair", "judge"]
    assert output.source == modules()[proposal.title].source
    assert output.message == ""


def test_what_cannot_be_mended_is_handed_over_with_what_is_wrong(tasks: Start) -> None:
    here = tasks(code="forbidden", repair="forbidden")
    output = implemented(here.run(here.implement(here.proposal())))
    assert output.source is not None
    assert check_source(output.source).violations
    assert "static-policy" in output.message


def test_a_judge_sends_back_and_its_last_word_is_kept(tasks: Start) -> None:
    here = tasks(judge="deviates")
    proposal = here.proposal()
    here.server.requests.clear()
    output = implemented(here.run(here.implement(proposal)))
    assert "leaves out the gate" in output.message
    assert asked(here) == ["plan", "code", "judge", "repair", "judge"]
    named = here.server.requests[2]["messages"][1]["content"]
    assert proposal.mechanisms[0] in named


def test_a_judge_passes_nothing_that_the_rules_refuse(tasks: Start) -> None:
    here = tasks(code="wrong-names", repair="wrong-names")  # the judge is full of praise
    output = implemented(here.run(here.implement(here.proposal())))
    assert "MECHANISMS does not declare" in output.message


def test_a_judge_that_fails_changes_nothing(tasks: Start) -> None:
    here = tasks(judge="prose")
    output = implemented(here.run(here.implement(here.proposal())))
    assert output.source
    assert output.message == ""


def test_invented_numbers_are_sent_back(tasks: Start) -> None:
    here = tasks(reflect=[{"answer": "invented-numbers"}, {"answer": "good"}])
    output = reflected(here.run(here.reflect()))
    assert "37.4" not in output.reflection.diagnosis
    assert "By rules" not in output.reflection.diagnosis
    assert "37.4" in here.server.requests[1]["messages"][1]["content"]
    assert len(output.transcripts) == 2


def test_one_who_goes_on_inventing_is_replaced(tasks: Start) -> None:
    here = tasks(reflect="invented-numbers")
    output = reflected(here.run(here.reflect()))
    assert len(here.server.requests) == 2
    assert "By rules; the model's reflection quoted numbers" in output.reflection.diagnosis
    assert output.reflection.advice == reflected(here.run(here.reflect(llm=None))).reflection.advice


def test_the_same_idea_counts_once(tasks: Start) -> None:
    here = tasks(propose="same-idea")
    output = proposed(here.run(here.propose(3)))
    assert len(output.proposals) == 1
    assert output.left_out
    assert "another direction" in output.left_out[0]


def test_what_the_archive_has_is_refused_before_the_critic(tasks: Start) -> None:
    here = tasks(propose="same-idea")
    draft = proposed(here.run(here.propose(1))).proposals[0]
    twin = Entry(name="s-001-2", title=draft.title, mechanisms=draft.mechanisms, utility=39.0)
    here.server.requests.clear()
    output = proposed(here.run(here.propose(2, entries=(*ENTRIES, twin))))
    assert output.proposals == ()
    assert "critic" not in asked(here)
    assert any("s-001-2" in reason for reason in output.left_out or ())


def test_a_critic_that_fails_leaves_neutral_scores(tasks: Start) -> None:
    here = tasks(critic="html")
    for proposal in proposed(here.run(here.propose(2))).proposals:
        assert proposal.screening
        assert proposal.screening.expected_gain == 0.5
        assert any("no critique" in reason for reason in proposal.screening.reasons)


def test_some_proposals_are_enough(tasks: Start) -> None:
    here = tasks(propose=[{"fault": 500}, {"answer": "good"}])
    here.settings["concurrency"] = 1
    output = proposed(here.run(here.propose(3)))
    assert 1 <= len(output.proposals) <= 2
    assert any("failed in 1 calls" in reason for reason in output.left_out or ())
    top = output.proposals[0].screening
    assert top
    assert any(reason.startswith("left out direction") for reason in top.reasons)


def test_hostile_words_stay_words(tasks: Start) -> None:
    here = tasks(propose="hostile-proposal", reflect="hostile-reflection")
    proposal = proposed(here.run(here.propose(1))).proposals[0]
    assert "\x1b" not in proposal.hypothesis + proposal.rationale + proposal.expected_effect
    assert "\u202e" not in proposal.hypothesis
    here.server.requests.clear()
    assert implemented(here.run(here.implement(proposal))).source == modules()[proposal.title].source
    told = here.server.requests[0]["messages"]
    assert "<|im_start|>" not in told[1]["content"]
    assert "Ignore all previous" not in told[0]["content"]
    assert reflected(here.run(here.reflect())).reflection.diagnosis


def test_an_answer_that_repeats_the_key_is_not_taken(tasks: Start) -> None:
    here = tasks(script={"rules": [{"match": "Explain", "replies": [{"content": _reflection(KEY)}]}]})
    result = here.run(here.reflect())
    assert "By rules" in reflected(result).reflection.diagnosis
    for digest in result.artifacts:
        assert KEY.encode() not in here.store.get(digest)


def _reflection(text: str) -> str:
    return f'{{"evidence": [], "diagnosis": "{text}", "mechanisms": [], "lessons": []}}'


def test_the_script_of_a_whole_search_carries_a_round(tasks: Start) -> None:
    here = tasks()
    here.server.script = Script.load(SEARCH)
    output = proposed(here.run(here.propose(4)))
    assert output.proposals
    for proposal in output.proposals[:2]:
        result = here.run(here.implement(proposal))
        assert result.fault is not None or implemented(result).source
    assert reflected(here.run(here.reflect())).reflection.diagnosis
    assert here.run(here.distill()).spend


# What fails


LASTING: list[tuple[Document, str]] = [
    ({"script": {"key": "another"}}, "LLMWrongKey"),
    ({"script": {"models": ["other"]}}, "LLMUnknownModel"),
    ({"everything": {"fault": 402}}, "LLMQuotaSpent"),
    ({"everything": {"fault": 404, "message": "Cannot POST here"}}, "LLMWrongEndpoint"),
    ({"script": {"refuses": ["everything"]}}, "LLMRequestRefused"),
    ({"everything": {"fault": 400, "code": "context_length_exceeded"}}, "LLMPromptTooLong"),
    ({"everything": {"refusal": "I will not."}}, "LLMRefused"),
    ({"everything": {"answer": "prose"}}, "LLMCannotFollowSchema"),
]
PASSING = [({"fault": 429, "retryAfter": 9999}, "LLMOverloaded"), ({"fault": "reset"}, "LLMServerFailed")]


def broken(tasks: Start, how: dict[str, Any]) -> Tasks:
    script = dict(how.get("script", {}))
    if "everything" in how:
        script["rules"] = [{"replies": [how["everything"]]}]
    return tasks(script=script)


def mend(here: Tasks) -> None:
    here.server.script = Script.of({"key": KEY})


@pytest.mark.parametrize("kind", [TaskKind.CHECK, TaskKind.PROPOSE, TaskKind.IMPLEMENT, TaskKind.DISTILL])
@pytest.mark.parametrize(("how", "reason"), LASTING, ids=[reason for _, reason in LASTING])
def test_a_failure_is_a_fault_that_is_forgotten_once_it_is_mended(
    tasks: Start, how: dict[str, Any], reason: str, kind: TaskKind
) -> None:
    here = broken(tasks, how)
    request = of_kind(here, kind)
    result = here.run(request)
    assert result.fault is not None
    assert result.fault.reason == reason
    assert len(result.fault.message) > 40
    assert here.store.result(request.digest) is None
    before = spent(result)
    mend(here)
    mended = here.run(request)
    assert mended.output is not None
    assert spent(mended).calls > before.calls  # all attempts together


@pytest.mark.parametrize(("reply", "reason"), PASSING, ids=[reason for _, reason in PASSING])
def test_what_may_pass_loses_the_attempt_and_only_a_check_says_so(tasks: Start, reply: Document, reason: str) -> None:
    here = broken(tasks, {"everything": reply})
    result = here.run(here.check())
    assert result.fault is not None
    assert result.fault.reason == reason
    for kind in (TaskKind.PROPOSE, TaskKind.IMPLEMENT, TaskKind.DISTILL):
        with pytest.raises(LLMError) as caught:
            here.run(of_kind(here, kind))
        assert caught.value.reason == reason


@pytest.mark.parametrize("how", [how for how, _ in LASTING] + [{"everything": reply} for reply, _ in PASSING])
def test_a_reflection_never_fails(tasks: Start, how: dict[str, Any]) -> None:
    here = broken(tasks, how)
    request = here.reflect()
    result = here.run(request)
    assert "By rules; the model gave no reflection" in reflected(result).reflection.diagnosis
    assert spent(result).calls > 0
    assert here.run(request) == result


def test_nobody_at_the_address(tasks: Start) -> None:
    here = tasks()
    here.settings["baseURL"] = "http://127.0.0.1:9/v1"
    for kind in (TaskKind.CHECK, TaskKind.PROPOSE, TaskKind.IMPLEMENT):
        result = here.run(of_kind(here, kind))
        assert result.fault is not None
        assert result.fault.reason == "LLMUnreachable"
        assert spent(result).tokens == 0


def test_a_context_too_small_says_which_would_do(tasks: Start) -> None:
    here = tasks()
    here.settings["contextTokens"] = 2000
    result = here.run(here.propose(1))
    assert result.fault is not None
    assert result.fault.reason == "LLMPromptTooLong"
    assert "contextTokens" in result.fault.message
    here.settings["contextTokens"] = 1000
    assert "By rules" in reflected(here.run(here.reflect())).reflection.diagnosis


def test_a_key_with_a_line_in_it_is_told_and_not_shown(tasks: Start) -> None:
    here = tasks()
    here.environment["OPENAI_API_KEY"] = "two\nlines"
    result = here.run(here.check())
    assert result.fault is not None
    assert result.fault.reason == "LLMWrongKey"
    assert "two" not in result.fault.message


def test_a_cap_in_dollars_without_a_price(tasks: Start) -> None:
    here = tasks()
    request = here.check().model_copy(update={"reservation": Reservation(task="t", tokens=10**6, usd=1.0)})
    result = here.run(request)
    assert result.fault is not None
    assert result.fault.reason == "LLMPriceUnknown"


# Money


def of_kind(here: Tasks, kind: TaskKind) -> TaskRequest:
    match kind:
        case TaskKind.CHECK:
            return here.check()
        case TaskKind.PROPOSE:
            return here.propose(2)
        case TaskKind.IMPLEMENT:
            return here.implement(Proposal(title="DAPO", hypothesis="H.", mechanisms=("clip-higher",)))
        case TaskKind.REFLECT:
            return here.reflect()
    return here.distill()


def test_a_result_is_found_again_with_what_it_cost(tasks: Start) -> None:
    here = tasks()
    for kind in (TaskKind.CHECK, TaskKind.PROPOSE, TaskKind.IMPLEMENT, TaskKind.REFLECT, TaskKind.DISTILL):
        request = of_kind(here, kind)
        first = here.run(request)
        calls = len(here.server.requests)
        assert here.run(request) == first
        assert len(here.server.requests) == calls


def test_the_allotment_holds_whatever_runs_at_once(tasks: Start) -> None:
    here = tasks()
    one = task_allotment(here.llm, None)
    request = here.propose(4).model_copy(update={"reservation": Reservation(task="t", tokens=one.tokens // 2)})
    result = here.run(request)
    assert spent(result).tokens <= one.tokens // 2
    assert proposed(result).proposals  # one after the other, where not all fit side by side


def test_too_little_is_a_fault_and_nothing_is_sent(tasks: Start) -> None:
    here = tasks()
    request = here.propose(2).model_copy(update={"reservation": Reservation(task="t", tokens=10)})
    result = here.run(request)
    assert result.fault is not None
    assert result.fault.reason == "LLMAllotmentSpent"
    assert not here.server.requests
    assert spent(result) == Spend()


def test_what_a_killed_attempt_had_reserved_is_charged_in_full(tasks: Start) -> None:
    here = tasks()
    request = here.check()
    from poise_lib.llm.ledger import Allotment

    killed = Purse(Allotment(10**6), book_folder(here.store.root, request.digest))
    killed.reserve(Spend(calls=1, prompt_tokens=1000, completion_tokens=500, estimated_calls=1))
    result = here.run(request)
    assert spent(result).calls == 2
    assert spent(result).tokens >= 1500
    assert spent(result).estimated_calls == 1


def test_without_a_reservation_there_is_enough_for_the_task(tasks: Start) -> None:
    here = tasks()
    request = here.propose(3).model_copy(update={"reservation": None})
    assert proposed(here.run(request)).proposals
    assert asks_of(TaskKind.PROPOSE, 3) == 6


# Papers


def test_a_team_s_own_papers_are_read_and_a_broken_file_is_told(tasks: Start, tmp_path: Path) -> None:
    here = tasks()
    folder = tmp_path / "papers"
    (folder / "..data").mkdir(parents=True)
    (folder / "own.yaml").write_text(
        "papers:\n- {identifier: own-note, title: Own note, year: 2026, families: "
        "[core-signal, routing, failure-control, stabilisation, length-shaping, objective, controller, reward],"
        " mechanism: A gate., claim: It helps.}\n"
    )
    here.environment["POISE_LITERATURE"] = str(folder)
    here.run(here.propose(2))
    assert all("own-note" in text for text in told(here, "propose"))
    (folder / "bad.yaml").write_text("papers: [{title: 3")
    result = here.run(here.propose(3))
    assert result.fault is not None
    assert result.fault.reason == "LiteratureInvalid"
    assert "bad.yaml" in result.fault.message
