"""The network of a node: a namespace of its own, joined to the machine by one link.

Bridge, addresses, rules of iptables and forwarding are all inside, so that a node disturbs neither the machine nor
other nodes, and everything goes when the namespace goes.  The API server stays outside and is reached at
:attr:`Network.outside`; it reaches kubelet and pods through the link.  Pods cannot reach anything beyond the machine.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tests.kube.assets import MissingError, tool

LINK_PREFIX: Final = "10.200"
POD_PREFIX: Final = "10.201"
PROGRAMS: Final = ("ip", "nsenter")
MARK: Final = "network"
"""File in a state folder that says that there is a network to be removed."""


@dataclass(frozen=True)
class Network:
    """Names and addresses of one node's network."""

    identity: str
    number: int

    @property
    def outside(self) -> str:
        """The machine's address on the link."""
        return f"{LINK_PREFIX}.{self.number}.1"

    @property
    def inside(self) -> str:
        """The node's address."""
        return f"{LINK_PREFIX}.{self.number}.2"

    @property
    def pods(self) -> str:
        """The pods' subnet."""
        return f"{POD_PREFIX}.{self.number}.0/24"

    @classmethod
    def create(cls, state: Path) -> Self:
        """A network for the cluster of a state folder.

        Raises:
            MissingError: this is not root, or a program is missing.
        """
        if os.geteuid() != 0:
            raise MissingError("a node needs root")
        tool(*PROGRAMS, packages="iproute2 util-linux")
        remove(state)
        identity = identity_of(state)
        used = _run("ip", "-4", "-oneline", "address") + _run("ip", "-4", "route")
        first = int(identity, 16)
        numbers = ((first + step) % 256 for step in range(256))
        network = cls(identity, next(number for number in numbers if f"{LINK_PREFIX}.{number}." not in used))
        namespace, link = _namespace(identity), _link(identity)
        (state / MARK).touch()
        _run("ip", "netns", "add", namespace)
        _run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _run("ip", "address", "add", f"{network.outside}/30", "dev", link)
        _run("ip", "link", "set", link, "up")
        _run("ip", "route", "add", network.pods, "via", network.inside, "dev", link)
        for words in (
            f"address add {network.inside}/30 dev eth0",
            "link set lo up",
            "link set eth0 up",
            f"route add default via {network.outside}",
        ):
            _run("ip", "-netns", namespace, *words.split())
        _run(*network.command("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"))
        return network

    def command(self, *command: str) -> Sequence[str]:
        """A command, to be run inside (in everything but the network it stays outside)."""
        return ("nsenter", f"--net=/run/netns/{_namespace(self.identity)}", *command)


def remove(state: Path) -> None:
    """Remove the network of a state folder, if there is one."""
    if not (state / MARK).exists():
        return
    identity = identity_of(state)
    for command in (("link", "delete", _link(identity)), ("netns", "delete", _namespace(identity))):
        subprocess.run(["ip", *command], capture_output=True, check=False)
    (state / MARK).unlink()


def identity_of(state: Path) -> str:
    """A short name for what a state folder's cluster adds to the machine."""
    return hashlib.sha256(str(state).encode()).hexdigest()[:8]


def _namespace(identity: str) -> str:
    return f"poise-{identity}"


def _link(identity: str) -> str:
    return f"poise{identity}"  # 13 characters of 15


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
