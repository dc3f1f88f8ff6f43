"""One task as a child process: started, followed line by line, ended, judged."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poise_lib.artifacts.store import disk_errors
from poise_lib.errors import StateError
from poise_lib.llm.config import ENVIRONMENT
from poise_lib.local.state import StateDir
from poise_lib.resources.engine import Engine
from poise_lib.tasks.protocol import MAX_RESULT_BYTES, FrameReader, TaskRequest, TaskResult

_PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
)
_FOR_VERL = ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "XDG_CACHE_HOME")
_FOR_VERL_PREFIXES = ("NCCL_", "NVIDIA_", "VLLM_")
"""What training and scoring of language models look at beside that; no key is among it."""
_STDERR_TAIL = 2000


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended: with a result, or with the problem that lost it."""

    result: TaskResult | None
    problem: str = ""


@dataclass
class RunningTask:
    """A task in flight, as observers see it."""

    request: TaskRequest
    started: float = field(default_factory=time.monotonic)
    progress: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self.started


def _environment(request: TaskRequest) -> dict[str, str]:
    """What a task's process sees of ours: one thread for numerical libraries, and a key only where a model is asked."""
    wanted = (*_PASSED_ON, *ENVIRONMENT) if request.asks_a_model else _PASSED_ON
    kept = {name: os.environ[name] for name in wanted if name in os.environ}
    if request.input.get("engine") == Engine.VERL.value:
        kept |= {name: os.environ[name] for name in os.environ if name.startswith(_FOR_VERL_PREFIXES)}
        kept |= {name: os.environ[name] for name in _FOR_VERL if name in os.environ}
    return {**kept, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONHASHSEED": "0"}


def _describe_exit(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"it was killed by {signal.Signals(-code).name}"
    return f"it ended with status {code} and no result"


async def run_task(
    task: RunningTask, state: StateDir, token: str, on_progress: Callable[[], None], fork_server: Path | None
) -> Outcome:
    """Run one attempt to its end.

    The process group is killed when the coroutine is cancelled or the time limit passes.

    Raises:
        StateError: the disk is full, or an artifact is damaged.  That is no candidate's fault, and another attempt
            would meet it again: the user is told, rather than one candidate after the other failed.
    """
    request = task.request
    attempt = secrets.token_hex(16)
    work = state.root / "work" / f"{request.name}-{attempt[:8]}"
    log = state.root / "logs" / f"{request.name}.log"
    with disk_errors(state.root):
        work.mkdir(parents=True)
        log.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "poise_lib.tasks", "--store", str(state.artifacts.root), "--work", str(work)]
    command += ["--checkpoints", str(state.checkpoints)]
    command += ["--attempt", attempt, "--parent", str(os.getpid()), "--fence", f"{state.root / 'run'}={token}"]
    if fork_server is not None:
        command += ["--fork-server", str(fork_server)]
    reader = FrameReader(attempt)
    limit = request.time_limit
    try:
        with disk_errors(log), log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=_environment(request),
                start_new_session=True,
                limit=MAX_RESULT_BYTES,
            )
        try:
            async with asyncio.timeout(limit):
                await _converse(process, request, reader, task, on_progress)
        except TimeoutError:
            return Outcome(None, f"it took longer than {limit:g} s")
        except (ValueError, asyncio.LimitOverrunError) as error:
            return Outcome(None, f"its output could not be read: {error}")
        finally:
            _kill_group(process.pid)
            with contextlib.suppress(ProcessLookupError):
                await process.wait()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if reader.accepted is not None and process.returncode == 0:
        return Outcome(reader.accepted)
    if process.returncode == StateError.exit_code:
        _, told, why = _last_words(log).partition(f"{StateError.__name__}: ")
        raise StateError(why if told else f"{state.root}: {request.name} could not use it; see {log}")
    return Outcome(None, reader.problem or f"{_describe_exit(process.returncode or 0)}{_tail(log)}")


async def _converse(
    process: asyncio.subprocess.Process,
    request: TaskRequest,
    reader: FrameReader,
    task: RunningTask,
    on_progress: Callable[[], None],
) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(request.model_dump_json(by_alias=True).encode())
        await process.stdin.drain()
    process.stdin.close()
    while line := await process.stdout.readline():
        reader.feed(line.decode("utf-8", "replace").rstrip("\n"))
        if reader.progress and reader.progress != task.progress:
            task.progress = reader.progress
            on_progress()
    await process.wait()


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _tail(log: Path) -> str:
    words = _last_words(log)
    return f": {words} (more in {log})" if words else ""


def _last_words(log: Path) -> str:
    """The last line on stderr that begins at the margin: what an exception says, without its traceback."""
    with contextlib.suppress(OSError):
        lines = log.read_bytes()[-_STDERR_TAIL:].decode("utf-8", "replace").splitlines()
        return next((line for line in reversed(lines) if line and not line[0].isspace()), "")
    return ""
