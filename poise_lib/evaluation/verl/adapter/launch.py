"""Start VeRL in processes of their own, follow its metrics while it trains, and say what it failed of.

Whatever ends a run (its last step, a failure, a record that the caller has enough at, a time limit, a signal) no process
of it is left.  What VeRL writes is the word of untrusted code: metrics are read as numbers, an account of a failure as
bounded text.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import poise_lib
from poise_lib import sandbox
from poise_lib.errors import CandidateError, EngineError, InvalidInputError, SandboxError
from poise_lib.evaluation.verl.adapter.driver import FAILURE_VARIABLE
from poise_lib.evaluation.verl.adapter.metrics import record_of
from poise_lib.evaluation.verl.adapter.processes import Family
from poise_lib.evaluation.verl.adapter.spec import SPEC_VARIABLE

LOG: Final = "verl.log"
METRICS: Final = "metrics.jsonl"
FAILURE: Final = "failure.json"
CANDIDATE: Final = "candidate.json"
_DRIVER: Final = "poise_lib.evaluation.verl.adapter.driver"
_PLUGIN: Final = "poise_lib.evaluation.verl.adapter.plugin"
_LOOK_SECONDS: Final = 0.2
_MAX_METRICS: Final = 200
_MAX_LINE: Final = 1024**2
"""Characters of a line of metrics; VeRL's have some thousands."""

Record = dict[str, float]


class OutOfTime(Exception):
    """The run took longer than it may; nothing of it is left."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A run to start."""

    folder: Path
    """Its own: log, metrics and an account of a failure are left there, and :data:`CANDIDATE` lies there."""
    overrides: Sequence[str]
    """Of VeRL's configuration, in Hydra's grammar."""
    platform: str = "cpu"
    """"cpu" or "cuda"."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of VeRL's processes, over what they have anyway."""
    seconds: float | None = None
    """After which it is ended."""


def train(launch: Launch, heard: Callable[[Record], None]) -> None:
    """Run VeRL to its end; no process is left, however it ends.

    Args:
        launch: the run.
        heard: receives each step's record as it is made; what it raises ends the run and is raised again.

    Raises:
        CandidateError: the candidate failed; the message is its own.
        InvalidInputError: VeRL does not take a setting.
        EngineError: VeRL failed.
        OutOfTime: it took too long.
    """
    folder = launch.folder
    for left in (METRICS, FAILURE):  # by a run that this one goes on with
        (folder / left).unlink(missing_ok=True)
    deadline = None if launch.seconds is None else time.monotonic() + launch.seconds
    # Ray's sockets lie there, and their paths may have 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as ray_folder,
        (folder / LOG).open("ab") as log,
        Family() as family,
    ):
        process = family.start(
            [sys.executable, "-m", _DRIVER, *launch.overrides],
            cwd=folder,
            environment=environment(folder, launch.platform, ray_folder) | dict(launch.environment),
            output=log,
        )
        for line in follow(folder / METRICS, lambda: _going(process, deadline)):
            record = parsed(line)
            if record is not None:
                heard(record)
    if process.returncode:
        raise failure(folder, process.returncode)


def _going(process: subprocess.Popen[bytes], deadline: float | None) -> bool:
    if process.poll() is not None:
        return False
    if deadline is not None and time.monotonic() > deadline:
        raise OutOfTime
    return True


def environment(folder: Path, platform: str, ray_folder: str) -> dict[str, str]:
    """Of VeRL's processes: this one's, and what makes VeRL start quickly, and run where there is no accelerator.

    Args:
        folder: of the run.
        platform: "cpu" or "cuda".
        ray_folder: where Ray puts its sockets and logs.
    """
    search = [str(Path(poise_lib.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    elsewhere = {"VERL_PLATFORM": "cpu", "VERL_ENGINE_DEVICE": "cuda"} if platform == "cpu" else {}
    return (
        inherited
        | elsewhere
        | {  # six processes import the same thousands of modules: the first one compiles them for all
            SPEC_VARIABLE: str(folder / CANDIDATE),
            FAILURE_VARIABLE: str(folder / FAILURE),
            "PYTHONPATH": os.pathsep.join(part for part in search if part),
            "VERL_USE_EXTERNAL_MODULES": _PLUGIN,
            "VERL_USE_EXTERNAL_PLUGINS": "none",
            "VERL_FILE_LOGGER_PATH": str(folder / METRICS),
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "HYDRA_FULL_ERROR": "1",
            "RAY_TMPDIR": ray_folder,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_DEDUP_LOGS": "0",
            "RAY_memory_monitor_refresh_ms": "0",
            # Ray would start an idle worker for each processor, and import everything in it.
            "RAY_prestart_worker_first_driver": "0",
            "RAY_enable_worker_prestart": "0",
        }
    )


def follow(path: Path, alive: Callable[[], bool]) -> Iterator[str]:
    """Lines of a file that another process writes, until that process has ended.

    Args:
        path: the file, which need not be there yet.
        alive: whether the process may still write; what it raises passes.
    """
    rest = ""
    with contextlib.ExitStack() as stack:
        file = None
        while True:
            going = alive()
            if file is None and path.exists():
                file = stack.enter_context(path.open(encoding="utf-8", errors="replace"))
            rest += "" if file is None else file.read()
            *whole, rest = rest.split("\n")
            yield from whole
            if not going:
                return
            if not whole:
                time.sleep(_LOOK_SECONDS)


def parsed(line: str) -> Record | None:
    """A line of VeRL's JSON-lines logger as a record of the trajectory; None when it is anything else."""
    if len(line) > _MAX_LINE:
        return None
    try:
        document = json.loads(line)
        step, data = int(document["step"]), document["data"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    if not isinstance(data, dict):
        return None
    record = record_of(data, step - 1)
    return record if 1 < len(record) <= _MAX_METRICS else None


def failure(folder: Path, code: int) -> Exception:
    """What the driver said of its failure.

    Args:
        folder: of the run.
        code: with which it ended.
    """
    try:
        account = json.loads(sandbox.read_output(folder, FAILURE, 1024**2))
        kind, message = str(account["kind"]), str(account["message"])
    except (SandboxError, ValueError, KeyError, TypeError):
        return EngineError(
            f"VeRL ended with exit code {code} and gave no account of it; its log ends with: {_end_of(folder)}"
        )
    if kind == "candidate":
        return CandidateError(message)
    return InvalidInputError(message) if kind == "settings" else EngineError(message)


def _end_of(folder: Path) -> str:
    """The last line of VeRL's log."""
    try:
        with (folder / LOG).open(encoding="utf-8", errors="replace") as file:
            lines = deque((line.strip() for line in file if line.strip()), 1)
    except OSError:
        return "nothing"
    return lines[0][:500] if lines else "nothing"
