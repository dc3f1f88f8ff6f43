"""Problems from the usual files: columns, levels, counts, digests, and what is said where something is wrong."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from poise_lib.errors import InvalidInputError
from poise_lib.evaluation.verl.preparing import verl_rows
from poise_lib.evaluation.verl.problems import Problem, benchmark_problems, digest, from_rows, training_problems
from poise_lib.evaluation.verl.rewards import Verdict, boxed, compute_score, judge
from poise_lib.evaluation.verl.tables import read_rows
from poise_lib.resources.suites import SuiteBenchmark
from poise_lib.resources.verl import VerlColumns, VerlData

ROWS: list[dict[str, Any]] = [
    {"problem": "1+1?", "level": "Level 3", "solution": "It is $\\boxed{2}$."},
    {"problem": "2+2?", "level": "Level 4", "solution": "First \\boxed{3}, no: \\boxed{\\frac{8}{2}}."},
    {"problem": "3+3?", "level": "Level ?", "solution": "\\boxed{6}"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("form", ["jsonl", "json", "wrapped", "csv"])
def test_the_usual_files(tmp_path: Path, form: str) -> None:
    match form:
        case "jsonl":
            source = write(tmp_path / "p.jsonl", ROWS)
        case "csv":
            source = str(tmp_path / "p.csv")
            body = "".join(f'"{row["problem"]}","{row["level"]}","{row["solution"]}"\n' for row in ROWS)
            Path(source).write_text("problem,level,solution\n" + body, encoding="utf-8")
        case _:
            source = str(tmp_path / "p.json")
            Path(source).write_text(json.dumps({"data": ROWS} if form == "wrapped" else ROWS), encoding="utf-8")
    assert from_rows(read_rows(source), source) == (
        Problem("1+1?", "2", 3),
        Problem("2+2?", "\\frac{8}{2}", 4),
        Problem("3+3?", "6", None),
    )


def test_answers_of_the_benchmarks_come_in_many_forms() -> None:
    rows = [{"question": "q", "final_answer": cell} for cell in (["$3$"], ["1", "2"], 7.0, " $\\pi$ ", 12)]
    assert [problem.answer for problem in from_rows(rows, "o")] == ["3", "1, 2", "7", "\\pi", "12"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"text": "1+1?", "gold": "2"}], ("has the columns gold, text, but none for the problem (problem, or one of",
                                           "and none for the answer (answer or solution")),
        ([{"problem": "1+1?"}], ("has the columns problem, but none for the answer",)),
        ([{"problem": "1+1?", "solution": "two"}], ("row 1: no answer in 'solution'", "nor in a \\boxed{}")),
        ([{"problem": " ", "answer": "2"}], ("row 1: column 'problem' holds no text",)),
        ([], ("holds no problems",)),
    ],
)  # fmt: skip
def test_wrong_columns_are_named(rows: list[dict[str, Any]], words: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        from_rows(rows, "train.jsonl")
    assert str(refusal.value).startswith("train.jsonl")
    for word in words:
        assert word in str(refusal.value)


def test_columns_of_a_teams_own() -> None:
    columns = VerlColumns(problem="text", answer="gold")
    assert from_rows([{"text": "1+1?", "gold": "2", "problem": "no"}], "o", columns) == (Problem("1+1?", "2"),)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.jsonl", '{"a": 1', "cannot be read as jsonl"),
        ("p.jsonl", "[1]", "row 1 is no object with columns, but list"),
        ("p.json", '{"a": 1}', "holds no list of problems"),
        ("p.txt", "x", "name ends with none of"),
    ],
)
def test_files_that_are_none(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=words):
        read_rows(str(tmp_path / name))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="there is no such file; give a path"):
        read_rows(str(tmp_path / "none.jsonl"))


def data(source: str, **fields: Any) -> VerlData:
    return VerlData.model_validate({"train": [source], **fields})


def test_levels_and_a_limit_that_repeats(tmp_path: Path) -> None:
    rows = [{"problem": f"q{n}", "answer": str(n), "level": 1 + n % 5} for n in range(100)]
    source = write(tmp_path / "p.jsonl", rows)
    chosen = training_problems(data(source, levels=[3, 4, 5], limit=20))
    assert len(chosen) == 20
    assert {problem.level for problem in chosen} == {3, 4, 5}
    assert chosen == training_problems(data(source, levels=[3, 4, 5], limit=20))
    order = [int(problem.answer) for problem in chosen]
    assert order == sorted(set(order))
    assert len(training_problems(data(source, levels=[3]))) == 20
    with pytest.raises(InvalidInputError, match="no problem has level 9"):
        training_problems(data(source, levels=[9]))
    with pytest.raises(InvalidInputError, match="no row has a level in column 'rank'"):
        training_problems(
            data(write(tmp_path / "q.jsonl", [{"problem": "a", "answer": "1"}]), levels=[3], columns={"level": "rank"})
        )


def test_the_digest_of_the_files_is_checked(tmp_path: Path) -> None:
    source = write(tmp_path / "p.jsonl", ROWS)
    right = "sha256:" + hashlib.sha256(Path(source).read_bytes()).hexdigest()
    assert len(training_problems(data(source, digest=right))) == 3
    with pytest.raises(InvalidInputError, match=f"the training files have {right}, not sha256:0"):
        training_problems(data(source, digest="sha256:" + "0" * 64))


def benchmark(**source: Any) -> SuiteBenchmark:
    return SuiteBenchmark.model_validate({"name": "b", "weight": 1, "source": {"files": ["b.jsonl"], **source}})


def test_benchmarks_are_checked_by_count_and_digest(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", ROWS)
    problems = benchmark_problems(benchmark(count=3), tmp_path)
    assert len(problems) == 3
    assert benchmark_problems(benchmark(digest=digest(problems)), tmp_path) == problems
    with pytest.raises(InvalidInputError, match="holds 3 problems, but the suite says 30; it is another edition"):
        benchmark_problems(benchmark(count=30), tmp_path)
    with pytest.raises(InvalidInputError, match=r"have the digest sha256:.*, but the suite says sha256:1"):
        benchmark_problems(benchmark(digest="sha256:" + "1" * 64), tmp_path)
    with pytest.raises(InvalidInputError, match=r"none of b\.jsonl is in"):
        benchmark_problems(benchmark(), tmp_path / "elsewhere")


def test_rows_as_verl_reads_them() -> None:
    (row,) = verl_rows([Problem("1+1?", "2", 3)], "Box it.")
    assert row["prompt"] == [{"role": "user", "content": "1+1?\nBox it."}]
    assert row["reward_model"] == {"style": "rule", "ground_truth": "2"}
    assert (row["data_source"], row["extra_info"]["level"]) == ("poise/train", 3)


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("so \\boxed{2}", "2"),
        ("\\boxed{1} or \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("\\fbox{x}", "x"),
        ("\\boxed{}", None),
        ("\\boxed{ }", None),
        ("\\boxed{1", None),
        ("the answer is 2", None),
    ],
)
def test_the_final_answer(text: str, inside: str | None) -> None:
    assert boxed(text) == inside


def test_format_and_answer_are_apart() -> None:
    pairs = [("\\boxed{2}", "2"), ("it is 2", "2"), ("\\boxed{ 2. }", "$2$"), ("\\boxed{" + "2" * 1001 + "}", "2")]
    assert judge(pairs) == [Verdict(True, True), Verdict(False, False), Verdict(True, True), Verdict(False, True)]
    assert compute_score("s", "\\boxed{2}", "2", {}) == {"score": 1.0, "correct": 1.0, "valid": 1.0}
    assert compute_score("s", "2", "2") == {"score": 0.0, "correct": 0.0, "valid": 0.0}
