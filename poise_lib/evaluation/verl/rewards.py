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
import threading
import time
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from poise_lib.errors import EngineError

MAX_ANSWER: Final = 1000
"""Characters; a longer answer is none that a benchmark has, and is wrong."""
SECONDS: Final = 10.0
"""For one comparison, most of which take a few milliseconds."""
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
    open_: dict[int, Future[bool]] = {}
    correct = [False] * len(pairs)
    for index, (answer, (_, truth)) in enumerate(zip(answers, pairs, strict=True)):
        if answer is None or len(answer) > MAX_ANSWER:
            continue
        if _bare(answer) == _bare(truth):
            correct[index] = True
        else:
            open_[index] = _POOL.submit(answer, truth)
    for index, future in open_.items():
        correct[index] = _POOL.result(future)
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
    """Child processes that compare; they are made on first use, and anew when one hangs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._executor: ProcessPoolExecutor | None = None

    def submit(self, answer: str, truth: str) -> Future[bool]:
        with self._lock:
            # VeRL loads this file under a name of its own, which a child could not import.
            from poise_lib.evaluation.verl import rewards as importable

            if self._executor is None:
                if find_spec("math_verify") is None:
                    raise EngineError("math-verify is not installed: pip install 'poise-operator[verl]' brings it")
                workers = max(1, min(4, os.cpu_count() or 1))
                context = multiprocessing.get_context("spawn")
                self._executor = ProcessPoolExecutor(workers, context, importable.end_with, (os.getpid(),))
            return self._executor.submit(importable.same, answer, truth)

    def result(self, future: Future[bool]) -> bool:
        """The comparison's outcome; what takes too long or fails is no right answer."""
        executor = self._executor
        try:
            return future.result(SECONDS + _STARTING)
        except (FutureTimeoutError, BrokenExecutor):
            self._replace(executor)
            return False
        except Exception:  # whatever SymPy makes of what a policy wrote
            return False

    def _replace(self, hung: ProcessPoolExecutor | None) -> None:
        with self._lock:
            if hung is None or self._executor is not hung:
                return
            self._executor = None
        for process in list((hung._processes or {}).values()):
            process.kill()
        hung.shutdown(wait=False, cancel_futures=True)


_STARTING: Final = 60.0
"""Seconds for a child to import SymPy, which many starting at once make slow."""
_POOL: Final = _Pool()


@functools.cache
def path() -> str:
    """This file, as VeRL wants to know it."""
    return os.path.abspath(__file__)
