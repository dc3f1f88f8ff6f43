"""The curated papers, and a team's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from poise_lib.algorithms.contract import Family
from poise_lib.algorithms.registry import NAMES, zoo
from poise_lib.errors import InvalidInputError
from poise_lib.prompts.literature import Literature, curated, literature_pieces, load_literature, parse_literature

OWN = """
papers:
  - {identifier: internal-note-7, title: Ours, year: 2026, mechanism: m, claim: c, families: [routing]}
  - {identifier: "2402.03300", title: GRPO as we read it, year: 2024, mechanism: m, claim: c, zoo: grpo}
"""


def test_the_curated_papers_are_well_formed_and_cover_every_family() -> None:
    papers = curated().papers
    assert 30 <= len(papers) <= 45
    assert len({paper.title.casefold() for paper in papers}) == len(papers)
    for paper in papers:
        year, month = int(paper.identifier[:2]), int(paper.identifier[2:4])
        assert re.fullmatch(r"\d{4}\.\d{5}", paper.identifier)
        assert 2000 + year == paper.year
        assert 1 <= month <= 12
        assert paper.families
        assert paper.mechanism.endswith(".")
        assert paper.claim.endswith(".")
    assert {family for paper in papers for family in paper.families} == set(Family)


def test_papers_of_the_zoo_are_those_that_the_zoo_cites() -> None:
    named = {paper.zoo: paper.identifier for paper in curated().papers if paper.zoo}
    for name, identifier in named.items():
        assert identifier in zoo()[name].source
    published = [name for name in NAMES if "2603.23951" not in zoo()[name].source.partition("epsilon")[0]]
    assert set(published) <= set(named)


def test_a_teams_own_papers_are_added_and_replace_ours(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(OWN)
    both = curated().with_own(load_literature(file))
    assert len(both.papers) == len(curated().papers) + 1
    assert next(paper for paper in both.papers if paper.identifier == "2402.03300").title == "GRPO as we read it"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("papers: [{}]", "papers"),
        ("papers: 3", "papers"),
        ("", "holds 0 documents"),
        ("- a", "own.yaml"),
        ("papers: [", "not YAML"),
        (OWN.replace("grpo", "grop"), "no algorithm 'grop'"),
        (OWN.replace("internal-note-7", "'2402.03300'"), "listed twice"),
        (OWN.replace("internal-note-7", "2402.03300"), "in quotes"),
        (OWN.replace("internal-note-7", "7 <b>"), "identifier"),
        (OWN.replace("routing", "astrology"), "families"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(text: str, complaint: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(complaint)):
        parse_literature(text, "own.yaml")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read"):
        load_literature(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInputError, match="not UTF-8"):
        load_literature(tmp_path / "bytes.yaml")


def test_papers_of_the_families_asked_for_count_most() -> None:
    values = {piece.key: piece.value for piece in literature_pieces(curated(), (Family.LENGTH_SHAPING,))}
    assert values["paper 2503.04697"] > values["paper 1707.06347"]
    assert literature_pieces(Literature(papers=())) == []
