"""seccomp: a list of the system calls that Python and PyTorch need once they are imported; the rest fails with EPERM.

An allow-list, so that what a newer kernel adds is refused too.  Absent on purpose: sockets, processes, exec, ptrace,
signals to others, mounts, namespaces, links, changes of owner or mode, memory files, keys, BPF, io_uring, performance
counters, and every way to undo a limit.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import Final

_PLAIN: Final = """
    brk mmap munmap mremap mprotect madvise mincore msync mlock munlock membarrier
    read pread64 readv preadv preadv2 write pwrite64 writev pwritev pwritev2 lseek
    open openat openat2 creat close close_range dup dup2 dup3 fcntl flock fsync fdatasync sync_file_range
    stat fstat lstat newfstatat fstatat64 statx access faccessat faccessat2 readlink readlinkat statfs fstatfs
    getdents getdents64 getcwd chdir fchdir mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2
    ftruncate fallocate fadvise64 copy_file_range sendfile pipe pipe2
    poll ppoll select pselect6 epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2
    futex futex_waitv get_robust_list set_robust_list set_tid_address rseq gettid getpid getppid getpgrp
    getuid geteuid getgid getegid getgroups getresuid getresgid getrlimit getrusage times sysinfo uname getcpu
    sched_yield sched_getaffinity sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min
    clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time getrandom
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait sigaltstack restart_syscall
    exit exit_group arch_prctl umask
"""

_SIGNALS: Final = (("kill", 0), ("tgkill", 0))
"""Allowed when this argument is the worker itself, which is how a process aborts."""
_CLONE_THREAD: Final = 0x00010000
# TCGETS, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
_TERMINAL_OR_CLOSE_ON_EXEC: Final = (0x5401, 0x541B, 0x5421, 0x5450, 0x5451)
_NAMES_OF_THREADS_AND_MEMORY: Final = (15, 16, 0x53564D41)  # PR_SET_NAME, PR_GET_NAME, PR_SET_VMA


def load_library() -> None:
    """Load libseccomp where it is installed; must run while programs can be started, which looking for it takes."""
    with suppress(ImportError, RuntimeError):
        import pyseccomp  # noqa: F401 - the first import is what finds the library


def restrict() -> None:
    """Install the filter in every thread of this process, for good.

    Needs no-new-privileges and :func:`load_library`.

    Raises:
        OSError: libseccomp is not installed, or the kernel has no seccomp filters.
    """
    pyseccomp = sys.modules.get("pyseccomp")
    if pyseccomp is None:
        raise OSError(errno.ENOSYS, "libseccomp is not installed")
    allow, equal, masked = pyseccomp.ALLOW, pyseccomp.EQ, pyseccomp.MASKED_EQ
    arg = pyseccomp.Arg
    rules = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
    rules.set_attr(pyseccomp.Attr.CTL_TSYNC, 1)

    def permit(name: str, *conditions: object) -> None:
        # A name that this architecture or this libseccomp does not know is a call that nothing here can make.
        if pyseccomp.resolve_syscall(pyseccomp.system_arch(), name) >= 0:
            rules.add_rule(allow, name, *conditions)

    for name in _PLAIN.split():
        permit(name)
    for name, position in _SIGNALS:
        permit(name, arg(position, equal, os.getpid()))
    for command in _TERMINAL_OR_CLOSE_ON_EXEC:
        permit("ioctl", arg(1, equal, command))
    for option in _NAMES_OF_THREADS_AND_MEMORY:
        permit("prctl", arg(0, equal, option))
    permit("prlimit64", arg(0, equal, 0), arg(2, equal, 0))
    permit("clone", arg(0, masked, _CLONE_THREAD, _CLONE_THREAD))
    # Its flags lie in memory, where a filter cannot look; "no such call" makes the C library use clone.
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    rules.load()
