"""Rendering: a composition as a candidate module that a person would not mind reading.

The text follows from composition, title and hypothesis alone, byte for byte.  It imports and declares only what it
uses.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

from poise_lib.proposal.composition import Composition, kinds, problems
from poise_lib.proposal.grammar import Kind

WIDTH = 120
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_CONTRACT_NAMES = (
    "Batch",
    "Family",
    "Hyper",
    "Hyperparameter",
    "LossInputs",
    "LossOutput",
    "Mechanism",
    "Outcomes",
)
NO_MECHANISM = "MECHANISMS = ()"


def render(composition: Composition, title: str, hypothesis: str) -> str:
    """The candidate module of a consistent composition.

    Args:
        composition: in pipeline order; see :func:`~poise_lib.proposal.composition.canonical`.
        title: becomes the module's TITLE.
        hypothesis: becomes its docstring, above the formulas.

    Raises:
        ValueError: the composition is inconsistent; the message names what it lacks.
    """
    if found := problems(composition):
        raise ValueError(f"cannot render {title!r}: {'; '.join(found)}")
    present = kinds(composition)
    functions = "\n\n\n".join(
        (*_reward_part(present), *_signal_part(present), *_loss_part(present), *_schedule_part(present))
    )
    aggregation = next(kind.aggregation for kind in present if kind.aggregation)
    needs = sorted({need for kind in present for need in kind.needs}, reverse=True)
    declarations = [f"TITLE = {_quoted(title)}"]
    if origin := _sources(present):
        declarations.append(_assigned("SOURCE", origin))
    declarations.append(f"AGGREGATION = {_quoted(aggregation)}")
    if needs:
        declarations.append(f"NEEDS = ({', '.join(_quoted(need) for need in needs)}{',' if len(needs) == 1 else ''})")
    declarations += [_hyperparameters(composition, present), _mechanisms(present)]
    body = "\n".join(declarations) + "\n\n\n" + functions + "\n"
    return f"{_docstring(present, title, hypothesis)}\n\n{_imports(body)}\n\n{body}"


def _docstring(present: Sequence[Kind], title: str, hypothesis: str) -> str:
    """Title, hypothesis and formulas in pipeline order."""
    text = textwrap.fill(f"{_plain(hypothesis)}.", WIDTH, break_on_hyphens=False)
    formulas = []
    for kind in present:
        formulas += textwrap.wrap(kind.formula, WIDTH - 4, initial_indent="    ", subsequent_indent=" " * 8)
    return f'"""{_plain(title)}.\n\n{text}\n\n' + "\n".join(formulas) + '\n"""'


def _imports(body: str) -> str:
    """Import lines for exactly what ``body`` uses, in the order that the linter wants."""
    used = [name for name in _CONTRACT_NAMES if re.search(rf"\b{name}\b", body)]
    collections = [name for name in ("Mapping", "Sequence") if f"{name}[" in body]
    standard = ["import math"] if re.search(r"\bmath\.", body) else []
    if collections:
        standard.append(f"from collections.abc import {', '.join(collections)}")
    torch = (["import torch"] if re.search(r"\btorch\.", body) else []) + ["from torch import Tensor"]
    contract = f"from poise_lib.algorithms.contract import {', '.join(used)}"
    if len(contract) > WIDTH:
        contract = "from poise_lib.algorithms.contract import (\n" + "".join(f"    {name},\n" for name in used) + ")"
    blocks = ["\n".join(standard)] if standard else []
    blocks += ["\n".join(torch), f"from poise_lib.algorithms import ops\n{contract}"]
    return "\n\n".join(blocks)


def _hyperparameters(composition: Composition, present: Sequence[Kind]) -> str:
    """The HYPERPARAMETERS table: switches beside the parameters that they rule."""
    rows = []
    for part, kind in zip(composition, present, strict=True):
        if kind.flag is not None:
            rows.append(_row(kind.flag.name, 1.0, 0.0, 1.0, kind.flag.description))
        for parameter in kind.parameters:
            low, high = parameter.low, parameter.high
            if parameter.name == kind.switch:
                low, high = min(low, kind.off), max(high, kind.off)
            rows.append(_row(parameter.name, part.parameters[parameter.name], low, high, parameter.description))
    return "HYPERPARAMETERS = {\n" + "\n".join(rows) + "\n}" if rows else "HYPERPARAMETERS = {}"


def _row(name: str, value: float, low: float, high: float, description: str) -> str:
    arguments = [*(_number(item) for item in (value, low, high)), _quoted(description)]
    return _call(f"{_quoted(name)}: Hyperparameter", arguments)


def _mechanisms(present: Sequence[Kind]) -> str:
    """The MECHANISMS table: one switch a kind."""
    rows = [
        _call(
            "Mechanism",
            [
                _quoted(kind.name),
                f"Family.{kind.family.name}",
                _quoted(kind.claim),
                _quoted(kind.switch),
                _number(kind.off),
            ],
        )
        for kind in present
        if kind.switch
    ]
    return "MECHANISMS = (\n" + "\n".join(rows) + "\n)" if rows else NO_MECHANISM


def _reward_part(present: Sequence[Kind]) -> Iterable[str]:
    lines = [kind.code.reward for kind in present if kind.code.reward]
    if not lines:
        return
    formula = next(kind.formula for kind in present if kind.code.reward)
    yield _function(
        "rewards(outcomes: Outcomes, hyper: Hyper) -> Tensor",
        f"{formula}; [B].",
        ["reward = outcomes.correct.float()", *lines[:-1], _returned(lines[-1], "reward")],
    )


def _signal_part(present: Sequence[Kind]) -> Iterable[str]:
    """Helpers over batches, then ``advantages``."""
    controls = _controls(present)
    yield from _helpers(present, ("batch", "signal", "baseline"), controls)
    lines = []
    for kind in present:
        if kind.code.signal:
            lines.append(kind.code.signal)
        if kind.slot.value == "baseline":
            lines.append("signal = batch.rewards - baseline")
    tokens = [kind.code.token for kind in present if kind.code.token]
    if tokens:
        lines += ["advantage = ops.spread(signal, batch.response_mask)", *tokens]
        lines[-1] = _returned(lines[-1], "advantage")
    else:
        lines.append("return ops.spread(signal, batch.response_mask)")
    steps = [kind.label for kind in present if kind.code.signal or kind.code.token]
    yield _function("advantages(batch: Batch, hyper: Hyper) -> Tensor", f"{_sentence(steps)}; [B, T].", lines)


def _loss_part(present: Sequence[Kind]) -> Iterable[str]:
    """Helpers over loss inputs, then ``policy_loss``."""
    controls = _controls(present)
    yield from _helpers(present, ("inputs",), {})
    lines = []
    for kind in present:
        for name in dict.fromkeys(_PLACEHOLDER.findall(kind.code.loss)):
            if name in controls:
                lines.append(f"{name} = {controls[name]}")
        lines += [_filled(kind.code.loss, {name: name for name in controls})] if kind.code.loss else []
    metrics = [f"{_quoted(name)}: {value}" for kind in present for name, value in kind.code.metrics]
    lines.append(f"return LossOutput(loss, {{{', '.join(metrics)}}})" if metrics else "return LossOutput(loss)")
    terms = [kind.label for kind in present if kind.code.loss]
    yield _function(
        "policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput", f"{_sentence(terms)}; [B, T].", lines
    )


def _schedule_part(present: Sequence[Kind]) -> Iterable[str]:
    """Helpers over the history of metrics, then ``schedule``; nothing without a controller that measures."""
    coefficients = [f"{_quoted(name)}: {value}" for kind in present for name, value in kind.code.coefficients]
    if not coefficients:
        return
    yield from _helpers(present, ("history",), {})
    yield _function(
        "schedule(history: Sequence[Mapping[str, float]], hyper: Hyper) -> Mapping[str, float]",
        "Coefficients of the next step from the metrics of the steps so far.",
        [f"return {{{', '.join(coefficients)}}}"],
    )


def _controls(present: Sequence[Kind]) -> dict[str, str]:
    """Coefficient to the expression of the controller that rules it."""
    return {kind.controls: kind.expression for kind in present if kind.controls}


def _helpers(present: Sequence[Kind], first_arguments: tuple[str, ...], controls: dict[str, str]) -> Iterable[str]:
    """The helpers whose first argument is one of ``first_arguments``, called functions before their callers."""
    found = [text for kind in present for text in kind.code.helpers if _first_argument(text) in first_arguments]
    for text in found:
        yield _filled(text, controls)


def _first_argument(helper: str) -> str:
    match = re.match(r"def \w+\((\w+)", helper)
    assert match is not None, helper
    return match[1]


def _filled(text: str, controls: dict[str, str]) -> str:
    """Put each marked coefficient's expression in its place; one that nothing controls is its hyperparameter."""
    return _PLACEHOLDER.sub(lambda match: controls.get(match[1], f'hyper["{match[1]}"]'), text)


