"""A node on this machine that really runs pods: containerd, runc, a bridge, kubelet, kube-proxy, and DNS.

Pods have limits, seccomp, read-only roots, service accounts, logs, as anywhere; nothing enforces a NetworkPolicy.  It
needs root and programs that Debian packages; :func:`require` says in one line what is missing.

Its network is apart from the machine's (:mod:`tests.kube.network`) and so are its control groups; several nodes, each of
its own control plane, may run side by side.  :func:`stop` takes away all that was added: containers, mounts, network,
control groups.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import yaml

from tests.kube import network
from tests.kube.assets import CONTROL_PLANE, CONTROLLERS, NODE, Assets, MissingError, find, tool
from tests.kube.client import ApiError, Document, namespaced
from tests.kube.cluster import ControlPlane
from tests.kube.images import PAUSE, busybox_archive
from tests.kube.processes import POLL_SECONDS, Processes

NAME: Final = "node-1"
DNS_ADDRESS: Final = "10.96.0.10"
DNS_PORT: Final = 5353
PACKAGES: Final = "containerd runc containernetworking-plugins iptables busybox-static iproute2 util-linux"
PROGRAMS: Final = ("containerd", "ctr", "runc", "iptables", "busybox", *network.PROGRAMS)
PLUGIN_FOLDERS: Final = ("/opt/cni/bin", "/usr/lib/cni")
"""Where CNI plugins are usually installed; ``CNI_PATH`` comes first."""
READY_SECONDS: Final = 90.0
POD_SECONDS: Final = 60.0
KILL_SECONDS: Final = 10.0
LOG_SECONDS: Final = 20.0
NO_FILE: Final = "failed to try resolving symlinks"
"""What the kubelet writes in place of a log whose file is not there yet, or not any more."""
PARTS: Final = ("kubelet", "kube-proxy", "coredns", "containerd")


def require() -> Assets:
    """The assets, if everything is there that a node needs.

    Raises:
        MissingError: something is not.
    """
    assets = find((*CONTROL_PLANE, *CONTROLLERS, *NODE))
    if os.geteuid() != 0:
        raise MissingError("a node needs root")
    tool(*PROGRAMS, packages=PACKAGES)
    _plugins()
    return assets


class Node:
    """The node of a control plane, which has to be ``reachable``."""

    def __init__(self, plane: ControlPlane) -> None:
        require()
        self.plane = plane
        self._conf = plane.state / "conf"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stop(self.plane.state)

    @property
    def _network(self) -> network.Network:
        if self.plane.network is None:
            raise ValueError("a node cannot reach this API server: ControlPlane(reachable=True)")
        return self.plane.network

    @property
    def socket(self) -> Path:
        """containerd's."""
        return _socket(self.plane.state)

    def start(self) -> None:
        """Start, and wait until the node takes pods.

        Raises:
            MissingError: another node runs on this machine.
            StartError: a part did not start; the control plane still runs.
        """
        try:
            self._start_containerd()
            self._load_pause_image()
            self.plane.start_controllers()
            self._start_kubelet()
            self._start_proxy()
            if self.plane.assets.has("coredns"):
                self._start_dns()
            self.plane.processes.wait_for("kubelet", self._ready, seconds=READY_SECONDS)
        except BaseException:
            stop(self.plane.state)
            raise

    def load(self, archive: Path) -> list[str]:
        """Import an image archive (docker or OCI layout); the names of the images that it brought."""
        before = set(self.images())
        done = self._ctr("images", "import", str(archive))
        named = [word for word in done.split() if word.startswith(("localhost/", "docker.io/")) and ":" in word]
        return sorted(set(self.images()) - before) or named

    def images(self) -> list[str]:
        """Names of the images on the node."""
        return [name for name in self._ctr("images", "list", "-q").split() if "@" not in name and "sha256:" not in name]

    def logs(self, namespace: str, pod: str, container: str = "") -> str:
        """What a pod wrote."""
        query = {"container": container} if container else {}
        limit = time.monotonic() + LOG_SECONDS
        while True:
            text = self.plane.client.text("GET", namespaced("v1", namespace, "pods", pod, "log"), **query)
            if not text.startswith(NO_FILE) or time.monotonic() > limit:
                return text
            time.sleep(POLL_SECONDS)

    def wait_for_pod(
        self, namespace: str, name: str, *, phases: tuple[str, ...] = ("Succeeded", "Failed"),
        seconds: float = POD_SECONDS,
    ) -> Document:  # fmt: skip
        """The pod, once it is in one of these phases.

        Raises:
            TimeoutError: it does not come so far; the message has its state and its events.
        """
        limit = time.monotonic() + seconds
        while True:
            pod = self.plane.client.get(namespaced("v1", namespace, "pods", name))
            if pod["status"].get("phase") in phases:
                return pod
            if time.monotonic() > limit:
                events = self.plane.client.get(namespaced("v1", namespace, "events"))["items"]
                said = [event["message"] for event in events if event["involvedObject"]["name"] == name]
                raise TimeoutError(f"{name}: {json.dumps(pod['status'])}\n" + "\n".join(said))
            time.sleep(POLL_SECONDS)

    def add_resource(self, resource: str, count: int) -> None:
        """Have the scheduler believe in ``count`` pieces of an extended resource, such as ``nvidia.com/gpu``."""
        capacity = {"status": {"capacity": {resource: str(count)}}}
        self.plane.client.patch(f"/api/v1/nodes/{NAME}/status", capacity)

    def stop_kubelet(self) -> None:
        """Stop the kubelet alone, as if the node had died; what its containers do, nobody learns."""
        self.plane.processes.stop("kubelet")

    def start_kubelet(self) -> None:
        """Bring the node back, and wait until it takes pods.

        Raises:
            StartError: it does not come back.
        """
        self._start_kubelet()
        self.plane.processes.wait_for("kubelet", self._ready, seconds=READY_SECONDS)

    def _ready(self) -> bool:
        try:
            node = self.plane.client.get(f"/api/v1/nodes/{NAME}")
        except (ApiError, OSError):
            return False
        conditions = {condition["type"]: condition["status"] for condition in node["status"].get("conditions", ())}
        return conditions.get("Ready") == "True" and not node["spec"].get("taints")

    def _ctr(self, *arguments: str) -> str:
        return _ctr(self.plane.state, *arguments)

    def _start_containerd(self) -> None:
        state = self.plane.state
        plugins = {
            "cniVersion": "1.0.0",
            "name": "poise",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "pods0",
                    "isGateway": True,
                    "ipMasq": True,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": str(state / "cni-ipam"),
                        "ranges": [[{"subnet": self._network.pods}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }
        (state / "cni").mkdir(exist_ok=True)
        (state / "cni" / "10-poise.conflist").write_text(json.dumps(plugins), encoding="utf-8")
        config = self._conf / "containerd.toml"
        config.write_text(_CONTAINERD.format(state=state, pause=PAUSE, plugins=_plugins()), encoding="utf-8")
        self._run("containerd", "containerd", "--config", str(config), "--log-level", "warn")

        def answers() -> bool:
            with contextlib.suppress(subprocess.CalledProcessError):
                self._ctr("version")
                return True
            return False

        self.plane.processes.wait_for("containerd", answers, seconds=READY_SECONDS)

    def _run(self, name: str, *command: str) -> None:
        """Start a part of the node in its network."""
        self.plane.processes.start(name, self._network.command(*command))

    def _load_pause_image(self) -> None:
        archive = self.plane.state / "pause.tar"
        self.load(busybox_archive(archive, tag=PAUSE, command=("/bin/busybox", "sleep", "2147483647")))
        archive.unlink()

    def _start_kubelet(self) -> None:
        state, plane = self.plane.state, self.plane
        resolver = self._conf / "resolv.conf"
        resolver.write_text("nameserver 127.0.0.1\n", encoding="ascii")
        config = self._write("kubelet.yaml", {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(plane.pki.ca)},
            },
            "authorization": {"mode": "Webhook"},
            "address": self._network.inside,
            "healthzPort": 0,
            "cgroupRoot": f"/{_make_control_groups(state)}",
            "cgroupDriver": "cgroupfs",
            "podLogsDir": str(state / "pod-logs"),  # not the machine's: another kubelet would take what it does not know for garbage
            "failSwapOn": False,
            "failCgroupV1": False,
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "resolvConf": str(resolver),
            "clusterDNS": [DNS_ADDRESS],
            "clusterDomain": "cluster.local",
            "nodeStatusReportFrequency": "10s",
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        })  # fmt: skip
        kubeconfig = plane.component("node", f"/O=system:nodes/CN=system:node:{NAME}")
        self._run("kubelet", plane.assets.binary("kubelet"), "--config", str(config), "--kubeconfig", kubeconfig,
                  "--root-dir", str(state / "kubelet"), "--hostname-override", NAME,
                  "--node-ip", self._network.inside)  # fmt: skip

    def _start_proxy(self) -> None:
        kubeconfig = self.plane.component("kube-proxy", "/CN=system:kube-proxy")
        config = self._write("kube-proxy.yaml", {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": kubeconfig},
            "mode": "iptables",
            "clusterCIDR": self._network.pods,
            "hostnameOverride": NAME,
            "conntrack": {"maxPerCore": 0},
        })  # fmt: skip
        self._run("kube-proxy", self.plane.assets.binary("kube-proxy"), "--config", str(config))

    def _start_dns(self) -> None:
        """CoreDNS as a process of the machine, behind the usual service address."""
        address, client = self._network.inside, self.plane.client
        kubeconfig = self.plane.component("coredns", "/O=system:masters/CN=coredns")
        corefile = self._conf / "Corefile"
        text = _COREFILE.format(port=DNS_PORT, address=address, kubeconfig=kubeconfig)
        corefile.write_text(text, encoding="utf-8")
        self._run("coredns", self.plane.assets.binary("coredns"), "-conf", str(corefile))
        protocols = {"dns": "UDP", "dns-tcp": "TCP"}
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {
                "clusterIP": DNS_ADDRESS,
                "ports": [
                    {"name": name, "port": 53, "targetPort": DNS_PORT, "protocol": protocol}
                    for name, protocol in protocols.items()
                ],
            },
        }
        endpoints = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kube-dns",
                "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "kube-dns"},
            },
            "addressType": "IPv4",
            "ports": [{"name": name, "port": DNS_PORT, "protocol": protocol} for name, protocol in protocols.items()],
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        }
        client.apply(namespaced("v1", "kube-system", "services", "kube-dns"), service)
        client.apply(namespaced("discovery.k8s.io/v1", "kube-system", "endpointslices", "kube-dns"), endpoints)

    def _write(self, name: str, document: Document) -> Path:
        file = self._conf / name
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
        return file


