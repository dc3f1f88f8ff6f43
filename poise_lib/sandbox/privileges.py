"""Step down: from root to a user that owns nothing, and from every capability."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from poise_lib.sandbox import libc

_FIRST_USER: Final = 0x70000000
_NOBODY: Final = 65534


def hand_over(workdir: str, run: int) -> int | None:
    """As root: give ``workdir`` and what is in it to an unprivileged user, and return that user's id.

    Args:
        workdir: a tree that only trusted code has written to so far.
        run: a number that no other run on this machine has now (a process id): each run then has a user of its own, so
            that runs side by side count their processes apart and cannot touch each other.

    Returns:
        None when this process is not root or the kernel gives it no such user.
    """
    if os.geteuid() != 0:
        return None
    # Inside a container there may be no ids as high as that.
    for user in (_FIRST_USER + run, _NOBODY):
        with suppress(OSError):
            for folder, _, names in os.walk(workdir):
                os.chown(folder, user, user, follow_symlinks=False)
                for name in names:
                    os.chown(os.path.join(folder, name), user, user, follow_symlinks=False)
            return user
    return None


def reachable_by_others(path: str) -> bool:
    """Every folder down to ``path`` may be crossed by any user."""
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        if not os.stat(path).st_mode & 0o001:
            return False
    return True


def become(user: int) -> None:
    """Turn into ``user`` with no groups, in every thread; the capabilities of root go with it.

    Raises:
        OSError: not permitted.
    """
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def no_new_privileges() -> None:
    """No program that this process starts can gain what it lacks; also a precondition of seccomp and Landlock."""
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
