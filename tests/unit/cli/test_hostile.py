"""Everything that a model, a candidate or a paper can write is harmless wherever the command line shows it."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.cli.commands.verify import report_lines as verification_lines
from poise_lib.cli.lineage import build_forest
from poise_lib.cli.report import report_lines
from poise_lib.cli.state import read_state
from poise_lib.cli.tree_mermaid import tree_mermaid
from poise_lib.cli.tree_svg import tree_svg
from poise_lib.errors import CandidateError
from poise_lib.local.state import StateDir, to_yaml
from poise_lib.plain import clean, hides, json_text, markup
from poise_lib.resources import Candidate, Search
from poise_lib.resources.yaml_text import parse_yaml
from poise_lib.verification.report import Check, Status, Timing, VerificationReport
from tests.unit.cli import world
from tests.unit.cli.conftest import Poise

HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\u2066 \u200b\ufeff\x7f\r\nsecond line "
    '<script>alert(1)</script> "] --> x["&amp;` [link](javascript:x) ![i](http://x/y) # *b* | `c` $x$ @all %%{init: {}}%%'
)
"""A terminal's controls, letters that reorder and hide, HTML, Markdown, Mermaid."""


def _hostile_candidate() -> Candidate:
    check = {"name": "x" + HOSTILE[:100], "status": "failed", "evidence": HOSTILE, "hint": HOSTILE}
    screening = {"consistency": 1, "feasibility": 1, "novelty": 1, "expectedGain": 1, "score": 1, "reasons": [HOSTILE]}
    made = world.candidate(
        "001-3", ("000-0",), 70.0, HOSTILE[:256],
        message=HOSTILE, reason=HOSTILE[:200],
        verification={"passed": False, "revision": 1, "checks": 3, "findings": [check], "isolation": [HOSTILE[:200]]},
        implementation={"source": f"# {HOSTILE}\nx = 1\n", "digest": world.DIGEST},
        reflection={
            "diagnosis": HOSTILE, "findings": [HOSTILE[:200]],
            "evidence": [{"metric": "overall", "value": 1.0, "note": HOSTILE}],
            "mechanisms": [{"mechanism": HOSTILE[:200], "effect": "Helpful", "note": HOSTILE}],
            "advice": [{"action": "Try", "slot": HOSTILE[:200], "kind": HOSTILE[:200], "reason": HOSTILE}],
        },
    )  # fmt: skip
    proposal = {
        "title": HOSTILE[:256], "hypothesis": HOSTILE, "expectedEffect": HOSTILE, "rationale": HOSTILE,
        "mechanisms": [HOSTILE[:200]], "screening": screening,
        "composition": [{"slot": HOSTILE[:200], "kind": HOSTILE[:200], "parameters": {HOSTILE[:100]: 1.0}}],
    }  # fmt: skip
    document = made.to_document()
    document["spec"]["proposal"] = proposal
    return Candidate.model_validate(document)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A finished search in which a stranger has written everything that one can; its best is theirs."""
    root = world.write(tmp_path)
    state = StateDir(root)
    made, _, _ = world.finished()
    document = made.to_document()
    document["spec"]["directive"] = HOSTILE
    document["status"] |= {"message": HOSTILE, "stopReason": HOSTILE[:200]}
    document["status"]["best"] |= {"candidate": "demo-001-3", "title": HOSTILE[:256]}
    run = world.evaluation("001-3", 7, 70.0)
    state.write(_hostile_candidate())
    state.write(
        run.model_copy(update={"status": run.status.model_copy(update={"message": HOSTILE, "reason": HOSTILE[:200]})})
    )
    state.write(Search.model_validate(document))
    return root


@pytest.mark.parametrize(
    "arguments",
    [
        ["tree"], ["tree", "--ascii"], ["tree", "-o", "svg"], ["tree", "-o", "mermaid"], ["tree", "-o", "json"],
        ["get", "searches"], ["get", "candidates"], ["get", "candidates", "-o", "wide"], ["get", "candidates", "-o", "json"],
        ["get", "candidates", "-o", "yaml"], ["get", "evaluations", "-o", "wide"], ["describe", "001-3"],
        ["describe", "demo"], ["describe", "demo-001-3-full-7"], ["describe", "001-3", "-o", "json"],
        ["describe", "001-3", "-o", "yaml"], ["describe", "001-3", "--source-only"], ["plot"], ["export"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_nothing_that_is_shown_obeys_a_stranger(arguments: list[str], poise: Poise, hostile: Path) -> None:
    found = poise(*arguments)
    assert found.code == 0, found.err
    assert not hides(found.out)
    assert "\r" not in found.out
    assert not hides(found.err)


def test_the_report_of_a_run_is_clean(hostile: Path) -> None:
    text = click.unstyle("\n".join(report_lines(read_state(hostile))))
    assert not hides(text)
    assert "\nsecond line" not in text


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_documents_are_safe_to_print_and_lose_nothing(output: str, poise: Poise, hostile: Path) -> None:
    text = poise("describe", "001-3", "-o", output).out
    document = json.loads(text) if output == "json" else parse_yaml(text, "printed")[0].data
    wanted = _hostile_candidate().to_document()
    assert document["spec"]["proposal"] == wanted["spec"]["proposal"]
    assert document["status"]["reflection"] == wanted["status"]["reflection"]


def test_errors_that_quote_a_candidate_are_clean(poise: Poise, monkeypatch: pytest.MonkeyPatch) -> None:
    from poise_lib.cli.commands.version import version

    for error in (CandidateError(HOSTILE), RuntimeError(HOSTILE)):

        def fail(error: Exception = error, **_: object) -> None:
            raise error

        monkeypatch.setattr(version, "callback", fail)
        for arguments in (["version"], ["--debug", "version"]):
            found = poise(*arguments)
            assert found.code != 0
            assert not hides(click.unstyle(found.err))


def test_a_verification_report_is_clean() -> None:
    check = Check("contract", Status.FAILED, HOSTILE, HOSTILE)
    report = VerificationReport(False, (check,), (), world.DIGEST, None, Timing(1.0, 1.0, 1.0))
    assert not hides(click.unstyle("\n".join(verification_lines(report, HOSTILE))))


def test_pictures_hold_no_markup_of_a_stranger(hostile: Path) -> None:
    snapshot = read_state(hostile)
    roots = build_forest(snapshot.search, snapshot.candidates)
    picture = ET.fromstring(tree_svg(roots, HOSTILE))
    assert {element.tag.rpartition("}")[2] for element in picture.iter()} <= {
        "svg", "style", "text", "circle", "path", "g", "title", "rect",
    }  # fmt: skip
    assert picture.attrib["aria-label"].startswith("Lineage of")
    assert not hides(tree_svg(roots, "demo"))
    line = next(line for line in tree_mermaid(roots).splitlines() if "second line" in line or "001-3" in line)
    assert re.fullmatch(r'  n\d+\["[^"\[\]<>`{}%*]*<br/>[^"\[\]<>`{}%*]*"\]:::better', line)


@given(st.text(max_size=80))
def test_markup_is_text_in_elements_and_attributes(text: str) -> None:
    element = ET.fromstring(f'<a b="{markup(text)}">{markup(text, lines=True)}</a>')
    assert not list(element)
    assert element.attrib["b"] == clean(text)
    assert (element.text or "") == clean(text, lines=True)


@given(st.text(max_size=80))
def test_documents_survive_being_made_safe(text: str) -> None:
    for document in ({"text": text}, {text: [text, 1.5, None]}):
        shown = json_text(document)
        assert json.loads(shown) == document
        assert not hides(shown)


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=80))
def test_yaml_survives_being_made_safe(text: str) -> None:
    shown = to_yaml({"text": text})
    assert not hides(shown)
    assert parse_yaml(shown, "printed")[0].data == {"text": text}


def test_hides_sees_what_clean_takes_out() -> None:
    for letter in "\x1b\x9b\u202e\u200b\ufeff\x7f\u2028\ue000\ufe0f\U000e0101\U000e0041":
        assert hides(f"a{letter}b")
    assert not hides("plain, ünïcode ✓\n\tlines\r\n")
