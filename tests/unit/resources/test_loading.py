"""Bad manifests, each with a message that names the place and the way out; good ones as they were meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from poise_lib.errors import InvalidInputError
from poise_lib.resources import Candidate, Search
from poise_lib.resources.loading import load_documents, load_one

BOMB = "a: &a [0,0,0,0,0,0,0,0,0,0]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{previous}'] * 10)}]\n" for previous, name in zip("abcde", "bcdef", strict=True)
)

HEAD = "apiVersion: poise.dev/v1alpha1\nkind: Search\nmetadata: {name: s}\n"
BUDGET = "  budget: {candidates: 4}\n"
CANDIDATE = "apiVersion: poise.dev/v1alpha1\nkind: Candidate\nmetadata: {name: c}\n"
PROPOSAL = "proposal: {title: t, hypothesis: h}"


def spec(lines: str) -> str:
    return f"{HEAD}spec:\n{BUDGET}{lines}"


BAD = [
    # The file as a whole.
    ("", ("is empty",)),
    ("# only a comment\n", ("is empty", "kind: Search")),
    ("---\n---\n", ("is empty",)),
    ("just text", ("must be a mapping", '"just text"')),
    ("- a\n- b\n", ("must be a mapping", "a list")),
    ("a: [1, 2", ("line 2", "not YAML", "begun on line 1")),
    ("a: b\n\tc: d\n", ("line 2", "use spaces")),
    ("a: 1\na: 2\n", ("line 2", "'a' is given twice", "line 1")),
    ("a: {b: 1, b: 2}\n", ("'b' is given twice",)),
    ("1: a\n", ("line 1", "a key must be text", '"1"')),
    ("on: a\n", ("a key must be text", '"on"')),
    ("? [a]\n: b\n", ("a key must be text",)),
    ("a: &x {b: 1}\nc: {<<: *x}\n", ("merge keys",)),
    ("a: &x [*x]\n", ("contains itself",)),
    ("a: !!python/object:os.system {}\n", ("line 1", "os.system", "no place here")),
    ("a: !!python/name:os.system x\n", ("cannot be read",)),
    ("a: !!binary aGVsbG8=\n", ("bytes", "no place in a manifest")),
    ("[" * 200 + "]" * 200, ("nested deeper",)),
    (BOMB, ("stands for", "at most")),
    ("a: &a 1\nb: [" + "*a," * 101 + "]\n", ("aliases", "write the values out")),
    ("a: \x00\n", ("not YAML",)),
    # Kind and version.
    ("apiVersion: poise.dev/v1alpha1\nkind: Serch\n", ("kind", '"Serch"', "did you mean Search?")),
    ("apiVersion: poise.dev/v1alpha1\n", ("kind is missing", "Search, Candidate or Evaluation")),
    ("apiVersion: v1\nkind: Search\n", ("apiVersion", '"v1"', "must be poise.dev/v1alpha1")),
    ("apiVersion: poise.dev/v2\nkind: Search\n", ("apiVersion", "another version of POISE")),
    ("kind: Search\n", ("apiVersion is missing",)),
    # Metadata.
    ("apiVersion: poise.dev/v1alpha1\nkind: Search\nspec:\n" + BUDGET, ("metadata is missing",)),
    (HEAD.replace("name: s", "name: My_Search") + "spec:\n" + BUDGET, ("metadata.name", '"My_Search"', "lower-case")),
    (HEAD.replace("name: s", "name: " + "s" * 31) + "spec:\n" + BUDGET, ("metadata", "31 characters", "at most 30")),
    (HEAD.replace("name: s", "name: 7") + "spec:\n" + BUDGET, ("metadata.name must be text; put it in quotes", "is 7")),
    (HEAD.replace("}", ", labels: {a: 1}}") + "spec:\n" + BUDGET, ("metadata.labels.a must be text",)),
    # Fields of a Search.
    (HEAD, ("spec is missing",)),
    (HEAD + "spec: {}\n", ("line 4", "spec.budget is missing", "What the search may spend")),
    (HEAD + "spec:\n  budget: {}\n", ("spec.budget.candidates is missing",)),
    (spec("  stratgy: {}\n"), ("line 6", "(Search s)", "spec.stratgy is no field here", "did you mean strategy?")),
    (spec("  candidates: 4\n"), ("spec.candidates", "did you mean spec.budget.candidates?")),
    (spec("  strategy: {parents_per_round: 2}\n"), ("parents_per_round", "did you mean parentsPerRound?")),
    (spec("  strategy: {mode: rounds}\n"), ("spec.strategy.mode must be Rounds or Continuous", "mean Rounds?")),
    (spec("  strategy: {mode: 3}\n"), ("spec.strategy.mode must be", "is 3")),
    (spec("  strategy: []\n"), ("spec.strategy must be a mapping", "an empty list")),
    (spec("  strategy: {parentsPerRound: 0}\n"), ("spec.strategy.parentsPerRound must be at least 1, but is 0",)),
    (spec("  strategy: {parentsPerRound: 33}\n"), ("must be at most 32, but is 33",)),
    (spec("  strategy: {acquisition: {pareto: 0.9}}\n"), ("spec.strategy.acquisition", "sum to 1.65")),
    (spec("  strategy: {acquisition: {pareto: 1.5}}\n"), ("spec.strategy.acquisition.pareto must be at most 1",)),
    (spec("  strategy: {gaussianProcess: {noise: 0}}\n"), ("gaussianProcess.noise must be above 0",)),
    (spec("  strategy: {gaussianProcess: {noise: .inf}}\n"), ("gaussianProcess.noise must be a finite number",)),
    (spec("  strategy: {descendantGain: {beta: .nan}}\n"), ("descendantGain.beta must be",)),
    (spec("  baseline: {}\n"), ("spec.baseline", "exactly one of baseline.algorithm and baseline.source")),
    (spec("  baseline: {algorithm: grpo, source: x}\n"), ("spec.baseline", "exactly one")),
    (spec("  baseline: grpo\n"), ("spec.baseline must be a mapping", '"grpo"')),
    (spec("  objective: {metrics: [{name: plus8, weight: 0.5}]}\n"), ("spec.objective.metrics weights sum to 0.5",)),
    (spec("  objective: {metrics: [{name: aime}]}\n"), ("objective.metrics", "no metric 'aime'", "plus8")),
    (spec("  objective: {metrics: [{name: plus8, weight: 1}, {name: 3}]}\n"), ("spec.objective.metrics[1].name",)),
    (spec("  objective: {metrics: [{name: plus8, weight: .5}, {name: plus8, weight: .5}]}\n"), ("named twice",)),
    (spec("  objective: {constraints: [{metric: plus8}]}\n"), ("spec.objective.constraints[0]", "minimum, maximum or")),
    (spec("  objective: {constraints: [{metric: plus8, minimum: 2, maximum: 1}]}\n"), ("above maximum 1",)),
    (spec("  evaluation: {suite: math}\n"), ("spec.evaluation.suite", "unknown suite 'math'", "chains-v1")),
    (spec("  evaluation: {engine: verls}\n"), ("spec.evaluation.engine must be", '"verls"')),
    (spec("  evaluation: {fidelities: {full: {steps: 2.5}}}\n"), ("full.steps must be a whole number, but is 2.5",)),
    (spec("  evaluation: {fidelities: {full: {learningRate: fast}}}\n"), ("learningRate must be a number", '"fast"')),
    (spec("  evaluation: {confirmation: {confidence: 1}}\n"), ("confirmation.confidence must be below 1",)),
    (spec("  evaluation: {confirmation: {seeds: 1}}\n"), ("confirmation.seeds must be at least 2",)),
    (HEAD + "spec: {budget: {candidates: '4'}}\n", ("spec.budget.candidates must be a whole number", 'the text "4"')),
    (HEAD + "spec: {budget: {candidates: true}}\n", ("spec.budget.candidates must be a whole number", "is true")),
    (HEAD + "spec: {budget: {candidates: 0}}\n", ("spec.budget.candidates must be at least 1",)),
    (HEAD + "spec: {budget: {candidates: 4, deadline: 45}}\n", ("spec.budget.deadline must be text",)),
    (HEAD + "spec: {budget: {candidates: 4, deadline: 45 min}}\n", ("spec.budget.deadline", "45m or 1h30m")),
    (spec("  suspend: 'no'\n"), ("spec.suspend must be true or false",)),
    (spec("  seed: -1\n"), ("spec.seed must be at least 0",)),
    (spec("  directive: [a]\n"), ("spec.directive must be text", "a list")),
    (spec(f"  directive: {'x' * 2001}\n"), ("spec.directive has 2,001 characters; at most 2,000",)),
    # Candidates.
    (CANDIDATE + f"spec: {{{PROPOSAL}}}\n", ("(Candidate c)", "spec.search is missing")),
    (CANDIDATE + f"spec: {{search: s, {PROPOSAL}, algorithm: grpo, source: x}}\n", ("spec.algorithm or spec.source",)),
    (CANDIDATE + f"spec: {{search: s, parents: [a, b, c, d, e], {PROPOSAL}}}\n", ("spec.parents has 5 entries; at most 4",)),
    (CANDIDATE + f"spec: {{search: s, parents: a, {PROPOSAL}}}\n", ("spec.parents must be a list",)),
    (CANDIDATE + f"spec: {{search: s, {PROPOSAL}}}\nstatus: {{metrics: {{overall: .nan}}}}\n", ("status.metrics.overall",)),
    (CANDIDATE + f"spec: {{search: s, {PROPOSAL}}}\nstatus: {{metrics: {{'a b': 1}}}}\n", ('status.metrics["a b"]', "name")),
    (CANDIDATE + f"spec: {{search: s, {PROPOSAL}}}\nstatus: {{implementation: {{source: x, digest: abc}}}}\n",
     ("status.implementation.digest", "sha256:")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BAD, ids=range(len(BAD)))
def test_bad_manifest_says_where_and_what_to_do(text: str, expected: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        load_documents(file)
    message = str(caught.value)
    assert message.startswith(str(file))
    for part in expected:
        assert part in message
    assert "pydantic" not in message


def test_every_mistake_is_said_at_once_each_on_its_line(tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(spec("  sed: 1\n  suspend: 3\n") + "---\n" + HEAD + "spec: {}\n")
    with pytest.raises(InvalidInputError) as caught:
        load_documents(file)
    assert sorted(str(caught.value).splitlines()) == [
        f"{file}, document 1, line 6 (Search s): spec.sed is no field here; did you mean seed?",
        f"{file}, document 1, line 7 (Search s): spec.suspend must be true or false, but is 3",
        f"{file}, document 2, line 12 (Search s): spec.budget is missing (What the search may spend)",
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"\xff\xfeabc", "not UTF-8"), (b"a: 1\nb: \xe9\n", "line 2: byte 0xe9 is not UTF-8")],
)
def test_other_encodings_are_named(content: bytes, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "latin.yaml"
    file.write_bytes(content)
    with pytest.raises(InvalidInputError, match=expected):
        load_documents(file)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="No such file"):
        load_documents(tmp_path / "none.yaml")
    with pytest.raises(InvalidInputError, match="is a directory; name a file"):
        load_documents(tmp_path)


def test_yaml_1_2_numbers_json_marks_and_lists() -> None:
    full = load_documents(spec("  evaluation: {fidelities: {full: {learningRate: 5e-5}}}\n"))[0]
    assert isinstance(full, Search)
    assert full.spec.evaluation.fidelities.full.learning_rate == 5e-5
    marked = "\ufeff" + '{"apiVersion": "poise.dev/v1alpha1", "kind": "Search", "metadata": {"name": "j"}, '
    [found] = load_documents(marked.lstrip("\ufeff") + '"spec": {"budget": {"candidates": 1}}}')
    assert found.metadata.name == "j"
    listing = "apiVersion: v1\nkind: List\nitems:\n" + "".join(
        f"- apiVersion: poise.dev/v1alpha1\n  kind: Search\n  metadata: {{name: {name}}}\n  spec: {{budget: {{candidates: 1}}}}\n"
        for name in "ab"
    )
    assert [item.metadata.name for item in load_documents(listing)] == ["a", "b"]


def test_a_byte_order_mark_is_not_part_of_the_text(tmp_path: Path) -> None:
    file = tmp_path / "bom.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + spec("").encode())
    assert load_documents(file)[0].metadata.name == "s"


def test_a_key_with_nothing_behind_it_counts_as_left_out() -> None:
    [found] = load_documents(spec("  strategy:\n  baseline:\n"))
    assert isinstance(found, Search)
    assert found.spec.baseline.algorithm == "grpo"


def test_timestamps_stay_text() -> None:
    [found] = load_documents(HEAD.replace("}", ", creationTimestamp: 2026-11-23T09:00:00Z}") + "spec:\n" + BUDGET)
    assert found.metadata.creation_timestamp == "2026-11-23T09:00:00Z"


def test_load_one_wants_one_of_the_kind(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(spec(""))
    assert load_one(file, Search).metadata.name == "s"
    with pytest.raises(InvalidInputError, match="holds Search s; exactly one Candidate"):
        load_one(file, Candidate)
    file.write_text(spec("") + "---\n" + spec(""))
    with pytest.raises(InvalidInputError, match="exactly one Search"):
        load_one(file, Search)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs a file without an end")
def test_a_file_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poise_lib.resources.loading.MAX_BYTES", 1000)
    with pytest.raises(InvalidInputError, match="has more than 1,000 bytes"):
        load_documents(Path("/dev/zero"))
