"""Namespaces, and a root file system of one's own that holds what :mod:`~poise_lib.sandbox.visible` lists, no more."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from poise_lib.sandbox import libc, model

_KINDS: Final = (
    (libc.CLONE_NEWNS, model.MOUNT_NAMESPACE),
    (libc.CLONE_NEWNET, model.NETWORK_NAMESPACE),
    (libc.CLONE_NEWPID, model.PID_NAMESPACE),
    (libc.CLONE_NEWIPC, model.IPC_NAMESPACE),
    (libc.CLONE_NEWUTS, model.UTS_NAMESPACE),
)
_OLD_ROOT: Final = "/.old"


def enter() -> list[str]:
    """Leave every namespace that the kernel lets this process leave; must run before there are threads.

    The pid namespace takes effect for the next child.  An ordinary user (or root without CAP_SYS_ADMIN, in a
    container) gets there through a user namespace in which only its own ids exist.
    """
    everything = 0
    for flag, _ in _KINDS:
        everything |= flag
    with suppress(OSError):
        libc.unshare(everything)
        return [name for _, name in _KINDS]
    entered = []
    if _user_namespace_works():
        _enter_user_namespace()
        entered.append(model.USER_NAMESPACE)
    for flag, name in _KINDS:
        with suppress(OSError):
            libc.unshare(flag)
            entered.append(name)
    return entered


def _user_namespace_works() -> bool:
    """Try it in a child first: a user namespace without a map of its ids, which some kernels end in, is no way back."""
    child = os.fork()
    if child == 0:
        try:
            _enter_user_namespace()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _enter_user_namespace() -> None:
    user, group = os.geteuid(), os.getegid()
    libc.unshare(libc.CLONE_NEWUSER)
    for path, text in (
        ("/proc/self/setgroups", "deny"),
        ("/proc/self/gid_map", f"{group} {group} 1"),
        ("/proc/self/uid_map", f"{user} {user} 1"),
    ):
        with open(path, "w", encoding="ascii") as file:
            file.write(text)


def private_root(readable: Sequence[str], workdir: str) -> bool:
    """Replace the root by an empty read-only one with ``readable`` bound read-only and ``workdir`` bound writable.

    Needs a mount namespace of one's own.  Afterwards ``/etc``, homes, ``/proc`` and devices are not hidden but absent.

    Returns:
        False, with nothing changed, where the kernel or a security module does not let this process mount, or the
        kernel is older than ``mount_setattr``.

    Raises:
        OSError: a later step failed; the caller's view is then half built, so it must give up.
    """
    try:
        libc.mount(None, "/", None, libc.MS_REC | libc.MS_PRIVATE)
        libc.mount_setattr("/", 0, recursive=False)
    except OSError:
        return False
    # Any directory serves as the place to mount the new root: the old tree, uncovered again, moves below it.
    stage = "/tmp" if os.path.isdir("/tmp") else workdir  # noqa: S108 - a mount point, nothing is written there
    libc.mount("tmpfs", stage, "tmpfs", 0, "size=1m,mode=0755")
    os.chdir(stage)
    os.mkdir(f".{_OLD_ROOT}")
    libc.pivot_root(".", f".{_OLD_ROOT}")
    os.chdir("/")
    for path in sorted(readable):
        device = 0 if path.startswith("/dev/") else libc.MOUNT_ATTR_NODEV
        _bind(path, libc.MOUNT_ATTR_RDONLY | libc.MOUNT_ATTR_NOSUID | device)
    _bind(workdir, libc.MOUNT_ATTR_NOSUID | libc.MOUNT_ATTR_NODEV | libc.MOUNT_ATTR_NOEXEC)
    libc.unmount(_OLD_ROOT, libc.MNT_DETACH)
    os.rmdir(_OLD_ROOT)
    libc.mount_setattr("/", libc.MOUNT_ATTR_RDONLY | libc.MOUNT_ATTR_NOSUID | libc.MOUNT_ATTR_NODEV, recursive=False)
    os.chdir(workdir)
    return True


def _bind(path: str, attributes: int) -> None:
    source = _OLD_ROOT + path
    if os.path.isdir(source):
        os.makedirs(path, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "ab"):
            pass
    libc.mount(source, path, None, libc.MS_BIND | libc.MS_REC)
    libc.mount_setattr(path, attributes, recursive=True)
