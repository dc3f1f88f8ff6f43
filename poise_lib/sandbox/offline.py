"""A process that gives up the network for good, with everything that it starts from then on.

For the untrusted container of a pod whose trusted containers need the network: containers of a pod share one, and a
NetworkPolicy cannot tell them apart.  The sandbox's own filter refuses sockets to the child; this one holds for its
parent too, so that code which got out of the child finds no network either.
"""

from __future__ import annotations

import errno
import socket
from typing import Final

from poise_lib.errors import SandboxError
from poise_lib.sandbox.privileges import no_new_privileges

_OTHER_WAYS: Final = ("io_uring_setup", "bpf", "ptrace", "process_vm_writev", "pidfd_getfd")
"""Calls that make a socket without ``socket``, or use that of somebody else."""


def go_offline() -> None:
    """Refuse this process, and all that come of it, every socket but those of the local machine (AF_UNIX).

    Raises:
        SandboxError: the kernel or libseccomp does not let it; nothing untrusted may run here then.
    """
    try:
        import pyseccomp

        no_new_privileges()
        rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
        rules.set_attr(pyseccomp.Attr.CTL_TSYNC, 1)
        refused = pyseccomp.ERRNO(errno.EPERM)
        rules.add_rule(refused, "socket", pyseccomp.Arg(0, pyseccomp.NE, socket.AF_UNIX))
        for name in _OTHER_WAYS:
            if pyseccomp.resolve_syscall(pyseccomp.system_arch(), name) >= 0:
                rules.add_rule(refused, name)
        rules.load()
    except (ImportError, OSError, RuntimeError) as error:
        raise SandboxError(
            f"the network cannot be given up ({error}): candidate code does not run beside an object store without "
            "seccomp; use a kernel and an image that have it, or keep the artifacts on a volume claim"
        ) from error
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()
    except PermissionError:
        return
    raise SandboxError("the network could not be given up: a socket was made in spite of the filter")
