"""Where the binaries of Kubernetes are, and one line on what is missing.

The folder is named by ``KUBEBUILDER_ASSETS``.  A control plane needs what envtest's archives hold: etcd, kube-apiserver
and kubectl.  Everything else (kube-controller-manager, kube-scheduler, kubelet, kube-proxy, coredns, kwok) is looked
for beside them by whoever needs it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import pytest

ASSETS_VARIABLE: Final = "KUBEBUILDER_ASSETS"
REQUIRE_VARIABLE: Final = "POISE_REQUIRE_KUBE"
"""Set to 1 where Kubernetes has to be there: what is missing then fails a test instead of skipping it."""

CONTROL_PLANE: Final = ("etcd", "kube-apiserver", "kubectl")
CONTROLLERS: Final = ("kube-controller-manager", "kube-scheduler")
NODE: Final = ("kubelet", "kube-proxy")
TOOLS: Final = ("openssl",)
"""Programs of the system that a control plane needs."""


class MissingError(Exception):
    """Something that the tests need is not on this machine; the message is one line."""


@dataclass(frozen=True)
class Assets:
    """The folder with the binaries."""

    folder: Path

    def binary(self, name: str) -> str:
        """The path of a binary.

        Raises:
            MissingError: it is not in the folder.
        """
        path = self.folder / name
        if not os.access(path, os.X_OK):
            raise MissingError(f"{name} is not in {self.folder} ({ASSETS_VARIABLE})")
        return str(path)

    def has(self, *names: str) -> bool:
        """Whether all of these binaries are there."""
        return all(os.access(self.folder / name, os.X_OK) for name in names)


def find(names: Iterable[str] = CONTROL_PLANE, tools: Iterable[str] = TOOLS) -> Assets:
    """The assets, with at least these binaries; ``tools`` are looked up in PATH.

    Raises:
        MissingError: the folder, a binary or a tool is missing.
    """
    folder = os.environ.get(ASSETS_VARIABLE)
    if not folder:
        raise MissingError(f"{ASSETS_VARIABLE} is not set: it names the folder with {', '.join(CONTROL_PLANE)}")
    assets = Assets(Path(folder).absolute())
    missing = [name for name in names if not assets.has(name)]
    if missing:
        raise MissingError(f"{', '.join(missing)}: not in {assets.folder} ({ASSETS_VARIABLE})")
    tool(*tools)
    return assets


def tool(*names: str, packages: str = "") -> None:
    """See that programs are in PATH.

    Raises:
        MissingError: some are not; ``packages`` says what brings them.
    """
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise MissingError(f"{', '.join(missing)}: not in PATH" + (f" (Debian: {packages})" if packages else ""))


def unavailable(reason: MissingError) -> NoReturn:
    """Skip the test that asks, or fail it where Kubernetes is required."""
    if os.environ.get(REQUIRE_VARIABLE, "") not in ("", "0"):
        pytest.fail(f"{reason} ({REQUIRE_VARIABLE} is set)", pytrace=False)
    pytest.skip(f"no Kubernetes: {reason}")
