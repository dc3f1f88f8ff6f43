"""An answer's text made into a model: thinking taken off, JSON found wherever it stands, complaints a model can act on.

Servers that are bound to a schema return it bare; others think aloud first, fence it, or talk round it.  All of that is
taken; what is inside the JSON is not mended, because a guess that parses is worse than a question.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from poise_lib.resources.messages import complaints, field_path

T = TypeVar("T", bound=BaseModel)

_THINKING: Final = re.compile(r"<(think|thinking|thought|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_THOUGHT_END: Final = re.compile(r"</(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_THOUGHT_START: Final = re.compile(r"<(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_FENCE: Final = re.compile(r"```[A-Za-z0-9_+-]*[ \t]*\r?\n(.*?)```", re.DOTALL)
_STARTS: Final = 64
"""Places that are tried as the beginning of an object: text full of braces must not take for ever."""
_COMPLAINTS: Final = 8


@dataclass(frozen=True)
class Extracted(Generic[T]):
    """What a text holds: the value, or what keeps it from being one."""

    value: T | None
    problem: str = ""


def without_thinking(text: str) -> str:
    """The text after its thinking; a block that the prompt opened, or that was never closed, is taken off too.

    Only what stands before the first brace counts: an answer may well speak of such tags inside its JSON.
    """
    text = text.strip()
    while (start := _THOUGHT_START.search(text)) is not None and "{" not in text[: start.start()]:
        if (whole := _THINKING.match(text, start.start())) is None:
            return text[: start.start()].strip()
        text = (text[: start.start()] + text[whole.end() :]).strip()
    end = _THOUGHT_END.search(text)
    start = _THOUGHT_START.search(text)
    opened_before = end is not None and (start is None or end.start() < start.start())
    if end is not None and opened_before and "{" in text[end.end() :]:
        return text[end.end() :].strip()
    return text


def extract(text: str, model: type[T]) -> Extracted[T]:
    """The first object in the text that is a valid ``model``; else what is wrong with the one that comes closest.

    Args:
        text: the answer as it came.
        model: what is wanted.
    """
    try:
        return Extracted(model.model_validate(_load(text)))  # bare, whatever words stand inside it
    except (ValueError, RecursionError):
        spoken = without_thinking(text)
    if not spoken:
        return Extracted(None, "the answer is empty: answer with one JSON object that fits the schema")
    problems: list[tuple[int, str]] = []
    for document in _documents(spoken):
        for form in _unwrapped(document):
            try:
                return Extracted(model.model_validate(form))
            except ValidationError as error:
                problems.append((error.error_count() if isinstance(form, dict) else 10**6, _complaints(model, error)))
            except RecursionError:
                problems.append((10**9, "the JSON is nested too deeply"))
    if problems:
        return Extracted(None, min(problems, key=lambda item: item[0])[1])
    return Extracted(None, _syntax_problem(spoken))


def _load(text: str) -> Any:
    """JSON, with line breaks inside strings (code!), without the numbers that JSON has not.

    Raises:
        ValueError: no JSON.
    """
    try:
        return json.loads(text, strict=False, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number in JSON")


def _documents(text: str) -> Iterator[Any]:
    """JSON documents in a text, the most deliberate first: all of it, else its fenced blocks, else objects in loose text."""
    deliberate = False
    for piece in (text, *(match[1] for match in _FENCE.finditer(text))):
        try:
            document = _load(piece)
        except ValueError:
            continue
        deliberate = True
        yield document
    if deliberate:
        return  # what stands inside it is a part, not the answer
    decoder = json.JSONDecoder(strict=False, parse_constant=_no_number)
    position = 0
    for _ in range(_STARTS):
        position = text.find("{", position)
        if position < 0:
            return
        try:
            document, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            position += 1
            continue
        yield document
        position = end


def _unwrapped(document: Any) -> Iterator[Any]:
    """The document, and what stands in it when it only wraps something."""
    yield document
    if isinstance(document, list) and len(document) == 1 and isinstance(document[0], dict):
        yield document[0]
    if isinstance(document, dict) and len(document) == 1:
        (inner,) = document.values()
        if isinstance(inner, dict):
            yield inner


def _complaints(model: type[BaseModel], error: ValidationError) -> str:
    """What pydantic found, one line each, in the answer's own field names."""
    lines = [f"{field_path(path)} {what}" for path, what in complaints(model, error)]
    more = len(lines) - _COMPLAINTS
    return "; ".join(lines[:_COMPLAINTS]) + (f"; and {more} more" if more > 0 else "")


def _syntax_problem(text: str) -> str:
    """Why no JSON was found: where the parser stopped, if there was an attempt at all."""
    fence = _FENCE.search(text)
    candidate = (fence[1] if fence else text[text.find("{") :] if "{" in text else "").strip()
    if not candidate.startswith(("{", "[")):
        return "the answer holds no JSON object: answer with one JSON object that fits the schema, and nothing else"
    try:
        _load(candidate)
    except json.JSONDecodeError as error:
        near = candidate[max(0, error.pos - 30) : error.pos + 30]
        if error.pos >= len(candidate.rstrip()) - 1:
            return "the JSON ends before it is complete: answer with the whole object, shorter if need be"
        return f"the JSON cannot be read: {error.msg} at line {error.lineno}, near {near!r}"
    except ValueError as error:
        return f"the JSON cannot be read: {error}"
    return "the answer holds no JSON object that fits the schema"