def _function(head: str, summary: str, lines: Sequence[str]) -> str:
    docstring = f'    """{summary}"""'
    if len(docstring) > WIDTH:
        wrapped = textwrap.wrap(summary, WIDTH - 12, break_on_hyphens=False)
        docstring = '    """' + "\n    ".join(wrapped) + '\n    """'
    return f"def {head}:\n{docstring}\n" + textwrap.indent("\n".join(lines), "    ")


def _call(head: str, arguments: Sequence[str]) -> str:
    """One row of a table, broken over lines as the formatter does."""
    flat = f"    {head}({', '.join(arguments)}),"
    if len(flat) <= WIDTH:
        return flat
    inner = f"        {', '.join(arguments)}"
    if len(inner) <= WIDTH:
        return f"    {head}(\n{inner}\n    ),"
    return f"    {head}(\n" + "".join(f"        {argument},\n" for argument in arguments) + "    ),"


def _sources(present: Sequence[Kind]) -> str:
    """Where the mechanisms come from, each source once."""
    return "; ".join(dict.fromkeys(kind.source for kind in present if kind.switch and kind.source))


def _assigned(name: str, text: str) -> str:
    """An assignment of a long string, broken into adjacent literals where needed."""
    if len(f"{name} = {_quoted(text)}") <= WIDTH:
        return f"{name} = {_quoted(text)}"
    if len(f"    {_quoted(text)}") <= WIDTH:
        return f"{name} = (\n    {_quoted(text)}\n)"
    pieces = text.split("; ")
    lines = [f"    {_quoted(piece + ('; ' if i < len(pieces) - 1 else ''))}" for i, piece in enumerate(pieces)]
    return f"{name} = (\n" + "\n".join(lines) + "\n)"


def _sentence(parts: Sequence[str]) -> str:
    """Labels as one phrase that starts with a capital letter."""
    phrase = ", ".join(parts)
    return phrase[:1].upper() + phrase[1:]


def _returned(lines: str, name: str) -> str:
    """Lines whose last one, which rebinds ``name``, returns that value instead."""
    head, separator, last = lines.rpartition(f"{name} = ")
    assert separator, lines
    assert "\n" not in last, lines
    return f"{head}return {last}"


def _safe(text: str) -> str:
    """One line that may stand in a string literal or a docstring."""
    return " ".join(text.replace("\\", "/").replace('"', "'").split())


def _plain(text: str) -> str:
    """A sentence without its full stop."""
    return _safe(text).rstrip(".")


def _quoted(text: str) -> str:
    return f'"{_safe(text)}"' if not text.endswith(" ") else f'"{_safe(text)} "'


def _number(value: float) -> str:
    """A float literal as a person writes it."""
    return repr(float(f"{value:.6g}"))
