"""What goes into a sandboxed run and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MEBIBYTE: Final = 1024 * 1024

EMPTY_ENVIRONMENT: Final = "empty-environment"
OWN_SESSION: Final = "own-session"
PARENT_DEATH_SIGNAL: Final = "parent-death-signal"
NO_NEW_PRIVILEGES: Final = "no-new-privileges"
USER_NAMESPACE: Final = "user-namespace"
MOUNT_NAMESPACE: Final = "mount-namespace"
NETWORK_NAMESPACE: Final = "network-namespace"
PID_NAMESPACE: Final = "pid-namespace"
IPC_NAMESPACE: Final = "ipc-namespace"
UTS_NAMESPACE: Final = "uts-namespace"
PRIVATE_ROOT: Final = "private-root"
LANDLOCK: Final = "landlock"
SECCOMP: Final = "seccomp"
UNPRIVILEGED_USER: Final = "unprivileged-user"
NO_CAPABILITIES: Final = "no-capabilities"
RESOURCE_LIMITS: Final = "resource-limits"

LAYERS: Final = (
    EMPTY_ENVIRONMENT,
    OWN_SESSION,
    PARENT_DEATH_SIGNAL,
    NO_NEW_PRIVILEGES,
    USER_NAMESPACE,
    MOUNT_NAMESPACE,
    NETWORK_NAMESPACE,
    PID_NAMESPACE,
    IPC_NAMESPACE,
    UTS_NAMESPACE,
    PRIVATE_ROOT,
    LANDLOCK,
    SECCOMP,
    UNPRIVILEGED_USER,
    NO_CAPABILITIES,
    RESOURCE_LIMITS,
)
"""Every layer that this package knows, in the order in which results name them.

As root the other namespaces need no user namespace, and as an ordinary user there is nobody to step down to: so of
``user-namespace`` and ``unprivileged-user`` a run has one.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the entry function may use, counted from the moment it starts: importing its module is free.

    PyTorch on one thread with a policy of 400,000 parameters trains within ``memory_bytes`` of 1 GiB.
    """

    cpu_seconds: float
    """CPU time, all threads together; rounded up to whole seconds by the kernel."""
    wall_seconds: float
    memory_bytes: int
    """Address space beyond what the imported modules take."""
    file_bytes: int
    """Size of any one file, and of everything in the work directory together."""

    def __post_init__(self) -> None:
        for name in ("cpu_seconds", "wall_seconds", "memory_bytes", "file_bytes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Limits.{name} must be positive, got {getattr(self, name)!r}")


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """How a sandboxed run ended.

    ``reason`` and ``stderr_tail`` may quote untrusted text: bounded, control characters removed.
    """

    ok: bool
    """The process ended of itself with exit code 0, inside every limit: the entry function returned, or untrusted code
    ended the process early.  So the proof of work done is the output, not this flag."""
    reason: str
    """Why not, as a sentence; empty when ``ok``."""
    exit_code: int | None
    """None when a signal ended it."""
    signal: int | None
    stderr_tail: str
    wall_seconds: float
    """From the start of the process, so with start-up and imports."""
    cpu_seconds: float
    peak_memory_bytes: int
    """Peak resident size, imported modules included."""
    in_force: tuple[str, ...]
    """Which of :data:`LAYERS` held."""
