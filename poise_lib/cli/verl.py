"""``poise train --engine verl --print``: the run that the settings make, shown before it costs anything."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poise_lib.errors import InvalidInputError

if TYPE_CHECKING:
    from poise_lib.evaluation.verl.overrides import RunDescription
    from poise_lib.resources.verl import VerlSettings


def show(
    algorithm: str,
    file: Path | None,
    *,
    seed: int,
    fidelity: str,
    steps: int | None,
    output: str,
) -> str:
    """The run of one candidate as text or JSON.

    Raises:
        InvalidInputError: the settings are missing or wrong, or the candidate's declarations cannot be read.
        EngineError: the installed VeRL is not of a tested version.
    """
    from poise_lib.cli.candidate_file import choose
    from poise_lib.evaluation.verl.overrides import describe
    from poise_lib.evaluation.verl.preparing import run_paths
    from poise_lib.resources.evaluation import Fidelity

    chosen = choose(algorithm)
    settings = load_settings(file)
    if steps is not None:
        settings = settings.model_copy(update={"steps": steps, "probe_steps": steps})
    folder = (Path("poise-verl") / chosen.name).absolute()
    run = describe(
        settings,
        run_paths(settings, folder),
        name=chosen.name,
        needs=needs_of(chosen.source, chosen.name),
        fidelity=Fidelity(fidelity),
        seed=seed,
    )
    config = composed(run)
    stops = obstacles(settings)
    if output == "json":
        from poise_lib.plain import json_text

        return json_text(
            {
                "command": list(run.command),
                "environment": dict(run.environment),
                "overrides": {item.key: {"value": item.value, "source": item.source} for item in run.overrides},
                "config": config,
                "problems": list(stops),
            }
        )
    return "\n".join([*_about(settings, config, stops), "", run.shell(), "", *_table(run)])


def load_settings(file: Path | None) -> VerlSettings:
    """The settings of engine verl in a Search's manifest.

    Raises:
        InvalidInputError: no file was given, it is no Search, or its engine is another one.
    """
    from poise_lib.cli.checks import load_search

    if file is None:
        raise InvalidInputError(
            "--engine verl needs --settings FILE: a Search with evaluation.verl, such as examples/search-math-1.5b.yaml"
        )
    settings = load_search(file).spec.evaluation.verl
    if settings is None:
        raise InvalidInputError(
            f"{file}: spec.evaluation.engine is nano; --engine verl needs engine: verl and evaluation.verl"
        )
    return settings


def needs_of(source: str, name: str) -> tuple[str, ...]:
    """What a candidate says that it needs, read from its text: nothing of it is executed here.

    Raises:
        InvalidInputError: it is not Python, or its declarations are wrong.
    """
    from poise_lib.verification.declarations import read_declarations

    try:
        declarations, problems = read_declarations(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidInputError(f"{name}: not Python: {error}") from None
    if declarations is None:
        first = problems[0]
        raise InvalidInputError(f"{name}: {first.message}; {first.hint}")
    return declarations.needs


def composed(run: RunDescription) -> dict[str, Any] | None:
    """VeRL's whole configuration, checked; None where VeRL is not installed."""
    from poise_lib.evaluation.verl.composing import compose
    from poise_lib.evaluation.verl.versions import installed_version

    return compose(run) if installed_version() is not None else None


def obstacles(settings: VerlSettings) -> tuple[str, ...]:
    """What would stop the run on this machine; memory only where the base is a folder here."""
    from poise_lib.evaluation.verl.preflight import look, problems

    folder = Path(settings.model.path)
    found = problems(settings, look(), folder if folder.is_dir() else None)
    return tuple(problem.message for problem in found)


def _about(settings: VerlSettings, config: dict[str, Any] | None, stops: tuple[str, ...]) -> list[str]:
    from poise_lib.evaluation.verl.preparing import preparation
    from poise_lib.evaluation.verl.versions import installed_version

    checked = (
        "# VeRL is not installed here: the keys below were not checked against its configuration"
        if config is None
        else f"# every key was found in the configuration of VeRL {installed_version()}"
    )
    lines = [f"# before it: {line}" for line in preparation(settings)] + [checked]
    return lines + [f"# on this machine it would not start: {stop}" for stop in stops]


def _table(run: RunDescription) -> list[str]:
    """Each value with the setting or the reason behind it."""
    from poise_lib.cli.tables import rows
    from poise_lib.plain import clean

    table = [["KEY", "VALUE", "FROM"]]
    for item in run.overrides:
        table.append([clean(item.key), clean(item.text().partition("=")[2]), clean(item.source)])
    return rows(table, [False, False, False]).splitlines()
