"""The shell round the commands: laziness, exit codes, errors, completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from poise_lib.cli import main as entry
from poise_lib.errors import CandidateError, EngineError, InvalidInputError, PoiseError, SandboxError, StateError
from poise_lib.local.state import StateDir
from tests.unit.cli import world
from tests.unit.cli.conftest import Poise

HEAVY = ("torch", "sklearn", "scipy", "numpy", "pydantic", "rich", "yaml", "matplotlib", "asyncio")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["version"], ["completion", "bash"]])
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from poise_lib.cli.main import invoke; "
        f"invoke({arguments!r}) if {arguments!r} else None; "
        f"print('\\n' + repr([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", ["get", "tree", "describe", "validate", "export", "algorithms", "crds"])
def test_commands_that_look_import_neither_torch_nor_sklearn(command: str) -> None:
    code = (
        f"import sys; from poise_lib.cli.main import invoke; invoke([{command!r}, 'nothing']); "
        "print('\\n' + repr([name for name in ('torch', 'sklearn', 'scipy') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_of_the_table_exists_and_teaches(poise: Poise) -> None:
    assert poise("--help").code == 0
    for name, known in entry.COMMANDS.items():
        shown = poise(name, "--help")
        assert shown.code == 0
        assert shown.out.startswith(f"Usage: poise {name}")
        if name not in ("version", "completion"):
            assert f"poise {name}" in shown.out.partition("\n")[2], f"{name} shows no example"
        assert known.summary in poise("--help").out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInputError("x"), 2),
        (StateError("x"), 3),
        (CandidateError("x"), 4),
        (SandboxError("x"), 5),
        (EngineError("x"), 6),
        (PoiseError("x"), 1),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (RuntimeError("x"), 70),
    ],
)
def test_exit_codes(error: BaseException, code: int, poise: Poise, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise error

    from poise_lib.cli.commands.version import version

    monkeypatch.setattr(version, "callback", fail)
    found = poise("version")
    assert found.code == code
    assert found.out == ""
    assert found.err


def test_usage_errors_are_2_and_name_the_closest_command(poise: Poise) -> None:
    found = poise("vrify")
    assert found.code == 2
    assert "Did you mean 'verify'?" in found.err
    assert poise("get").code == 2
    assert poise("tree", "--depth", "x").code == 2


def test_a_fault_keeps_its_traceback_and_debug_prints_it(
    poise: Poise, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    from poise_lib.cli.commands.version import version

    def fail() -> None:
        raise RuntimeError("the \x1b[31mreason")

    monkeypatch.setattr(version, "callback", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shown = poise("version").err
    assert "RuntimeError: the reason" in shown
    file = shown.partition("traceback is in ")[2].partition(". Please")[0]
    with open(file, encoding="utf-8") as kept:
        assert "Traceback" in kept.read()
    assert "Traceback" in poise("--debug", "version").err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, poise: Poise) -> None:
    found = poise("completion", shell)
    assert found.code == 0
    assert "_POISE_COMPLETE" in found.out


def test_completion_lists_commands_with_their_summaries() -> None:
    items = entry.cli.shell_complete(click.Context(entry.cli), "d")
    assert [(item.value, item.help) for item in items] == [("describe", entry.COMMANDS["describe"].summary)]


def _poise(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A process of its own: what matters here is how it leaves its real standard output."""
    command = [sys.executable, "-m", "poise_lib.cli.main", *arguments]
    return subprocess.run(command, text=True, stderr=subprocess.PIPE, check=False, **options)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_under_the_output_is_no_fault_of_poise(state: Path) -> None:
    with open("/dev/full", "w") as full:
        found = _poise("tree", str(state), stdout=full)
    assert (found.returncode, found.stderr) == (
        1,
        "Error: the output: cannot be read or written: No space left on device\n",
    )


def test_a_locale_without_a_letter_gets_a_question_mark_and_documents_stay_whole(state: Path) -> None:
    directory = StateDir(state)
    directory.write(world.candidate("001-0", ("000-0",), 66.0, title="Crème \u2026 \u4f18"))
    latin = {**os.environ, "PYTHONIOENCODING": "latin-1", "COLUMNS": "110"}
    found = _poise("tree", str(state), stdout=subprocess.PIPE, env=latin, encoding="latin-1")
    assert found.returncode == 0
    assert "Crème ? ?" in found.stdout
    found = _poise("tree", str(state), "-o", "json", stdout=subprocess.PIPE, env=latin, encoding="utf-8")
    assert "Crème \u2026 \u4f18" in found.stdout
