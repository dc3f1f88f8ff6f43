"""A terminal that is always as wide, without colour, in an empty folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from poise_lib.cli.main import invoke
from tests.unit.cli import world


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


Poise = Callable[..., Result]


@pytest.fixture
def poise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Poise:
    """Run ``poise`` in an empty folder; errors become exit codes as they do for a user."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "110")
    monkeypatch.delenv("POISE_STATE", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)

    def run(*arguments: str) -> Result:
        codes: list[int] = []
        with CliRunner().isolation() as (out, err, _):
            codes.append(invoke([str(argument) for argument in arguments]))
            return Result(codes[0], out.getvalue().decode(), err.getvalue().decode())

    return run


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state directory ``demo.poise`` of a finished search, in the working folder."""
    return world.write(tmp_path)
