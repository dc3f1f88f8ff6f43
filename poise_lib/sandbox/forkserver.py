"""A warm process that forks the supervisors of sandboxed children, so that none has to import PyTorch again.

::

    owner (poise run)  ──starts──►  fork server: imports, listens  ──forks──►  supervisor ──► worker
    any trusted process ──socket──►      │ launch, pipes                      (as in launcher)
                        ◄─────────── a connection lives as long as its child may

The server runs trusted code only, in the environment that a child has, and knows nothing but what it imported: what a
fork inherits is what a fresh interpreter would have made for itself.  The child locks itself down after the fork exactly
as it does after a start (:mod:`~poise_lib.sandbox.launcher`).

Nothing outlives its owner: the kernel kills the server with its owner and supervisors with the server, and the server
kills a child whose connection ends.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from poise_lib.errors import SandboxError
from poise_lib.sandbox import launcher, libc, syscalls
from poise_lib.sandbox.children import ENVIRONMENT, START_SECONDS, Child, Pipes, Starter, interpreter, spawn
from poise_lib.sandbox.launcher import EXIT_BROKEN, Launch
from poise_lib.sandbox.visible import visible_for

PRELOAD: Final = ("poise_lib.verification.child", "poise_lib.evaluation.nano.child")
"""The entry modules of this package: what children import."""
_MAX_LAUNCH_BYTES: Final = 64 * 1024
_TERMINATE, _KILL, _END, _STARTED = b"T", b"K", b"E", b"S"
_PIPES: Final = 3
_MAX_FOLDER: Final = 96
"""Characters; a socket's address has room for 107 bytes."""


@dataclass(frozen=True, slots=True)
class _Orders:
    """What the owner tells the server, as JSON in its only argument."""

    search: tuple[str, ...]
    preload: tuple[str, ...]
    listener: int
    owner: int


class ForkServer:
    """The owner's side: a context in which :attr:`address` is served.

    Starting returns at once; the first client waits for the imports.

    Args:
        preload: modules to import; entries of other modules work too, and import what they need by themselves.
    """

    def __init__(self, preload: Sequence[str] = PRELOAD) -> None:
        self._preload = tuple(preload)
        self._folder = tempfile.mkdtemp(prefix="poise-fork-")
        if len(self._folder) > _MAX_FOLDER:
            os.rmdir(self._folder)
            self._folder = tempfile.mkdtemp(prefix="poise-fork-", dir="/tmp")
        self.address = Path(self._folder) / "socket"

    def __enter__(self) -> Self:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
                listener.bind(os.fspath(self.address))
                listener.listen(64)
                orders = _Orders(
                    visible_for(__name__.partition(".")[0]).search, self._preload, listener.fileno(), os.getpid()
                )
                self._process = subprocess.Popen(
                    interpreter(__name__, json.dumps(asdict(orders))),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=ENVIRONMENT,
                    cwd="/",
                    start_new_session=True,  # Ctrl-C is for the owner
                    pass_fds=(listener.fileno(),),
                )
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise SandboxError(f"the sandbox's fork server could not be started: {error}") from error
        return self

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Forked:
    """A child of the fork server, as its client holds it."""

    connection: socket.socket

    def terminate(self) -> None:
        """As :class:`~poise_lib.sandbox.children.Child` says."""
        self._send(_TERMINATE)

    def kill(self) -> None:
        """As :class:`~poise_lib.sandbox.children.Child` says."""
        self._send(_KILL)

    def end(self) -> None:
        """As :class:`~poise_lib.sandbox.children.Child` says."""
        self._send(_END)
        with suppress(OSError):  # the server is gone, and its children with it
            self.connection.recv(1)
        self.connection.close()

    def _send(self, order: bytes) -> None:
        with suppress(OSError):
            self.connection.send(order)


def fork_at(address: Path) -> Starter:
    """A starter that asks the server at ``address``, and spawns a fresh interpreter where no server answers."""

    def start(launch: Launch, pipes: Pipes) -> Child:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.settimeout(START_SECONDS)  # the server may still be importing
        try:
            connection.connect(os.fspath(address))
            descriptors = [pipes.stdout, pipes.stderr, pipes.report]
            socket.send_fds(connection, [launch.to_json().encode()], descriptors)
            answer = connection.recv(1)
        except OSError:
            answer = b""
        if answer == _STARTED:
            return Forked(connection)
        connection.close()  # whatever the server has begun ends with it
        return spawn(launch, pipes)

    return start


def main(argument: str) -> None:
    """The server; called in a fresh interpreter with an empty environment."""
    orders = _Orders(**json.loads(argument))
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != orders.owner:
        sys.exit(EXIT_BROKEN)
    sys.path[:] = orders.search
    syscalls.load_library()
    for name in orders.preload:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that collecting in a child copies no page of what they share
    _Server(socket.socket(fileno=orders.listener)).serve()


@dataclass(slots=True)
class _Server:
    listener: socket.socket
    children: dict[socket.socket, int] = field(default_factory=dict)
    """Process ids by connection.  A child is waited for when its connection ends, so no id is ever another process's."""

    def serve(self) -> None:
        """For ever."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.listener, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self.listener:
                        connection, _ = self.listener.accept()
                        selector.register(connection, selectors.EVENT_READ)
                        continue
                    connection = key.fileobj  # type: ignore[assignment]
                    if not self._attend(connection):
                        selector.unregister(connection)
                        self._finish(connection)

    def _attend(self, connection: socket.socket) -> bool:
        """Serve one message; False when the connection has ended."""
        try:
            if connection not in self.children:
                return self._start(connection)
            order = connection.recv(1)
        except OSError:
            return False
        if order == _TERMINATE:
            os.kill(self.children[connection], signal.SIGTERM)
        elif order == _KILL:
            os.kill(self.children[connection], signal.SIGKILL)
        return order in (_TERMINATE, _KILL)

    def _start(self, connection: socket.socket) -> bool:
        message, descriptors, _, _ = socket.recv_fds(connection, _MAX_LAUNCH_BYTES, _PIPES)
        if len(descriptors) != _PIPES:
            for descriptor in descriptors:
                os.close(descriptor)
            return False
        server = os.getpid()
        child = os.fork()
        if child == 0:
            _become_supervisor(message, descriptors, server)
        for descriptor in descriptors:
            os.close(descriptor)
        self.children[connection] = child
        connection.send(_STARTED)
        return True

    def _finish(self, connection: socket.socket) -> None:
        child = self.children.pop(connection, None)
        if child is not None:
            for kill in (os.killpg, os.kill):  # it may not have come to lead its session yet
                with suppress(ProcessLookupError, PermissionError):
                    kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        connection.close()


def _become_supervisor(message: bytes, descriptors: Sequence[int], server: int) -> None:
    """In the fork: what a fresh interpreter would have been started with; never returns."""
    try:
        os.setsid()
        # Out of the way first: one of them may be another one's target.
        lifted = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _PIPES + 1) for descriptor in descriptors]
        for target, descriptor in enumerate(lifted, start=1):
            os.dup2(descriptor, target)
        os.closerange(_PIPES + 1, os.sysconf("SC_OPEN_MAX"))
        launch = replace(Launch(**json.loads(message)), report=_PIPES, parent=server)
        os.chdir(launch.workdir)
        launcher.main(launch.to_json())
    except BaseException:
        traceback.print_exc()
    os._exit(EXIT_BROKEN)
