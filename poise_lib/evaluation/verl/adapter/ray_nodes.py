"""Several pods as one Ray cluster, in the untrusted containers of a training on several nodes.

The environment says how many there are, which one this is and where the first one is.  The first one starts Ray's head and
waits until all have joined; the driver then connects to it (:data:`ADDRESS_VARIABLE`).  The others join, and end when the
head has ended.  Every wait has a bound, and says who is missing.

Each node bears a resource with its rank in its name, by which the head knows who is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from poise_lib.errors import EngineError, InvalidInputError
from poise_lib.evaluation.verl.adapter.processes import Family
from poise_lib.names import COUNT_VARIABLE, HEAD_VARIABLE, RANK_VARIABLE
from poise_lib.resources.verl import VerlSettings

ADDRESS_VARIABLE: Final = "POISE_RAY_ADDRESS"
"""Where the driver finds the cluster; set here, on the first node."""
PORT: Final = 6379
JOIN_SECONDS: Final = 1800.0
"""How long pods wait for one another: an image of ten gigabytes may have to be pulled first."""

_LOOK_SECONDS: Final = 1.0
_GONE: Final = 5
"""Looks in a row at which the head did not answer, after which it has ended."""
_PREFIX: Final = "poise_node_"
_SPARE_CPUS: Final = (8, 4)
"""Ray counts processors and VeRL's actors ask for one each whatever they do: so many at least, and so many for each GPU."""
_SHARE_OF_MEMORY: Final = 0.8
"""Of /dev/shm, for Ray's objects; the rest is NCCL's and the data loaders'."""
_LEAST_OBJECTS: Final = 80 * 1024**2
"""Bytes; Ray takes no smaller store."""
_SHARED: Final = (
    "POISE_VERL_",
    "VERL_",
    "HF_",
    "NCCL_",
    "OMP_",
    "MKL_",
    "TOKENIZERS_",
    "VLLM_",
    "WANDB_MODE",
    "PYTHONPATH",
)
"""Beginnings of the names of variables that the processes of all nodes have to have like the driver's."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """The pods of one training, and which of them this is."""

    count: int
    rank: int
    head: str
    """Host name of the first one."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Nodes | None:
        """What the environment says; None where one node is all.

        Raises:
            InvalidInputError: a variable is missing or makes no sense.
        """
        count = _number(environment, COUNT_VARIABLE, "1")
        if count == 1:
            return None
        rank = _number(environment, RANK_VARIABLE, "")
        head = environment.get(HEAD_VARIABLE, "")
        if not head:
            raise InvalidInputError(
                f"{HEAD_VARIABLE} is not set, and {COUNT_VARIABLE} is {count}: name the first node's host"
            )
        if rank >= count:
            raise InvalidInputError(f"{RANK_VARIABLE} is {rank}, but there are {count} nodes, numbered from 0")
        return cls(count, rank, head)

    @property
    def leads(self) -> bool:
        """Whether this is the first one."""
        return self.rank == 0

    def name(self, rank: int) -> str:
        """Of a node, as people know it: the pods of an Indexed Job are named by their numbers."""
        host, _, _ = self.head.partition(".")
        return f"{host.removesuffix('-0')}-{rank}"


def _number(environment: Mapping[str, str], name: str, default: str) -> int:
    text = environment.get(name, default)
    if not text.isdecimal() or (name == COUNT_VARIABLE and int(text) < 1):
        raise InvalidInputError(f"{name} must be a whole number, not {text!r}")
    return int(text)


@contextlib.contextmanager
def leading(
    nodes: Nodes, settings: VerlSettings, secret: str, log: Path, seconds: float = JOIN_SECONDS
) -> Iterator[str]:
    """Ray's head on this node and everybody there, while the context lasts; gives the address.

    Args:
        nodes: the pods, and which of them this is.
        settings: of the training.
        secret: what the pods of this training know and others do not: Ray lets in who knows it.
        log: where Ray's own log goes.
        seconds: to wait for the others.

    Raises:
        EngineError: Ray did not start, or somebody did not come in time; the message names them.
    """
    os.environ.update(credentials(nodes, secret))
    with Family() as family, log.open("ab") as output:
        own = _own_address()
        address = f"{own}:{PORT}"
        process = _start(
            family, nodes, settings, ["--head", f"--port={PORT}", "--include-dashboard=false", "--no-monitor"], output
        )
        wait_for_all(nodes, lambda: _joined(address, process, log), seconds)
        _say(f"all {nodes.count} nodes have joined Ray at {address}")
        yield address


