"""Problems with answers: from rows with whatever columns, checked by count and digest."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from poise_lib.artifacts.digest import canonical_json, digest_of
from poise_lib.errors import InvalidInputError
from poise_lib.evaluation.verl.rewards import boxed
from poise_lib.evaluation.verl.tables import Row, read_rows
from poise_lib.resources.suites import UNKNOWN_DIGEST, Split, SuiteBenchmark
from poise_lib.resources.verl import VerlColumns, VerlData

PROBLEM_COLUMNS: Final = ("problem", "question", "prompt", "Problem", "Question")
ANSWER_COLUMNS: Final = ("answer", "final_answer", "expected_answer", "Answer")
SOLUTION_COLUMNS: Final = ("solution", "Solution")
LEVEL_COLUMNS: Final = ("level", "Level", "difficulty")
"""Names under which the usual files have them; the first that is there counts."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A question and the right answer."""

    text: str
    answer: str
    level: int | None = None


def from_rows(rows: Sequence[Row], origin: str, columns: VerlColumns | None = None) -> tuple[Problem, ...]:
    """Problems from rows.

    Args:
        rows: as read.
        origin: what messages call them.
        columns: names of columns, tried before the usual ones.

    Raises:
        InvalidInputError: a column is missing or a cell is not usable; the message names columns found and wanted.
    """
    if not rows:
        raise InvalidInputError(f"{origin}: holds no problems")
    names = columns or VerlColumns()
    found = sorted({name for row in rows[:100] for name in row})
    question = _column(found, (names.problem, *PROBLEM_COLUMNS))
    answer = _column(found, (names.answer, *ANSWER_COLUMNS))
    solution = _column(found, (names.solution, *SOLUTION_COLUMNS))
    level = _column(found, (names.level, *LEVEL_COLUMNS))
    if question is None or (answer is None and solution is None):
        wanted = [] if question else [f"the problem ({names.problem}, or one of {', '.join(PROBLEM_COLUMNS[:3])})"]
        if answer is None and solution is None:
            wanted.append(f"the answer ({names.answer} or {names.solution}, or one of {', '.join(ANSWER_COLUMNS[:3])})")
        raise InvalidInputError(
            f"{origin}: has the columns {', '.join(found)}, but none for {' and none for '.join(wanted)}; name yours "
            "in evaluation.verl.data.columns"
        )
    return tuple(
        _problem(row, f"{origin}, row {number}", question, answer, solution, level)
        for number, row in enumerate(rows, 1)
    )


def _column(found: Sequence[str], wanted: Sequence[str]) -> str | None:
    return next((name for name in wanted if name in found), None)


def _problem(
    row: Row, where: str, question: str, answer: str | None, solution: str | None, level: str | None
) -> Problem:
    text = row.get(question)
    if not isinstance(text, str) or not text.strip():
        raise InvalidInputError(f"{where}: column {question!r} holds no text")
    right = _answer(row.get(answer)) if answer is not None else None
    if right is None and solution is not None and isinstance(row.get(solution), str):
        right = boxed(row[solution])
    if right is None:
        raise InvalidInputError(f"{where}: no answer in {answer or solution!r}, nor in a \\boxed{{}} of a solution")
    return Problem(text.strip(), right, _level(row.get(level)) if level is not None else None)


def _answer(cell: Any) -> str | None:
    """An answer as text; lists of several answers are one, written with commas; an integer in a float column is one."""
    if isinstance(cell, list | tuple):
        parts = [part for item in cell if (part := _answer(item)) is not None]
        return ", ".join(parts) or None
    if isinstance(cell, bool) or cell is None:
        return None
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip().strip("$").strip() or None


def _level(cell: Any) -> int | None:
    """The number in ``3``, ``"3"`` or ``"Level 3"``; None for ``"Level ?"``."""
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        return int(cell)
    match = re.search(r"\d+", str(cell)) if cell is not None else None
    return int(match[0]) if match else None


