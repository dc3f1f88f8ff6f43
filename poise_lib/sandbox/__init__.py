"""Run a trusted entry point, which in turn runs untrusted code, in a child process that the kernel fences in.

- :mod:`~poise_lib.sandbox.model`: :class:`Limits` in, :class:`SandboxResult` out.
- :mod:`~poise_lib.sandbox.runner`: the parent's side: start, stream lines, watch clock and disk, kill, explain.
- :mod:`~poise_lib.sandbox.children`, :mod:`~poise_lib.sandbox.forkserver`: start a child, anew or from a warm process.
- :mod:`~poise_lib.sandbox.launcher`: the child's side: a supervisor, and the worker that locks itself down and runs.
- :mod:`~poise_lib.sandbox.visible`: which paths a child may read at all.
- One module for each layer: :mod:`~poise_lib.sandbox.namespaces`, :mod:`~poise_lib.sandbox.landlock`,
  :mod:`~poise_lib.sandbox.syscalls` (seccomp), :mod:`~poise_lib.sandbox.privileges`, :mod:`~poise_lib.sandbox.rlimits`.
- :mod:`~poise_lib.sandbox.handover`: a run whose child is in one container and whose judge in another.
- :mod:`~poise_lib.sandbox.unconfined`: the same call without any layer, for what none of them can hold.
- :mod:`~poise_lib.sandbox.offline`: give up the network, for the container around the child.
- :mod:`~poise_lib.sandbox.outputs`: read what a child left behind, which is hostile until proven otherwise.

Every layer is used where the kernel has it and left out where not; a result says which ones were in force.
"""

from poise_lib.sandbox.children import spawn
from poise_lib.sandbox.forkserver import ForkServer, fork_at
from poise_lib.sandbox.handover import Delivered, Delivering, Received, SandboxRun
from poise_lib.sandbox.model import Limits, SandboxResult
from poise_lib.sandbox.offline import go_offline
from poise_lib.sandbox.outputs import read_output, remove_workdir
from poise_lib.sandbox.runner import run
from poise_lib.sandbox.unconfined import run_unconfined

__all__ = [
    "Delivered",
    "Delivering",
    "ForkServer",
    "Limits",
    "Received",
    "SandboxResult",
    "SandboxRun",
    "fork_at",
    "go_offline",
    "read_output",
    "remove_workdir",
    "run",
    "run_unconfined",
    "spawn",
]
