"""Entry point of task processes: ``python -m poise_lib.tasks --store DIR --work DIR --attempt TOKEN < request.json``.

Exit status 0 means that one result was printed (an output or a fault); anything else means that the attempt is lost and
may be repeated.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from poise_lib.artifacts import ArtifactStore
from poise_lib.errors import PoiseError
from poise_lib.tasks.context import Fault, TaskContext
from poise_lib.tasks.protocol import TaskFault, TaskRequest, TaskResult, frame, progress_line


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


def execute(request: TaskRequest, context: TaskContext) -> TaskResult:
    """Run a request's handler; a :class:`Fault` becomes part of the result, any other exception passes."""
    from poise_lib.tasks.handlers import handle

    try:
        output = handle(request, context)
    except Fault as fault:
        return TaskResult(fault=TaskFault(reason=fault.reason, message=str(fault)[:2000]))
    return TaskResult(output=output, artifacts=tuple(context.artifacts))


def main() -> int:
    """Run one task; see the module."""
    parser = argparse.ArgumentParser(prog="python -m poise_lib.tasks", description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True, help="artifact store")
    parser.add_argument("--work", type=Path, required=True, help="empty folder for this attempt")
    parser.add_argument("--attempt", required=True, help="token of this attempt, 32 hexadecimal digits")
    parser.add_argument("--parent", type=int, help="end when this process is no longer the parent")
    parser.add_argument("--fence", help="FILE=TOKEN: leave no result once FILE holds another token")
    arguments = parser.parse_args()
    if arguments.parent is not None:
        _die_with_parent(arguments.parent)
    request = TaskRequest.model_validate_json(sys.stdin.buffer.read())
    store = ArtifactStore(arguments.store)
    out = sys.stdout
    # Whatever else is printed in this process must not mix with the protocol.
    sys.stdout = sys.stderr

    def report(progress: dict[str, object]) -> None:
        out.write(progress_line(progress) + "\n")
        out.flush()

    result = store.result(request.digest)
    if result is None:
        try:
            finished = execute(request, TaskContext(store=store, workdir=arguments.work, report=report))
            if not _inside_fence(arguments.fence):
                sys.stderr.write("a later run has taken over; the result is left to it\n")
                return 1
            result = store.put_result(request.digest, finished.to_document())
        except PoiseError as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            return error.exit_code
    out.write(frame(result, arguments.attempt))
    out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