def prompt(problem: Problem, instruction: str) -> str:
    """What the user says, in training and in scoring."""
    return f"{problem.text}\n{instruction}" if instruction else problem.text


def digest(problems: Sequence[Problem]) -> str:
    """SHA-256 over texts and answers in order: the same whatever file format they came in."""
    return digest_of(canonical_json([[problem.text, problem.answer] for problem in problems]))


def training_problems(data: VerlData, seed: int = 0) -> tuple[Problem, ...]:
    """The problems to train on: read, checked, filtered by level, limited by a draw that the seed decides.

    Raises:
        InvalidInputError: files are missing, of other content than their digest says, or have other columns; or no
            problem is left.
    """
    check_files(data)
    problems: list[Problem] = []
    for source in data.train:
        problems += from_rows(read_rows(source, data.split), source, data.columns)
    if data.levels:
        if all(problem.level is None for problem in problems):
            raise InvalidInputError(
                f"evaluation.verl.data.levels asks for {_listed(data.levels)}, but no row has a level in column "
                f"{data.columns.level!r}; name the column, or leave levels out"
            )
        problems = [problem for problem in problems if problem.level in data.levels]
        if not problems:
            raise InvalidInputError(f"evaluation.verl.data.levels: no problem has level {_listed(data.levels)}")
    if data.limit is not None and len(problems) > data.limit:
        chosen = random.Random(f"training/{seed}").sample(range(len(problems)), data.limit)
        problems = [problems[index] for index in sorted(chosen)]
    return tuple(problems)


def check_files(data: VerlData) -> None:
    """Compare the training files with the digest that the settings give, if they give one.

    Raises:
        InvalidInputError: a file is missing, or they differ.
    """
    if data.digest is None:
        return
    hasher = hashlib.sha256()
    for source in data.train:
        try:
            hasher.update(Path(source).read_bytes())
        except OSError as error:
            raise InvalidInputError(f"{source}: cannot be read for evaluation.verl.data.digest: {error}") from error
    found = f"sha256:{hasher.hexdigest()}"
    if found != data.digest:
        raise InvalidInputError(
            f"evaluation.verl.data.digest: the training files have {found}, not {data.digest}; they are other files, or "
            "were changed"
        )


def _listed(levels: Sequence[int]) -> str:
    return ", ".join(map(str, levels))


def benchmark_problems(benchmark: SuiteBenchmark, folder: Path | None, split: Split = "search") -> tuple[Problem, ...]:
    """The problems of a benchmark, from a file of the folder with a usual name, else from the hub or its cache.

    Args:
        benchmark: which.
        folder: with the files.
        split: problems for confirmation are those of the search where the suite has no others.

    Raises:
        InvalidInputError: there is no source, or the problems are not as many as, or other than, the suite says.
    """
    source = benchmark.source_of(split)
    if source is None:
        raise InvalidInputError(f"benchmark {benchmark.name}: the suite names no source for its problems")
    files = source.files or ()
    place = next((folder / name for name in files if (folder / name).is_file()), None) if folder else None
    if place is None and source.dataset is None:
        raise InvalidInputError(
            f"benchmark {benchmark.name}: none of {', '.join(files)} is in {folder or 'a folder (none was given)'}; "
            "name the folder that holds it (evaluation.verl.problems, or --problems)"
        )
    origin = str(place or source.dataset)
    problems = from_rows(read_rows(origin, source.split or "test"), f"benchmark {benchmark.name}, {origin}")
    if source.count is not None and len(problems) != source.count:
        raise InvalidInputError(
            f"benchmark {benchmark.name}, {origin}: holds {len(problems)} problems, but the suite says {source.count}; "
            "it is another edition of it, and its scores would not compare"
        )
    found = digest(problems)
    if source.digest not in (None, UNKNOWN_DIGEST, found):
        raise InvalidInputError(
            f"benchmark {benchmark.name}, {origin}: problems and answers have the digest {found}, but the suite says "
            f"{source.digest}; they are other problems, or in another order"
        )
    return problems
