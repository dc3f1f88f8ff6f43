"""Commands that look at a search, on a finished one with a hostile candidate in it."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from poise_lib.cli.lineage import build_forest
from poise_lib.cli.tree_text import ASCII, tree_lines
from poise_lib.resources import Search
from poise_lib.resources.loading import load_documents
from tests.unit.cli import world
from tests.unit.cli.conftest import Poise

GOLDEN_TREE = """\
000-0  GRPO                                   66.0          ★
├─ 001-0  Batch scale                         68.5    +2.5  ★
│  ├─ 002-0  Batch scale and failure floor    71.0    +2.5  ★ best, confirmed better, also from 001-2
│  └─ 002-1  Never ends                          -          failed: TaskFailed
├─ 001-1  red title                              -          rejected: VerificationFailed
└─ 001-2  Half the clip range                 61.0    -5.0
name, title, utility, gain over its parent; ★ marks the path to the best
"""

GOLDEN_CANDIDATES = """\
NAME         PHASE      ROUND   PARENT       UTILITY   TITLE                           REASON
demo-000-0   Archived       0                   66.0   GRPO
demo-001-0   Archived       1   demo-000-0      68.5   Batch scale
demo-001-1   Rejected       1   demo-000-0         -   red title                       VerificationFailed
demo-001-2   Archived       1   demo-000-0      61.0   Half the clip range
demo-002-0   Archived       2   demo-001-0      71.0   Batch scale and failure floor
demo-002-1   Failed         2   demo-001-0         -   Never ends                      TaskFailed
"""


def test_tree(poise: Poise, state: Path) -> None:
    assert poise("tree").out == GOLDEN_TREE
    assert poise("tree", state.name).out == GOLDEN_TREE


def test_tree_in_ascii_and_to_a_depth(poise: Poise, state: Path) -> None:
    shown = poise("tree", "--ascii", "--depth", "1").out
    assert shown.isascii()
    assert "|- 001-0  Batch scale" in shown
    assert "2 more below" in shown
    assert "002-0" not in shown


def test_tree_as_json(poise: Poise, state: Path) -> None:
    [root] = json.loads(poise("tree", "-o", "json").out)
    assert (root["name"], root["depth"], root["gain"]) == ("demo-000-0", 0, None)
    best = root["children"][0]["children"][0]
    assert (best["best"], best["gain"], best["overBaseline"], best["verdict"]) == (True, 2.5, 5.0, "Better")
    assert best["parents"] == ["demo-001-0", "demo-001-2"]


def test_tree_as_svg_is_well_formed_and_holds_every_candidate(poise: Poise, state: Path) -> None:
    assert poise("tree", "-o", "svg", "--file", "l.svg").code == 0
    picture = ET.fromstring(Path("l.svg").read_text(encoding="utf-8"))
    titles = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == 6
    assert any("Batch scale and failure floor" in (title or "") for title in titles)
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    for dot in picture.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 < float(dot.attrib["cx"]) < width
        assert 0 < float(dot.attrib["cy"]) < height


def test_svg_and_mermaid_escape_what_a_title_may_hold() -> None:
    made, candidates, _ = world.finished()
    hostile = world.candidate("001-3", ("000-0",), 70.0, '<script>"] --> x["&amp;`')
    roots = build_forest(made, [*candidates, hostile])
    from poise_lib.cli.tree_mermaid import tree_mermaid
    from poise_lib.cli.tree_svg import tree_svg

    svg = tree_svg(roots, "a<b")
    ET.fromstring(svg)
    assert "<script>" not in svg
    for line in tree_mermaid(roots).splitlines():
        if "script" in line:
            assert re.fullmatch(r'  n\d+\["[^"\[\]<>`]*<br/>[^"\[\]<>`]*"\]:::better', line)


def test_mermaid_draws_every_link(poise: Poise, state: Path) -> None:
    shown = poise("tree", "-o", "mermaid").out
    assert shown.startswith("flowchart LR\n")
    assert len(re.findall(r"n\d+ --> n\d+", shown)) == 5
    assert len(re.findall(r"n\d+ -\.-> n\d+", shown)) == 1


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_deep_and_wide_trees_stay_legible(columns: int) -> None:
    made = world.search()
    chain = [world.candidate("000-0", (), 60.0)]
    for depth in range(1, 60):
        chain.append(
            world.candidate(f"{depth:03}-0", (chain[-1].metadata.name.removeprefix("demo-"),), 60.0 + depth, "A title")
        )
    wide = [world.candidate(f"099-{slot}", ("000-0",), 50.0, "Sibling") for slot in range(100)]
    lines = [
        re.sub(r"\x1b\[[0-9;]*m", "", line)
        for line in tree_lines(build_forest(made, [*chain, *wide]), columns=columns, glyphs=ASCII)
    ]
    assert len(lines) == 160
    assert all(len(line) <= columns for line in lines)
    assert all(f"{depth:03}-0  A title" in lines[depth] for depth in range(1, 60))


def test_no_colour_without_a_terminal_and_none_with_no_color(poise: Poise, state: Path) -> None:
    for arguments in (["tree"], ["describe", "002-0"], ["plot"]):
        assert "\x1b" not in poise(*arguments).out


@pytest.mark.parametrize(
    "arguments",
    [
        ["tree"], ["tree", "-o", "svg"], ["tree", "-o", "mermaid"], ["tree", "-o", "json"],
        ["get", "candidates"], ["get", "candidates", "-o", "wide"], ["get", "candidates", "-o", "json"],
        ["get", "candidates", "-o", "yaml"], ["describe", "001-1"], ["export"], ["plot"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_hostile_title_reaches_no_terminal(arguments: list[str], poise: Poise, state: Path) -> None:
    found = poise(*arguments)
    assert found.code == 0
    assert "\x1b" not in found.out
    assert "\x07" not in found.out


def test_get_candidates(poise: Poise, state: Path) -> None:
    assert poise("get", "candidates").out == GOLDEN_CANDIDATES
    best_first = poise("get", "candidates", state.name, "--sort", "utility").out.splitlines()
    assert [line.split()[0] for line in best_first[1:5]] == ["demo-002-0", "demo-001-0", "demo-000-0", "demo-001-2"]
    assert poise("get", "candidates", "--phase", "failed", "-o", "name").out == "candidate.poise.dev/demo-002-1\n"
    assert "passed" in poise("get", "candidates", "-o", "wide").out


def test_get_as_documents_can_be_loaded_again(poise: Poise, state: Path) -> None:
    for kind, count in (("searches", 1), ("candidates", 6), ("evaluations", 3)):
        assert len(load_documents(poise("get", kind, "-o", "yaml").out)) == count
        listing = json.loads(poise("get", kind, "-o", "json").out)
        assert (listing["kind"], len(listing["items"])) == ("List", count)


def test_get_searches_of_a_folder(poise: Poise, state: Path) -> None:
    (Path("other") / "x.poise").mkdir(parents=True)
    made = world.search("other", phase="Searching")
    Path("other/x.poise/search.yaml").write_text(yaml.safe_dump(made.to_document()))
    assert [line.split()[:2] for line in poise("get", "searches", "other").out.splitlines()[1:]] == [
        ["other", "Searching"]
    ]
    assert "demo" in poise("get", "searches", ".").out


def test_nothing_found_is_said(poise: Poise, tmp_path: Path) -> None:
    made: Search = world.search()
    (tmp_path / "demo.poise").mkdir()
    (tmp_path / "demo.poise" / "search.yaml").write_text(yaml.safe_dump(made.to_document()))
    assert poise("get", "candidates").out == "No candidates found.\n"
    assert "no candidates yet" in poise("tree").out
    assert "No candidate was scored" in poise("plot").out


def test_describe_a_candidate_says_all_that_is_known(poise: Poise, state: Path) -> None:
    shown = poise("describe", "002-0").out
    for part in (
        "+2.5 over its parent, +5.0 over the baseline", "It learns faster.", "passed, 21 checks", "warned needs-used",
        "confirm/500", "Entropy stayed higher", "actor/entropy 0.31 (parent 0.12)", "batch-scale: helpful",
        "try scale=batch", "4  def advantages(batch, hyper):",
    ):  # fmt: skip
        assert part in shown
    assert "def advantages" not in poise("describe", "002-0", "--no-source").out
    assert poise("describe", "demo-002-0", "--source-only").out == world.SOURCE


def test_describe_the_others(poise: Poise, state: Path) -> None:
    search = poise("describe", "demo").out
    assert "demo-002-0 is better than the baseline: +3.0 points, interval +1.1 to +4.9." in search
    run = poise("describe", "evaluation.poise.dev/demo-002-0-full-0", "--state", "demo.poise").out
    assert "critic/score/mean" in run
    document = json.loads(poise("describe", "002-0", "-o", "json").out)
    assert document["metadata"]["name"] == "demo-002-0"


def test_describe_what_is_not_there(poise: Poise, state: Path) -> None:
    found = poise("describe", "002-9")
    assert found.code == 2
    assert "did you mean 002-" in found.err
    assert poise("describe", "001-1", "--source-only").code == 2


def test_growth_on_the_terminal_and_in_a_file(poise: Poise, state: Path) -> None:
    shown = poise("plot").out
    assert re.search(r"4\s+71\.0\s+Batch scale and failure floor", shown)
    assert re.search(r"^\s+1\s+68\.5$", shown, re.MULTILINE)
    pytest.importorskip("matplotlib")
    assert poise("plot", "--file", "growth.svg").code == 0
    ET.fromstring(Path("growth.svg").read_text(encoding="utf-8"))
    assert poise("plot", "--file", "growth.txt").code == 2


def test_which_state_is_meant(poise: Poise, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there is no such state directory" in poise("tree", "none").err
    Path("empty").mkdir()
    assert "is no state directory" in poise("tree", "empty").err
    state.rename("elsewhere")
    assert "no state directory given" in poise("tree").err
    monkeypatch.setenv("POISE_STATE", "elsewhere")
    assert poise("tree").code == 0
    monkeypatch.delenv("POISE_STATE")
    for name in ("a.poise", "b.poise"):
        Path(name).mkdir()
        Path(name, "search.yaml").write_text("")
    assert "several state directories here (a.poise, b.poise)" in poise("tree").err


def test_a_damaged_manifest_is_named(poise: Poise, state: Path) -> None:
    (state / "candidates" / "demo-001-0.yaml").write_text("kind: [")
    found = poise("tree")
    assert found.code == 3
    assert "demo-001-0.yaml" in found.err
    assert "damaged" in found.err


def test_an_output_that_cannot_be_written(poise: Poise, state: Path) -> None:
    found = poise("tree", "-o", "svg", "--file", "no/such/folder/l.svg")
    assert found.code == 2
    assert "cannot be written" in found.err


def test_a_collapse_does_not_squeeze_the_others_in_the_picture() -> None:
    from poise_lib.cli.tree_svg import tree_svg

    others = [world.candidate(f"001-{slot}", ("000-0",), 60.0 + slot) for slot in range(10)]
    root = world.candidate("000-0", (), 60.0)
    collapsed = world.candidate("002-0", ("000-0",), 5.0, "Collapsed")
    picture = tree_svg(build_forest(world.search(), [root, *others, collapsed]), "demo")
    dots = [float(x) for x in re.findall(r'<circle class="[bw]\d" cx="([0-9.]+)" cy="[0-9.]+" r="4"/>\n</g>', picture)]
    assert 'l8 -4v8z"' in picture.split("Collapsed")[-1], "it is drawn as an arrow at the edge"
    assert max(dots) - min(dots) > 250


def test_a_narrow_terminal_gets_a_narrow_chart_legend_and_text(
    poise: Poise, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    chart = poise("plot").out.partition("New bests")[0]
    texts = poise("describe", "001-0", "--no-source").out.partition("Scores")[0]
    for line in [*chart.splitlines(), *poise("tree").out.splitlines()[-2:], *texts.splitlines()[1:]]:
        assert len(line) <= 40, line


def test_a_state_directory_that_may_not_be_read(poise: Poise, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "exists", refuse)
        found = poise("tree", "closed/demo.poise")
    assert (found.code, found.err) == (
        3,
        "Error: closed/demo.poise: cannot be read: Permission denied; check its owner and mode\n",
    )
    with monkeypatch.context() as patched:
        patched.setattr(Path, "iterdir", refuse)
        found = poise("tree", state.name)
    assert found.code == 3
    assert "candidates: cannot be read: Permission denied" in found.err


@pytest.mark.parametrize("text", ["", "a: 2026-13-45\n"])
def test_a_manifest_of_the_state_that_is_damaged(text: str, poise: Poise, state: Path) -> None:
    (state / "search.yaml").write_text(text)
    found = poise("tree", state.name)
    assert found.code == 3
    assert "search.yaml: damaged: " in found.err
    assert "restore it from a backup" in found.err
