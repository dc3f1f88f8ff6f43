"""Which paths a sandboxed child may read: what Python, its packages and the entry module need, and nothing else.

Computed in the parent, before anything is confined.  A directory of ``sys.path`` that is no package folder of the
interpreter (a source checkout, say) is not shown as a whole: only the top-level package that is needed from it (or the
folder of a module that is in no package).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

from poise_lib.errors import SandboxError

_SYSTEM: Final = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/nix/store",
    "/etc/ld.so.cache",
    "/proc/cpuinfo",  # PyTorch picks its kernels by it, so results would differ without
    "/sys/devices/system/cpu",
    "/dev/urandom",  # PyTorch opens it while it is imported
)
_PACKAGE_FOLDERS: Final = ("site-packages", "dist-packages")


@dataclass(frozen=True, slots=True)
class Visible:
    """``search``: the child's ``sys.path``.  ``readable``: files and folders, none inside another, all existing."""

    search: tuple[str, ...]
    readable: tuple[str, ...]


def visible_for(top_level: str) -> Visible:
    """What a child needs that imports ``top_level`` (the first part of a dotted module name) and this package.

    Raises:
        SandboxError: there is no such module on the path.
    """
    library = f"{sys.base_prefix}/lib"
    search: list[str] = []
    readable: list[str] = [*_SYSTEM, library]
    for entry in _absolute(sys.path):
        if _is_package_folder(entry) or entry.startswith((f"{library}/", f"{os.path.realpath(library)}/")):
            search.append(entry)
            readable.append(entry)
    for name in dict.fromkeys((__name__.partition(".")[0], top_level)):
        folder, shown = _locate(name)
        search.insert(0, folder)
        readable.append(shown)
    existing = {path for entry in readable for path in (entry, os.path.realpath(entry)) if os.path.exists(entry)}
    return Visible(tuple(dict.fromkeys(search)), _outermost(existing))


def _absolute(entries: Iterable[str]) -> list[str]:
    return [os.path.abspath(entry) for entry in entries if entry and os.path.isdir(entry)]


def _is_package_folder(entry: str) -> bool:
    return os.path.basename(entry) in _PACKAGE_FOLDERS


def _locate(name: str) -> tuple[str, str]:
    """(folder to search, file or folder to show) for a top-level module, without importing it."""
    spec = PathFinder.find_spec(name)
    if spec is None:
        raise SandboxError(f"the sandbox entry's module {name!r} is not on sys.path")
    if spec.submodule_search_locations:
        package = os.path.abspath(next(iter(spec.submodule_search_locations)))
        return os.path.dirname(package), package
    if spec.origin is None:
        raise SandboxError(f"the sandbox entry's module {name!r} is no file")
    folder = os.path.dirname(os.path.abspath(spec.origin))
    return folder, folder  # the import system lists the folder, so the file alone would not do


def _outermost(paths: set[str]) -> tuple[str, ...]:
    """Drop every path that lies below another one."""
    kept: list[str] = []
    for path in sorted(paths):
        if not any(Path(path).is_relative_to(outer) for outer in kept):
            kept.append(path)
    return tuple(kept)