def stop(state: Path) -> None:
    """Stop the node of a state folder, whoever started it, and take away what it has added to the machine.

    Containers are killed, not asked: what would undo a pod's network goes with the node's network anyway.
    """
    processes = Processes(state)
    if not any(name in processes.names() for name in PARTS):
        return
    processes.stop(*(name for name in PARTS if name != "containerd"))
    _kill_containers(state)
    processes.stop("containerd")
    _kill_shims(state)
    _unmount(state)
    _remove_control_groups(state)
    for folder in ("containerd", "kubelet", "cni", "cni-ipam"):
        shutil.rmtree(state / folder, ignore_errors=True)


def _socket(state: Path) -> Path:
    return state / "containerd" / "containerd.sock"


def _ctr(state: Path, *arguments: str) -> str:
    command = ["ctr", "--address", str(_socket(state)), "--namespace", "k8s.io", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


def _kill_containers(state: Path) -> None:
    """Kill whatever is in the node's control groups, until nothing is."""
    limit = time.monotonic() + KILL_SECONDS
    while (found := _members(state)) and time.monotonic() < limit:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def _members(state: Path) -> set[int]:
    """The processes in the node's control groups; a group may vanish while it is looked at."""
    found = set[int]()
    for group in _control_groups(state):
        for folder, _, _ in os.walk(group):
            with contextlib.suppress(OSError):
                found |= set(map(int, Path(folder, "cgroup.procs").read_text(encoding="ascii").split()))
    return found


def _kill_shims(state: Path) -> None:
    """A shim outlives containerd by design; those of this containerd name its socket."""
    socket = str(_socket(state)).encode()
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = command.read_bytes().split(b"\0")
            if b"containerd-shim" in words[0] and socket in words:
                os.kill(int(command.parent.name), signal.SIGKILL)


def _unmount(state: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    for mount in sorted((mount for mount in mounts if mount.startswith(f"{state}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)


def _plugins() -> Path:
    """The folder with the CNI plugins."""
    folders = [*filter(None, os.environ.get("CNI_PATH", "").split(os.pathsep)), *PLUGIN_FOLDERS]
    for folder in map(Path, folders):
        if all((folder / name).exists() for name in ("bridge", "host-local", "portmap", "loopback")):
            return folder
    raise MissingError(f"CNI plugins: not in {', '.join(folders)} (Debian: {PACKAGES})")


def _control_groups(state: Path) -> list[Path]:
    """The node's own group in the one hierarchy of cgroup v2, or in each of v1."""
    root, name = Path("/sys/fs/cgroup"), f"poise-{network.identity_of(state)}"
    roots = [root] if (root / "cgroup.controllers").exists() else [path for path in root.iterdir() if path.is_dir()]
    return [folder / name for folder in roots]


def _make_control_groups(state: Path) -> str:
    """A root for the kubelet's groups, because a kubelet removes what it finds below its root and does not know."""
    groups = _control_groups(state)
    for group in groups:
        with contextlib.suppress(OSError):
            group.mkdir(exist_ok=True)
    return groups[0].name


def _remove_control_groups(state: Path) -> None:
    for group in _control_groups(state):
        for folder, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()


_CONTAINERD: Final = """\
version = 2
root = "{state}/containerd/root"
state = "{state}/containerd/state"
[grpc]
  address = "{state}/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  netns_mounts_under_state_dir = true
  restrict_oom_score_adj = true  # a machine that withholds CAP_SYS_RESOURCE
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{state}/cni"
"""
_COREFILE: Final = """\
.:{port} {{
  bind {address}
  errors
  kubernetes cluster.local in-addr.arpa ip6.arpa {{
    kubeconfig {kubeconfig}
    pods insecure
  }}
  cache 10
}}
"""