def follow(nodes: Nodes, settings: VerlSettings, secret: str, log: Path, seconds: float = JOIN_SECONDS) -> None:
    """Join the head, and return once it has ended; arguments as for :func:`leading`.

    Raises:
        EngineError: the head did not appear in time, or Ray ended on this node while the head went on.
    """
    address = _head_address(nodes, seconds)
    os.environ.update(credentials(nodes, secret))
    with Family() as family, log.open("ab") as output:
        process = _start(family, nodes, settings, [f"--address={address}:{PORT}"], output)
        _say(f"{nodes.name(nodes.rank)} joins Ray at {address}:{PORT}")
        silent = 0
        while silent < _GONE:
            silent = 0 if _answers(address) else silent + 1
            if silent == 0 and process.poll() is not None:
                raise EngineError(
                    f"Ray ended on {nodes.name(nodes.rank)} with exit code {process.returncode} before its head did{_tail(log)}"
                )
            time.sleep(_LOOK_SECONDS)
    _say(f"{nodes.name(0)} has ended, and with it {nodes.name(nodes.rank)}")


def wait_for_all(nodes: Nodes, joined: Callable[[], set[int]], seconds: float, look: float = _LOOK_SECONDS) -> None:
    """Return once every rank has joined.

    Raises:
        EngineError: some did not in time; the message names them.
    """
    until = time.monotonic() + seconds
    while missing := set(range(nodes.count)) - joined():
        if time.monotonic() >= until:
            who = ", ".join(nodes.name(rank) for rank in sorted(missing))
            raise EngineError(
                f"{len(missing)} of {nodes.count} nodes did not join Ray within {seconds:.0f} s: {who}; look at their pods "
                "(no room for them? a queue of Kueue's admits all at once), and whether a network policy keeps them apart"
            )
        time.sleep(look)


def credentials(nodes: Nodes, secret: str) -> dict[str, str]:
    """Of Ray's processes and of whoever talks to them: a token that all nodes come to by themselves."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": hashlib.sha256(f"{nodes.head} {secret}".encode()).hexdigest()}


def ranks(listed: list[dict[str, Any]]) -> set[int]:
    """The ranks that Ray's list of nodes holds."""
    found = set()
    for node in listed:
        names = [name.removeprefix(_PREFIX) for name in node.get("Resources", ()) if name.startswith(_PREFIX)]
        if node.get("Alive"):
            found |= {int(name) for name in names if name.isdecimal()}
    return found


def shared_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What of the driver's environment the processes on all nodes need; Ray brings it to them."""
    return {name: value for name, value in environment.items() if name.startswith(_SHARED)}


def _start(
    family: Family, nodes: Nodes, settings: VerlSettings, options: list[str], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    gpus = settings.gpus_per_node
    least, each = _SPARE_CPUS
    options = [
        *options,
        f"--node-ip-address={_own_address()}",
        f"--num-gpus={gpus}",
        f"--num-cpus={max(os.cpu_count() or 1, least + each * gpus)}",
        f'--resources={{"{_PREFIX}{nodes.rank}": 1}}',
        "--disable-usage-stats",
        "--block",
    ]
    room = int(_SHARE_OF_MEMORY * shutil.disk_usage("/dev/shm").free)  # noqa: S108 - where Ray's objects lie
    if room >= _LEAST_OBJECTS:
        options.append(f"--object-store-memory={room}")
    quiet = {
        "RAY_memory_monitor_refresh_ms": "0",
        "RAY_enable_worker_prestart": "0",
        "RAY_prestart_worker_first_driver": "0",
    }
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options]
    return family.start(command, cwd=Path.cwd(), environment={**os.environ, **quiet}, output=output)


def _joined(address: str, process: subprocess.Popen[bytes], log: Path) -> set[int]:
    if process.poll() is not None:
        raise EngineError(f"Ray's head ended with exit code {process.returncode} at its start{_tail(log)}")
    if not _answers(address.partition(":")[0]):
        return set()
    try:
        return ranks(_listed(address))
    except Exception:  # not ready yet; whoever waits has a bound
        return set()


def _listed(address: str) -> list[dict[str, Any]]:
    """Ray's nodes, asked without joining as a driver."""
    from ray._private.state import GlobalState
    from ray._raylet import GcsClientOptions

    state = GlobalState()
    state._initialize_global_state(GcsClientOptions.create(address, None, True, True))
    try:
        listed: list[dict[str, Any]] = state.node_table()
        return listed
    finally:
        state.disconnect()


def _head_address(nodes: Nodes, seconds: float) -> str:
    """Of the head, once it listens."""
    until = time.monotonic() + seconds
    problem = ""
    while time.monotonic() < until:
        try:
            address = socket.gethostbyname(nodes.head)
        except OSError as error:
            problem = f"its name is not known ({error})"
        else:
            if _answers(address):
                return address
            problem = f"nobody listens at {address}:{PORT}"
        time.sleep(_LOOK_SECONDS)
    raise EngineError(f"the head {nodes.name(0)} did not appear within {seconds:.0f} s: {problem}")


def _answers(host: str) -> bool:
    try:
        with socket.create_connection((host, PORT), timeout=2.0):
            return True
    except OSError:
        return False


def _say(text: str) -> None:
    """To whoever reads the log of the container."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _own_address() -> str:
    """Of this pod: the kubelet writes it beside the host name into /etc/hosts."""
    return socket.gethostbyname(socket.gethostname())


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f": {lines[-1][:300]}" if lines else ""
