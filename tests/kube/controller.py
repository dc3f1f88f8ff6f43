"""The controller as a process of this machine, with the rights that the chart gives it, and none besides."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from tests.kube import chart
from tests.kube.assets import MissingError, unavailable
from tests.kube.cluster import ROOT, ControlPlane
from tests.kube.processes import free_port

READY_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.1
T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, seconds: float = 60.0) -> T:
    """Look until there is something to see.

    Raises:
        AssertionError: there never was.
    """
    limit = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < limit, f"never seen: {what}"
        time.sleep(POLL_SECONDS)
    return seen


@contextlib.contextmanager
def running(
    plane: ControlPlane, folder: Path, name: str = "one", namespaces: tuple[str, ...] = (), **settings: str
) -> Iterator[Controller]:
    """A :class:`Controller` for tests, which are skipped, or fail, where what it takes is missing."""
    try:
        with Controller(plane, folder, name, namespaces, **settings) as controller:
            yield controller
    except MissingError as reason:
        unavailable(reason)


class Controller:
    """One process of ``python -m controller``.

    Args:
        plane: the cluster it works on.
        folder: for its log.
        name: its identity for the lease.
        namespaces: what it watches; everything if empty.
        settings: more variables, without their prefix.
    """

    def __init__(
        self, plane: ControlPlane, folder: Path, name: str = "one", namespaces: tuple[str, ...] = (), **settings: str
    ) -> None:
        token = chart.grant(plane, plane.client, {"namespaces": list(namespaces)})
        self.port = free_port()
        self.log = folder / f"{name}.log"
        self._environment = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(plane.kubeconfig_for(f"controller-{name}", token=token)),
            "POISE_WORKER_IMAGE": "localhost/poise-worker:test",
            "POISE_NAMESPACES": ",".join(namespaces),
            "POISE_ARTIFACTS_STORAGE_CLASS": "",
            "POISE_LEASE_NAMESPACE": chart.NAMESPACE,
            "POISE_LEASE_NAME": chart.ACCOUNT,
            "POISE_IDENTITY": name,
            "POISE_HEALTH_PORT": str(self.port),
            "POISE_LOG_LEVEL": "debug",
            **{f"POISE_{key}": value for key, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        try:
            eventually(self.ready, "a controller that is ready", READY_SECONDS)
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}\n{self.log.read_text(encoding='utf-8')[-4000:]}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start, and do not wait."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "controller"], env=self._environment, stdout=log, stderr=log, cwd=ROOT
            )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end; the exit status."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        return self._process.wait(timeout=60)

    def kill(self) -> None:
        """End it at once, wherever it is."""
        self.stop(signal.SIGKILL)

    def page(self, path: str) -> str:
        """A page of its HTTP server.  Raises OSError (and HTTPError) as urllib does."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
        return text

    def ready(self) -> bool:
        """Whether it holds the lease and works."""
        try:
            return bool(self.page("/readyz"))
        except (OSError, urllib.error.URLError):
            return False

    def records(self) -> list[dict[str, Any]]:
        """Its log so far; a line that is no JSON is a record with a text."""
        found = []
        for line in self.log.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"event": line, "level": "unstructured"})
        return found

    def complaints(self) -> list[dict[str, Any]]:
        """What it logged as a warning or worse, but for requests that kopf repeated: a young API server asks for that."""
        bad = [record for record in self.records() if record.get("level") not in ("debug", "info")]
        return [record for record in bad if not str(record["event"]).startswith("Request attempt #")]
