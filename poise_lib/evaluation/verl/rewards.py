"""Judge a response: its format by rules of our own, its answer by math-verify.

The two are apart, because candidates treat an invalid response otherwise than a wrong one: ``valid`` is whether there
is a final answer in ``\\boxed{}``, ``correct`` whether it is the right one (which a response without one never is).

VeRL loads this file by its path and calls :func:`compute_score` in threads of its reward workers; scoring calls
:func:`judge`.  SymPy may take for ever over what a policy has made up, and cannot always be interrupted, so that
comparing runs in child processes with a time limit.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from poise_lib.errors import EngineError

MAX_ANSWER: Final = 1000
"""Characters; a longer answer is none that a benchmark has, and is wrong."""
SECONDS: Final = 20.0
"""For one comparison, most of which take a few milliseconds; math-verify's own limits are 5 s for each of its steps."""
STARTING_SECONDS: Final = 120.0
"""For child processes to import SymPy, on a machine that is busy."""
_INTEGER: Final = re.compile(r"0|[1-9][0-9]*")
"""Numbers that are equal only when their texts are."""
_BOXED: Final = ("\\boxed", "\\fbox")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a response is worth."""

    correct: bool
    valid: bool


def boxed(text: str) -> str | None:
    """What stands in the last ``\\boxed{}`` of a text, braces balanced; None when there is none or it is empty."""
    start = max(text.rfind(word + "{") for word in _BOXED)
    if start < 0:
        return None
    opened = text.index("{", start)
    depth = 0
    for place in range(opened, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[opened + 1 : place].strip() or None
    return None


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, Any] | None = None, **_: Any
) -> dict[str, float]:
    """VeRL's reward function: 1 for a correct response, else 0, with both parts beside it for the candidate."""
    (verdict,) = judge([(solution_str, ground_truth)])
    return {"score": float(verdict.correct), "correct": float(verdict.correct), "valid": float(verdict.valid)}


def judge(pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
    """A verdict for each response and right answer, in order.

    Raises:
        EngineError: math-verify is not installed.
    """
    answers = [boxed(response) for response, _ in pairs]
    open_: dict[int, Comparison] = {}
    correct = [False] * len(pairs)
    for index, (answer, (_, truth)) in enumerate(zip(answers, pairs, strict=True)):
        if answer is None or len(answer) > MAX_ANSWER:
            continue
        given, right = _bare(answer), _bare(truth)
        if given == right:
            correct[index] = True
        elif not (_INTEGER.fullmatch(given) and _INTEGER.fullmatch(right)):  # those are other numbers: nothing to ask
            open_[index] = _POOL.submit(answer, truth)
    for index, comparison in open_.items():
        correct[index] = _POOL.result(comparison)
    return [Verdict(right, answer is not None) for right, answer in zip(correct, answers, strict=True)]


def _bare(text: str) -> str:
    return "".join(text.split()).strip("$").rstrip(".")


def same(answer: str, truth: str) -> bool:
    """Whether two answers are the same mathematics; runs in a child process, whose main thread may set alarms."""
    from math_verify import LatexExtractionConfig, parse, verify

    how = (LatexExtractionConfig(),)
    given, right = parse(f"\\boxed{{{answer}}}", how), parse(f"\\boxed{{{truth}}}", how)
    return bool(given and right and verify(right, given))


def end_with(parent: int) -> None:
    """In a child: end when the parent has, however it ended; Ray kills its workers."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class _Pool:
    """Child processes that compare; they are made on first use, and anew when one hangs or dies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._executor: ProcessPoolExecutor | None = None

    def submit(self, answer: str, truth: str) -> Comparison:
        """Ask for a comparison.

        Raises:
            EngineError: math-verify is not installed, or its processes do not start.
        """
        # VeRL loads this file under a name of its own, which a child could not import.
        from poise_lib.evaluation.verl import rewards as importable

        with self._lock:
            if self._executor is None:
                self._executor = _started(importable.end_with, importable.same)
            future = self._executor.submit(importable.same, answer, truth)
            return Comparison(answer, truth, future, self._executor)

    def result(self, asked: Comparison, *, again: bool = True) -> bool:
        """The comparison's outcome; what takes too long or fails is no right answer.

        Comparisons are asked for and waited for in one order, so that the time that is waited is its own.
        """
        try:
            return asked.future.result(SECONDS)
        except FutureTimeoutError:
            self._replace(asked.executor)
            return False
        except BrokenExecutor:
            self._replace(asked.executor)  # it died of this comparison, or was ended for another
            return again and self.result(self.submit(asked.answer, asked.truth), again=False)
        except Exception:  # whatever SymPy makes of what a policy wrote
            return False

    def _replace(self, hung: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._executor is hung:
                self._executor = None
        for process in list((hung._processes or {}).values()):
            process.kill()
        hung.shutdown(wait=False)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One that was asked for."""

    answer: str
    truth: str
    future: Future[bool]
    executor: ProcessPoolExecutor


def _started(initializer: Callable[[int], None], compare: Callable[[str, str], bool]) -> ProcessPoolExecutor:
    """Processes that have imported what they need."""
    if find_spec("math_verify") is None:
        raise EngineError("math-verify is not installed: pip install 'poise-operator[verl]' brings it")
    workers = max(1, min(4, os.cpu_count() or 1))
    executor = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer, (os.getpid(),))
    try:
        for ready in [executor.submit(compare, "1", "1.0") for _ in range(workers)]:
            ready.result(STARTING_SECONDS)
    except (FutureTimeoutError, BrokenExecutor) as error:
        executor.shutdown(wait=False, cancel_futures=True)
        raise EngineError(f"math-verify's processes did not start within {STARTING_SECONDS:.0f} s: {error}") from error
    return executor


_POOL: Final = _Pool()


@functools.cache
def path() -> str:
    """This file, as VeRL wants to know it."""
    return os.path.abspath(__file__)
