"""Landlock: the process gives up, for ever, every file access outside a list (https://docs.kernel.org/userspace-api/landlock.html).

It works without privileges and does not need namespaces; beside them it is the second lock on the same door.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from typing import Final

from poise_lib.sandbox import libc

_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
_REMOVE_DIR: Final = 1 << 4
_REMOVE_FILE: Final = 1 << 5
_MAKE_DIR: Final = 1 << 7
_MAKE_REG: Final = 1 << 8
_REFER: Final = 1 << 13
_TRUNCATE: Final = 1 << 14

_FILE_RIGHTS_BY_ABI: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_FILE_RIGHTS_NEWEST: Final = (1 << 16) - 1  # with ioctl on devices, since 5
_ABI_NETWORK: Final = 4
_ABI_SCOPES: Final = 6
_TCP_BIND_AND_CONNECT: Final = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS: Final = 0b11

_READ: Final = _READ_FILE | _READ_DIR
_WRITE: Final = _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
_VERSION_FLAG: Final = 1
_RULE_PATH_BENEATH: Final = 1


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64)]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def restrict(readable: Sequence[str], workdir: str) -> None:
    """Allow reading below ``readable``, reading and writing below ``workdir``, executing nowhere.

    Holds for this thread and the threads and processes that it starts.  Needs no-new-privileges.

    Raises:
        OSError: the kernel has no Landlock, or it is switched off.
    """
    zero = ctypes.c_size_t(0)
    abi = libc.syscall(libc.SYS_LANDLOCK_CREATE_RULESET, None, zero, ctypes.c_uint32(_VERSION_FLAG))
    handled = _FILE_RIGHTS_BY_ABI.get(abi, _FILE_RIGHTS_NEWEST)
    attr = _Ruleset(
        files=handled,
        network=_TCP_BIND_AND_CONNECT if abi >= _ABI_NETWORK else 0,
        scopes=_ABSTRACT_SOCKETS_AND_SIGNALS if abi >= _ABI_SCOPES else 0,
    )
    # Older kernels refuse a longer structure only when its unknown part is not zero.
    size = ctypes.c_size_t(ctypes.sizeof(attr))
    ruleset = libc.syscall(libc.SYS_LANDLOCK_CREATE_RULESET, ctypes.byref(attr), size, ctypes.c_uint32(0))
    try:
        for path in readable:
            _allow(ruleset, path, _READ & handled)
        _allow(ruleset, workdir, (_READ | _WRITE) & handled)
        libc.syscall(libc.SYS_LANDLOCK_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = _PathBeneath(allowed=rights if os.path.isdir(path) else rights & _READ_FILE, parent=parent)
        libc.syscall(
            libc.SYS_LANDLOCK_ADD_RULE,
            ctypes.c_int(ruleset),
            ctypes.c_int(_RULE_PATH_BENEATH),
            ctypes.byref(rule),
            ctypes.c_uint32(0),
        )
    finally:
        os.close(parent)
