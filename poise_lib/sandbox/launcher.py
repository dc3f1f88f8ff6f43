"""The child's side of the sandbox: a supervisor that waits, and a worker that locks itself down and runs the entry.

::

    parent ──► supervisor (new namespaces) ──► worker (pid 1 of its own world)
                                                 1. dies with the supervisor, no new privileges
                                                 2. private root, Landlock, no capabilities
                                                 3. imports the entry module (trusted)
                                                 4. steps down from root, resource limits, seccomp
                                                 5. reports what is in force, closes the report pipe
                                                 6. entry(workdir)

The supervisor is never reachable from the worker; when it dies, the kernel kills the worker, and with the worker all
that lives in its pid namespace.  Both write JSON lines to the report pipe; the worker has given it up before any
untrusted code runs, so what the parent reads there is true.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import select
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from poise_lib.sandbox import landlock, libc, model, namespaces, privileges, rlimits, syscalls

EXIT_RAISED: Final = 70
"""The entry function raised."""
EXIT_BROKEN: Final = 71
"""The sandbox could not be set up, or the trusted entry module could not be imported."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What the parent tells the supervisor, as JSON in its only argument."""

    entry: str
    workdir: str
    limits: dict[str, float]
    search: tuple[str, ...]
    readable: tuple[str, ...]
    report: int = -1
    """Descriptor of the report pipe; filled in by what starts the supervisor."""
    parent: int = -1
    """Process id of what starts the supervisor."""

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps({name: getattr(self, name) for name in self.__dataclass_fields__})


def main(argument: str) -> None:
    """Supervise one worker; called with an empty environment in a fresh interpreter, or in a fork that is as good as one."""
    launch = Launch(**json.loads(argument))
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != launch.parent:
        os._exit(EXIT_BROKEN)
    syscalls.load_library()
    user = privileges.hand_over(launch.workdir, os.getpid())
    entered = namespaces.enter()
    lifeline, kept = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.close(kept)
        _work(launch, entered, user, lifeline)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(worker, signal.SIGKILL))
    os.close(lifeline)
    _, status, usage = os.wait4(worker, 0)
    _report(launch.report, status=status, cpu=usage.ru_utime + usage.ru_stime, peak=usage.ru_maxrss * 1024)
    os._exit(0)


def _report(descriptor: int, **fields: object) -> None:
    os.write(descriptor, json.dumps(fields).encode() + b"\n")


def _work(launch: Launch, entered: list[str], user: int | None, lifeline: int) -> None:
    """The worker; never returns."""
    try:
        _die_with(lifeline)
        entry = _lock_down(launch, entered, user, lifeline)
    except BaseException:
        traceback.print_exc()
        _exit(EXIT_BROKEN)
    try:
        entry(Path(launch.workdir))
    except BaseException:
        traceback.print_exc()
        _exit(EXIT_RAISED)
    _exit(0)


def _exit(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code)


def _die_with(lifeline: int) -> None:
    """Ask the kernel to kill this process when the supervisor dies; end at once when it is dead already."""
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    if select.select([lifeline], [], [], 0)[0]:
        os._exit(EXIT_BROKEN)


def _lock_down(launch: Launch, entered: list[str], user: int | None, lifeline: int) -> Callable[[Path], object]:
    """Steps 2 to 5 of the module docstring; returns the entry function."""
    in_force = {model.EMPTY_ENVIRONMENT, model.OWN_SESSION, model.PARENT_DEATH_SIGNAL, model.NO_NEW_PRIVILEGES}
    in_force.update(entered)
    privileges.no_new_privileges()
    memory = _open_memory_count()
    rooted = model.MOUNT_NAMESPACE in entered and namespaces.private_root(launch.readable, launch.workdir)
    if rooted:
        in_force.add(model.PRIVATE_ROOT)
    with suppress(OSError):
        landlock.restrict(launch.readable, launch.workdir)
        in_force.add(model.LANDLOCK)
    if model.USER_NAMESPACE in entered:
        # Root keeps its own until it has stepped down, which takes them from every thread.
        libc.drop_capabilities()
        in_force.add(model.NO_CAPABILITIES)

    sys.path[:] = launch.search
    module_name, _, function = launch.entry.partition(":")
    module: ModuleType = importlib.import_module(module_name)
    entry: Callable[[Path], Any] = getattr(module, function)

    if user is not None and (rooted or privileges.reachable_by_others(launch.workdir)):
        with suppress(OSError):
            privileges.become(user)
            in_force |= {model.UNPRIVILEGED_USER, model.NO_CAPABILITIES}
            _die_with(lifeline)  # a change of user makes the kernel forget the wish
    if model.NO_CAPABILITIES not in in_force:
        libc.drop_capabilities()
        in_force.add(model.NO_CAPABILITIES)
    own_user = bool(in_force & {model.UNPRIVILEGED_USER, model.USER_NAMESPACE})
    mapped = int(os.pread(memory, 100, 0).split()[0]) * resource.getpagesize()
    for descriptor in (memory, lifeline):
        os.close(descriptor)
    rlimits.apply(model.Limits(**launch.limits), mapped, own_user=own_user)  # type: ignore[arg-type]
    in_force.add(model.RESOURCE_LIMITS)
    os.chdir(launch.workdir)
    with suppress(OSError):
        syscalls.restrict()
        in_force.add(model.SECCOMP)
    _report(launch.report, in_force=[layer for layer in model.LAYERS if layer in in_force])
    os.close(launch.report)
    return entry


def _open_memory_count() -> int:
    """The kernel's count of this process's pages, opened while there is a ``/proc``."""
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
