import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings

from poise_lib.proposal.catalogue import GRAMMAR
from poise_lib.proposal.composition import canonical, component, kinds
from poise_lib.proposal.known import GRPO, KNOWN
from poise_lib.proposal.rendering import WIDTH, render
from poise_lib.resources.candidate import CandidateSpec, Proposal
from poise_lib.verification.policy import check_source
from tests.unit.proposal.drawing import walk, walks, with_kind

ROOT = Path(__file__).parents[3]
HYPOTHESIS = "It should help. " * 12


@given(walks)
@settings(max_examples=60)
def test_any_composition_renders_the_same_text_twice_within_the_bounds(composition):
    source = render(composition, "Title", HYPOTHESIS)
    assert source == render(canonical(composition), "Title", HYPOTHESIS)
    assert max(map(len, source.splitlines())) <= WIDTH
    CandidateSpec(search="s", proposal=Proposal(title="t", hypothesis="h"), source=source)
    compile(source, "candidate.py", "exec")


@given(walks)
@settings(max_examples=40)
def test_any_composition_passes_the_static_policy(composition):
    policy = check_source(render(composition, "Title", HYPOTHESIS))
    assert policy.violations == ()


@given(walks)
@settings(max_examples=40)
def test_what_is_declared_is_read_and_what_is_imported_is_used(composition):
    tree = ast.parse(render(composition, "Title", HYPOTHESIS))
    read = {
        node.slice.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant)
    }
    declared = next(
        node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "HYPERPARAMETERS"
    )
    assert {key.value for key in declared.keys} == read
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported <= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def test_every_mechanism_is_declared_once_with_its_switch():
    composition = KNOWN["vm-av"]
    source = render(composition, "VM-AV", HYPOTHESIS)
    tree = ast.parse(source)
    declared = next(
        node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "MECHANISMS"
    )
    rows = [(call.args[0].value, call.args[3].value, call.args[4].value) for call in declared.elts]
    assert rows == [(kind.name, kind.switch, kind.off) for kind in kinds(composition) if kind.switch]


def test_rendered_modules_satisfy_the_projects_linter_and_formatter(tmp_path):
    compositions = [*KNOWN.values(), *map(with_kind, GRAMMAR.kinds), *map(walk, range(40))]
    for i, composition in enumerate(compositions):
        (tmp_path / f"m{i}.py").write_text(render(composition, f"Algorithm {i}", HYPOTHESIS), encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    config = ["--config", str(ROOT / "pyproject.toml")]
    lint = subprocess.run(
        [*ruff, "check", "--no-cache", "--output-format", "json", *config, str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert [(item["code"], item["message"]) for item in json.loads(lint.stdout)] == []
    layout = subprocess.run(
        [*ruff, "format", "--no-cache", "--check", *config, str(tmp_path)], capture_output=True, text=True
    )
    assert layout.returncode == 0, layout.stdout


def test_a_word_with_hyphens_stays_on_one_line():
    for padding in range(12):
        source = render(GRPO, "Title", f"{'x' * (90 + padding)} keeps valid-but-wrong above invalid")
        assert "valid-but-wrong" in source, padding


def test_texts_cannot_break_out_of_their_quotes():
    source = render(GRPO, 'A "quoted" \\ title\n', 'Because """ of\nthat \\')
    tree = ast.parse(source)
    assert ast.get_docstring(tree).startswith("A 'quoted' / title.")
    assert "Because ''' of that /." in ast.get_docstring(tree)


def test_an_inconsistent_composition_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="entropy-target needs that the loss has an entropy term"):
        render(canonical([*GRPO, component("entropy-target")]), "Title", HYPOTHESIS)
