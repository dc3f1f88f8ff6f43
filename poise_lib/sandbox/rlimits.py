"""Resource limits of the worker, set after its imports so that they bound the entry function alone."""

from __future__ import annotations

import math
import resource
from typing import Final

from poise_lib.sandbox.model import Limits

OPEN_FILES: Final = 64
PROCESSES: Final = 32
"""Threads count: PyTorch starts a few even when told to use one."""


def apply(limits: Limits, mapped: int, *, own_user: bool) -> None:
    """Limit CPU time, memory, file size, open files, threads; switch core dumps off.

    Args:
        limits: what the entry function may use on top.
        mapped: address space taken so far, bytes.
        own_user: nothing else runs under this user id, so that threads can be counted.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu = math.ceil(usage.ru_utime + usage.ru_stime + limits.cpu_seconds)
    _cap(resource.RLIMIT_CPU, cpu)
    _cap(resource.RLIMIT_AS, mapped + limits.memory_bytes)
    _cap(resource.RLIMIT_FSIZE, limits.file_bytes)
    _cap(resource.RLIMIT_NOFILE, OPEN_FILES)
    _cap(resource.RLIMIT_CORE, 0)
    if own_user:
        _cap(resource.RLIMIT_NPROC, PROCESSES)


def _cap(kind: int, value: int) -> None:
    """Lower both limits; a hard limit that is lower already stays."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))
