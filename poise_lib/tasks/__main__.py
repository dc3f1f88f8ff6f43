"""Entry point of task processes: ``python -m poise_lib.tasks --store DIR|URL --attempt TOKEN < request.json``.

Exit status 0 means that one result was printed (an output or a fault); anything else means that the attempt is lost and
may be repeated.

In a cluster a task that runs candidate code is a pod with three containers, one after the other, which are told apart by
options: ``--look-up`` (trusted) says whether the store has the result already, ``--hand-over`` (untrusted) runs the
candidate and leaves files, ``--handed-over`` (trusted) judges them and prints the result.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gzip
import os
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from poise_lib.artifacts import ArtifactStore, Store, open_store
from poise_lib.artifacts.store import NO_SPACE
from poise_lib.errors import PoiseError, StateError
from poise_lib.evaluation.verl.adapter import ray_nodes
from poise_lib.evaluation.verl.adapter.ray_nodes import Nodes
from poise_lib.resources.messages import first_problem
from poise_lib.resources.verl import VerlSettings
from poise_lib.sandbox import (
    Delivered,
    Delivering,
    Received,
    SandboxRun,
    fork_at,
    go_offline,
    run,
    run_unconfined,
    spawn,
)
from poise_lib.sandbox.handover import FILES
from poise_lib.tasks import verl
from poise_lib.tasks.context import Fault, TaskContext
from poise_lib.tasks.protocol import TaskFault, TaskKind, TaskRequest, TaskResult, frame, progress_line
from poise_lib.tasks.room import Roomy

Report = Callable[[dict[str, Any]], None]

_WORK = "poise-task-"
KNOWN_FILE = "known"
"""Left by ``--look-up`` in the hand-over folder when there is nothing to do."""


def _die_with_parent(parent: int) -> None:
    """Ask Linux to kill this process when its starter dies, so that no orphan works on."""
    if sys.platform != "linux":
        return
    import ctypes
    import signal

    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def _inside_fence(fence: str | None) -> bool:
    """Whether the run that started this task is still the current one."""
    if fence is None:
        return True
    path, _, token = fence.rpartition("=")
    try:
        return Path(path).read_text() == token
    except OSError:
        return False


def execute(request: TaskRequest, context: TaskContext) -> tuple[TaskResult, bool]:
    """Run a request's handler; a :class:`Fault` becomes part of the result, any other exception passes.

    Returns:
        The result, and whether the store is to keep it: a fault that only somebody's key stands behind is not for ever.
    """
    from poise_lib.tasks.handlers import handle

    if request.asks_a_model:
        from poise_lib.tasks.asking import purse_of

        context = replace(context, purse=purse_of(request, context.store))
    started = time.monotonic()
    try:
        output = handle(request, context)
    except Fault as fault:
        told = TaskFault(reason=fault.reason, message=str(fault)[:2000])
        costly = request.kind in (TaskKind.TRAIN, TaskKind.SCORE)
        seconds = round(time.monotonic() - started, 3) if costly else None
        failed = TaskResult(fault=told, artifacts=_talks(request, context), spend=context.spend, seconds=seconds)
        return failed, fault.keep
    artifacts = _talks(request, context) or tuple(context.artifacts)
    return TaskResult(output=output, artifacts=artifacts, spend=context.spend), True


def _talks(request: TaskRequest, context: TaskContext) -> tuple[str, ...]:
    """What a task that asks a model has kept, in an order that does not tell which answer came first."""
    return tuple(sorted(set(context.artifacts))) if request.asks_a_model else ()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m poise_lib.tasks", description=__doc__.splitlines()[0])
    parser.add_argument("--request", type=Path, nargs="+", metavar="FILE",
                        help="the request, perhaps gzipped, in one file or cut into several; else standard input")  # fmt: skip
    parser.add_argument(
        "--store", metavar="DIR|URL", help="artifact store: a folder, or a URL such as s3://bucket/prefix"
    )
    parser.add_argument("--work", type=Path, help="empty folder for this attempt; else one is made")
    parser.add_argument("--attempt", help="token of this attempt, 32 hexadecimal digits")
    parser.add_argument("--checkpoints", type=Path, metavar="DIR",
                        help="where a long training keeps its checkpoints, from which the next attempt goes on")  # fmt: skip
    parser.add_argument("--parent", type=int, help="end when this process is no longer the parent")
    parser.add_argument("--fence", help="FILE=TOKEN: leave no result once FILE holds another token")
    parser.add_argument("--fork-server", type=Path, metavar="SOCKET", help="where sandboxed children are forked")
    parser.add_argument("--offline", action="store_true",
                        help="give up the network first, and do nothing where that cannot be")  # fmt: skip
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--look-up", type=Path, metavar="DIR", help="only say in DIR whether the store has the result")
    place.add_argument("--hand-over", type=Path, metavar="DIR", help="only run the candidate, and leave files in DIR")
    place.add_argument("--handed-over", type=Path, metavar="DIR", help="judge the files that --hand-over left in DIR")
    arguments = parser.parse_args()
    if arguments.hand_over is None and arguments.store is None:
        parser.error("--store is needed")
    if arguments.hand_over is None and arguments.look_up is None and arguments.attempt is None:
        parser.error("--attempt is needed")
    return arguments


def read_request(parts: Sequence[Path] | None) -> TaskRequest:
    """The request from files that hold it together, or from standard input.

    Raises:
        StateError: a part is cut or of another request, or this is no request as this version knows them.
    """
    data = sys.stdin.buffer.read() if parts is None else b"".join(part.read_bytes() for part in parts)
    try:
        return TaskRequest.model_validate_json(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise StateError(f"the input is damaged: {error}") from error
    except ValidationError as error:
        raise StateError(f"the input is of another version: {first_problem(error)}") from error


@contextlib.contextmanager
def _work_folder(given: Path | None, shared: Path | None) -> Iterator[Path]:
    """The folder that the starter gave, or one that goes with this process; in the shared folder where there is one."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    for left in shared.glob(f"{_WORK}*") if shared is not None else ():  # by an attempt that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_WORK, dir=shared, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _shared(arguments: argparse.Namespace, nodes: Nodes | None) -> Path | None:
    """What all nodes of a training see at the same place; None where one is all, or where it is for another one to write."""
    leads = arguments.hand_over is not None and nodes is not None and nodes.leads
    return arguments.checkpoints if leads else None


