"""Read what a sandboxed child left behind.  Its names, types, sizes and bytes are all chosen by untrusted code."""

from __future__ import annotations

import itertools
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from poise_lib.errors import SandboxError
from poise_lib.sandbox.model import MEBIBYTE

MAX_FOLDER_DEPTH: Final = 32
"""Deep nests are how a quota is hidden from a walk, and how a clean-up is made to fail."""

_CHUNK: Final = MEBIBYTE
_PRINTABLE_CONTROLS = frozenset("\n\t")


def read_output(workdir: Path, name: str, max_bytes: int) -> bytes:
    """The content of the regular file ``name`` below ``workdir``.

    Args:
        workdir: the work directory of a finished run.
        name: a relative path; no part of it may be a symbolic link.
        max_bytes: refuse anything larger.

    Raises:
        SandboxError: there is no such file, it is a link, a folder or a device, has a second name, or is too large.
    """
    with open_output(workdir, name, max_bytes) as file:
        return file.read(max_bytes)


def copy_output(workdir: Path, name: str, max_bytes: int, target: Path) -> int:
    """Copy a file as :func:`read_output` reads it, a piece at a time; returns its size.

    Args:
        workdir: the work directory of a finished run.
        name: a relative path; no part of it may be a symbolic link.
        max_bytes: refuse anything larger.
        target: a new file.

    Raises:
        SandboxError: as :func:`read_output`, or the file grew while it was read.
        OSError: ``target`` is there already, or cannot be written.
    """
    size = 0
    with open_output(workdir, name, max_bytes) as file, target.open("xb") as copy:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            if size > max_bytes:
                raise SandboxError(f"{name!r} in the work directory grew beyond {max_bytes} bytes while it was read")
            copy.write(chunk)
    return size


@contextmanager
def open_output(workdir: Path, name: str, max_bytes: int) -> Iterator[BinaryIO]:
    """Open a file for reading; see :func:`read_output` for what is refused.  It may grow while it is read."""
    parts = PurePosixPath(name).parts
    if not parts or os.path.isabs(name) or ".." in parts:
        raise SandboxError(f"{name!r} is not a path inside the work directory")
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    opened = []
    try:
        opened.append(os.open(workdir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        for part in parts[:-1]:
            opened.append(os.open(part, flags | os.O_DIRECTORY, dir_fd=opened[-1]))
        opened.append(os.open(parts[-1], flags, dir_fd=opened[-1]))
        status = os.fstat(opened[-1])
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise SandboxError(f"{name!r} in the work directory is no ordinary file of its own; refused")
        if status.st_size > max_bytes:
            raise SandboxError(
                f"{name!r} in the work directory has {status.st_size} bytes; at most {max_bytes} are read"
            )
        file = os.fdopen(opened.pop(), "rb")
    except OSError as error:
        raise SandboxError(f"{name!r} in the work directory cannot be read: {error.strerror}") from error
    finally:
        for descriptor in opened:
            os.close(descriptor)
    with file:
        yield file


def printable(data: bytes) -> str:
    """Untrusted bytes as text for people: control characters (terminal escapes among them) become "?"."""
    text = data.decode("utf-8", "replace")
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in _PRINTABLE_CONTROLS else "?" for letter in text)


def disk_problem(workdir: Path, max_bytes: int, max_entries: int) -> str:
    """What is wrong with the size or shape of a work directory that untrusted code writes to; empty when nothing is.

    Links are not followed.  The tree may change while it is walked: what vanishes is skipped.  What cannot be counted
    (a folder without read permission, a path too long) is a fault in itself, or a quota could hide there.
    """
    total, entries = 0, 0
    pending = [(os.fspath(workdir), 0)]
    while pending:
        folder, depth = pending.pop()
        try:
            with os.scandir(folder) as found:
                for entry in found:
                    entries += 1
                    status = entry.stat(follow_symlinks=False)
                    # Blocks, not the length: a sparse file takes no room.
                    total += status.st_blocks * 512
                    if total > max_bytes:
                        return f"filled the work directory beyond the limit of {max_bytes / MEBIBYTE:,.0f} MiB"
                    if entries > max_entries:
                        return f"put more than {max_entries} files into the work directory"
                    if stat.S_ISDIR(status.st_mode):
                        pending.append((entry.path, depth + 1))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return f"made a folder in the work directory that cannot be read ({error.strerror})"
        if depth > MAX_FOLDER_DEPTH:
            return f"nested folders deeper than {MAX_FOLDER_DEPTH} in the work directory"
    return ""


def remove_workdir(workdir: Path) -> None:
    """Delete a work directory and all that untrusted code left in it, however deep; nothing outside is touched.

    ``shutil.rmtree`` recurses, and so gives up on a nest of thousands of folders.  Here the content of each folder is
    moved up to the top before the folder is removed.  Every process that could interfere must have ended.
    """
    numbers = itertools.count()
    while entries := list(os.scandir(workdir)):
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)
            for name in os.listdir(entry.path):
                os.rename(os.path.join(entry.path, name), workdir / f".moved-{secrets.token_hex(8)}-{next(numbers)}")
            os.rmdir(entry.path)
    os.rmdir(workdir)
