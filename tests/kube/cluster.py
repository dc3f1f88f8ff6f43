"""A control plane: etcd and kube-apiserver, on request with kube-controller-manager and kube-scheduler.

Everything listens on free ports and lives under one state folder: keys, data, logs, process records, the
administrator's ``kubeconfig``.  :meth:`ControlPlane.stop` needs nothing but that folder, hence three ways to the same
end: leaving the ``with`` block, ``python -m tests.kube down``, and a guard.  The guard is a process that holds the
other end of a pipe; when the test process ends, in whatever way, the pipe closes and the guard stops what is left.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.kube import network
from tests.kube.assets import CONTROL_PLANE, CONTROLLERS, Assets, find
from tests.kube.client import ApiError, Client, namespaced
from tests.kube.network import Network
from tests.kube.pki import SERVER, Pki
from tests.kube.processes import Processes, free_port

SERVICE_RANGE: Final = "10.96.0.0/16"
START_SECONDS: Final = 60.0
ROOT: Final = Path(__file__).parents[2]
GUARD: Final = "guard"
"""Subcommand of ``python -m tests.kube`` that is the guard."""
ADMIN: Final = "admin"


class KubectlError(Exception):
    """kubectl failed; the message is what it wrote to stderr."""


class ControlPlane:
    """One cluster without nodes.

    Args:
        state: where it lives; its logs stay there. None means a temporary folder, which goes when the cluster stops,
            unless the ``with`` block was left by an exception.
        controllers: also start the controller manager and the scheduler, as :meth:`start_controllers` does later.
        reachable: make the network of a node, and listen there too; otherwise on the loopback address only.
        guarded: stop everything when this process ends, however it ends.
        assets: the binaries; found by the environment if None.
    """

    def __init__(
        self,
        state: Path | None = None,
        *,
        controllers: bool = False,
        reachable: bool = False,
        guarded: bool = True,
        assets: Assets | None = None,
    ) -> None:
        wanted = (*CONTROL_PLANE, *(CONTROLLERS if controllers else ()))
        self.assets = assets or find(wanted)
        self._temporary = state is None
        self.state = Path(tempfile.mkdtemp(prefix="poise-kube-")) if state is None else state.absolute()
        self.network: Network | None = None
        """The network of its node; there from the start on, if one was asked for."""
        self.port = free_port()
        self.processes = Processes(self.state)
        self.pki = Pki(self.state / "pki")
        self._etcd = ""
        self._controllers = controllers
        self._reachable = reachable
        self._guarded = guarded
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.state / "kubeconfig"

    @property
    def server(self) -> str:
        """URL of the API server."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def client(self) -> Client:
        """The administrator."""
        return Client("127.0.0.1", self.port, self.pki.ca, (self.pki.certificate(ADMIN), self.pki.key(ADMIN)))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(keep=kind is not None)

    def start(self) -> None:
        """Start, and wait until it serves.

        Raises:
            MissingError: a binary is missing.
            StartError: a part did not start; nothing is left running, and the logs are kept.
        """
        if self._guarded:
            self._guard = _start_guard(self.state, remove=self._temporary)
        try:
            if self._reachable:
                self.network = Network.create(self.state)
            self._certificates()
            self._start_etcd_and_server()
            if self._controllers:
                self.start_controllers()
        except BaseException:
            self.stop(keep=True)
            raise

    def start_controllers(self) -> None:
        """Start kube-controller-manager and kube-scheduler, if they do not run yet.

        Raises:
            MissingError: they are not among the assets.
        """
        controller_manager, scheduler = CONTROLLERS
        pods = ("--allocate-node-cidrs", "--cluster-cidr", self.network.pods) if self.network else ()
        secrets = ("--bind-address", "127.0.0.1", "--leader-elect=false")
        if not self.processes.alive(controller_manager):
            binary, config = (
                self.assets.binary(controller_manager),
                self.component(controller_manager, f"/CN=system:{controller_manager}"),
            )
            self.processes.start(controller_manager, [
                binary, "--kubeconfig", config, *secrets, "--secure-port", str(free_port()),
                "--use-service-account-credentials", "--service-account-private-key-file", str(self.pki.key("sa")),
                "--root-ca-file", str(self.pki.ca), "--service-cluster-ip-range", SERVICE_RANGE, *pods,
            ])  # fmt: skip
        if not self.processes.alive(scheduler):
            binary, config = self.assets.binary(scheduler), self.component(scheduler, f"/CN=system:{scheduler}")
            self.processes.start(
                scheduler, [binary, "--kubeconfig", config, *secrets, "--secure-port", str(free_port())]
            )

    def stop(self, *, keep: bool = False) -> None:
        """Stop everything, and remove all but the logs; of a temporary folder those too, unless they are to be kept."""
        stop(self.state, remove=self._temporary and not keep)
        if self._guard and self._guard.stdin:
            self._guard.stdin.close()
            self._guard.wait()
            self._guard = None

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl as the administrator; its standard output.

        Raises:
            KubectlError: it failed, unless ``check`` is off.
        """
        done = self.kubectl_result(*arguments, stdin=stdin)
        if check and done.returncode:
            raise KubectlError(done.stderr.strip() or done.stdout.strip())
        return done.stdout

    def kubectl_result(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator; exit code, output and errors."""
        command = [self.assets.binary("kubectl"), "--kubeconfig", str(self.kubeconfig), *arguments]
        environment = os.environ | {"KUBECACHEDIR": str(self.state / "kubectl-cache"), "KUBECONFIG": os.devnull}
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, env=environment, timeout=120
        )

    def create_namespace(self, name: str) -> str:
        """A namespace, with the service account ``default`` that a controller would make a moment later."""
        self.client.create("/api/v1/namespaces", {"metadata": {"name": name}})
        with contextlib.suppress(ApiError):  # the controller was first
            self.create_service_account(name, "default")
        return name

    def create_service_account(self, namespace: str, name: str) -> None:
        """A service account; it may do nothing yet."""
        self.client.create(namespaced("v1", namespace, "serviceaccounts"), {"metadata": {"name": name}})

    def token(self, namespace: str, service_account: str) -> str:
        """A token of a service account, good for an hour."""
        path = namespaced("v1", namespace, "serviceaccounts", service_account, "token")
        answer = self.client.create(
            path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        )
        token: str = answer["status"]["token"]
        return token

    def service_account(self, namespace: str, name: str) -> Client:
        """A client that is a service account."""
        return self.client.with_token(self.token(namespace, name))

    def kubeconfig_for(
        self, name: str, *, token: str | None = None, user: str | None = None, groups: tuple[str, ...] = (),
        namespace: str = "default",
    ) -> Path:  # fmt: skip
        """A kubeconfig file of somebody else: who owns the token, or whom the administrator impersonates.

        kubectl knows impersonation; the Python clients overlook it and would be the administrator: give them a token.
        """
        section: dict[str, Any]
        if token is not None:
            section = {"token": token}
        else:
            section = {**self.pki.user(ADMIN), "as": user, "as-groups": list(groups)}
        return self.pki.kubeconfig(
            self.state / "conf" / f"{name}.kubeconfig", self.server, section, namespace=namespace
        )

    def _certificates(self) -> None:
        (self.state / "conf").mkdir(exist_ok=True)
        self.pki.create()
        addresses = {"127.0.0.1", "10.96.0.1", *([self.network.outside] if self.network else ())}
        names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")
        alternatives = [*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in sorted(addresses))]
        self.pki.issue("apiserver", "/CN=kube-apiserver", SERVER, f"subjectAltName={','.join(alternatives)}")
        self.pki.issue("kubelet-client", "/O=system:masters/CN=apiserver-kubelet-client")
        self.pki.issue(ADMIN, "/O=system:masters/CN=admin")
        self.pki.kubeconfig(self.kubeconfig, self.server, self.pki.user(ADMIN))

    def component(self, name: str, subject: str) -> str:
        """The kubeconfig of a user with a certificate of its own."""
        self.pki.issue(name, subject)
        server = f"https://{self.network.outside}:{self.port}" if self.network else self.server
        return str(self.pki.kubeconfig(self.state / "conf" / name, server, self.pki.user(name)))

    def _start_etcd_and_server(self) -> None:
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self.processes.start("etcd", [
            self.assets.binary("etcd"), "--data-dir", str(self.state / "etcd"), "--unsafe-no-fsync", "--log-level", "warn",
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
        ])  # fmt: skip
        self._etcd = client
        self.start_server()

    def stop_server(self) -> None:
        """Stop the API server alone: an outage."""
        self.processes.stop("kube-apiserver")

    def start_server(self) -> None:
        """Start the API server, and wait until it serves.

        Raises:
            StartError: it does not.
        """
        pki = self.pki
        if self.network:
            listen: tuple[str, ...] = ("--bind-address", "0.0.0.0", "--advertise-address", self.network.outside)
        else:  # a loopback address can be nobody's endpoint: without a node the Service "kubernetes" has none
            listen = ("--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1")
            listen += ("--endpoint-reconciler-type", "none")
        self.processes.start("kube-apiserver", [
            self.assets.binary("kube-apiserver"), "--etcd-servers", self._etcd, "--secure-port", str(self.port),
            *listen,
            "--client-ca-file", str(pki.ca), "--cert-dir", str(self.state / "conf"),
            "--tls-cert-file", str(pki.certificate("apiserver")), "--tls-private-key-file", str(pki.key("apiserver")),
            "--service-account-issuer", "https://kubernetes.default.svc",
            "--service-account-key-file", str(pki.key("sa")), "--service-account-signing-key-file", str(pki.key("sa")),
            "--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction",
            "--allow-privileged=true", "--service-cluster-ip-range", SERVICE_RANGE,
            "--kubelet-client-certificate", str(pki.certificate("kubelet-client")),
            "--kubelet-client-key", str(pki.key("kubelet-client")), "--kubelet-preferred-address-types", "InternalIP",
        ])  # fmt: skip
        admin = self.client

        def ready() -> bool:
            try:
                return admin.text("GET", "/readyz") == "ok"
            except (ApiError, OSError):
                return False

        self.processes.wait_for("kube-apiserver", ready, seconds=START_SECONDS)


def stop(state: Path, *, remove: bool = False) -> None:
    """Stop the cluster of a state folder, whoever started it, and remove what it holds but for the logs, or all of it.

    It may be called on a cluster that is half up, half down, or gone.
    """
    if not (state / "run").is_dir():
        return
    processes = Processes(state)
    if (state / network.MARK).exists():  # there may be a node
        from tests.kube import node  # it needs this module

        node.stop(state)
    processes.stop(*CONTROLLERS)
    processes.stop("kube-apiserver")
    processes.stop("etcd")
    network.remove(state)
    for folder in ("etcd", "pki", "conf", "kubectl-cache"):
        shutil.rmtree(state / folder, ignore_errors=True)
    (state / "kubeconfig").unlink(missing_ok=True)
    if remove:
        shutil.rmtree(state, ignore_errors=True)


def _start_guard(state: Path, *, remove: bool) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.kube", GUARD, str(state), *(["--remove"] if remove else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=ROOT,
    )