def _trusted(arguments: argparse.Namespace, request: TaskRequest, work: Path, report: Report) -> TaskContext:
    """The context of the place that prints the result."""
    sandbox, outside = _sandboxes(arguments)
    return TaskContext(
        open_store(arguments.store),
        work,
        report,
        sandbox=sandbox,
        outside=outside,
        checkpoints=_checkpoints(arguments.checkpoints, request),
    )


def _untrusted(arguments: argparse.Namespace, request: TaskRequest, work: Path, report: Report) -> TaskContext:
    """The context of the place that only runs the candidate; whatever it keeps goes with it."""
    return TaskContext(
        ArtifactStore(work / "store"),
        work,
        report,
        sandbox=Delivering(arguments.hand_over),
        outside=Delivering(arguments.hand_over, Roomy(run_unconfined)),
        checkpoints=_checkpoints(arguments.checkpoints, request),
    )


def _sandboxes(arguments: argparse.Namespace) -> tuple[SandboxRun, SandboxRun]:
    """What runs candidate code inside the sandbox, and what runs it outside."""
    if arguments.handed_over is not None:
        return Received(arguments.handed_over), Received(arguments.handed_over)
    start = spawn if arguments.fork_server is None else fork_at(arguments.fork_server)
    return Roomy(functools.partial(run, start=start)), Roomy(run_unconfined)


def _checkpoints(folder: Path | None, request: TaskRequest) -> Path | None:
    """This task's own folder: the same for all its attempts, and no other task's."""
    return folder / request.digest.removeprefix("sha256:")[:16] if folder is not None else None


def _forget(checkpoints: Path | None) -> None:
    """Remove the checkpoints of a task whose result is made."""
    if checkpoints is not None:
        shutil.rmtree(checkpoints, ignore_errors=True)


def _look_up(request: TaskRequest, store: Store, folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    # Another user's process writes there next.
    folder.chmod(0o777)
    if store.result(request.digest) is not None:
        (folder / KNOWN_FILE).touch()
    return 0


def _hand_over(request: TaskRequest, context: TaskContext, folder: Path, nodes: Nodes | None) -> int:
    """Run the candidate; what the handler would make of it is not for this place to say."""
    if not (folder / KNOWN_FILE).exists():
        if nodes is not None and not nodes.leads:
            ray_nodes.follow(nodes, _verl_settings(request), request.digest, context.workdir / "ray.log")
            return 0
        with contextlib.ExitStack() as stack:
            if nodes is not None:
                cluster = ray_nodes.leading(nodes, _verl_settings(request), request.digest, context.workdir / "ray.log")
                os.environ[ray_nodes.ADDRESS_VARIABLE] = stack.enter_context(cluster)
            stack.enter_context(contextlib.suppress(Delivered))
            execute(request, context)
        if not verl.is_over(folder / FILES):
            return 0  # another attempt goes on from the last checkpoint
    _forget(context.checkpoints)
    return 0


def _verl_settings(request: TaskRequest) -> VerlSettings:
    if request.verl is None:
        raise StateError(f"{request.name} is to run on several nodes, which only engine verl does")
    return VerlSettings.model_validate(request.verl)


def _finish(request: TaskRequest, context: TaskContext, fence: str | None) -> dict[str, Any] | None:
    """The result, of this attempt or of an earlier one; None when a later run has taken over."""
    known = context.store.result(request.digest)
    if known is not None:
        _forget(context.checkpoints)
        return known
    finished, keep = execute(request, context)
    if not _inside_fence(fence):
        return None
    if not keep:
        return finished.to_document()
    kept = context.store.put_result(request.digest, finished.to_document())
    _forget(context.checkpoints)
    return kept


def main() -> int:
    """Run one task; see the module."""
    arguments = _arguments()
    if arguments.parent is not None:
        _die_with_parent(arguments.parent)
    out = sys.stdout
    # Whatever else is printed in this process must not mix with the protocol.
    sys.stdout = sys.stderr

    def report(progress: dict[str, Any]) -> None:
        out.write(progress_line(progress) + "\n")
        out.flush()

    nodes = Nodes.of(os.environ)
    if arguments.handed_over is not None and nodes is not None and not nodes.leads:
        return 0  # the first one of several nodes tells the result
    with _work_folder(arguments.work, _shared(arguments, nodes)) as work:
        try:
            if arguments.offline:
                go_offline()
            request = read_request(arguments.request)
            if arguments.look_up is not None:
                return _look_up(request, open_store(arguments.store), arguments.look_up)
            if arguments.hand_over is not None:
                context = _untrusted(arguments, request, work, report)
                return _hand_over(request, context, arguments.hand_over, nodes)
            context = _trusted(arguments, request, work, report)
            result = _finish(request, context, arguments.fence)
        except PoiseError as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            return error.exit_code
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            sys.stderr.write(f"StateError: {error.filename or work}: the disk is full: free some space and run again\n")
            return StateError.exit_code
    if result is None:
        sys.stderr.write("a later run has taken over; the result is left to it\n")
        return 1
    out.write(frame(result, arguments.attempt))
    out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
