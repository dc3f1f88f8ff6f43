"""``make cluster-demo``: a cluster, the images, the chart, the quickstart search, and a kubeconfig for the user.

Two ways to a cluster: the processes of :mod:`tests.kube`, with root, Debian's container packages and the binaries in
KUBEBUILDER_ASSETS; or kind and Docker, where those are installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
import yaml

from tests.kube import chart
from tests.kube import node as nodes
from tests.kube.assets import MissingError
from tests.kube.cluster import ROOT, ControlPlane
from tests.kube.project_images import CONTROLLER, DOCKERFILES, TAG, VALUES, WORKER, build_images

NAMESPACE: Final = "demo"
SEARCH: Final = "quickstart"
DEADLINE: Final = "30m"
Kubectl = Callable[..., str]


def demo(state: Path) -> None:
    """Run it.

    Raises:
        MissingError: neither way is open; the message is one line.
    """
    try:
        nodes.require()
    except MissingError as reason:
        if not all(map(shutil.which, ("kind", "docker", "helm", "kubectl"))):
            raise MissingError(
                f"no cluster can be started: {reason}; nor are kind, docker, helm and kubectl here"
            ) from None
        kubeconfig = _kind(state)
        down = "kind delete cluster --name poise"
    else:
        kubeconfig = _processes(state)
        down = f"python -m tests.kube down --state {state}"
    _say(f"the cluster is yours: export KUBECONFIG={kubeconfig}; it ends with: {down}")


def _processes(state: Path) -> Path:
    plane = ControlPlane(state, controllers=True, reachable=True, guarded=False)
    _say("starting a control plane and a node")
    plane.start()
    node = nodes.Node(plane)
    node.start()
    _say("building the images (minutes the first time)")
    with tempfile.TemporaryDirectory(prefix="poise-images-") as folder:
        for archive in build_images(Path(folder)):
            _say(f"loading {archive.name}")
            node.load(archive)
    _say("installing the chart")
    chart.install(plane, {**VALUES, "artifacts": {"storageClass": ""}})
    volume = chart.artifacts_volume(NAMESPACE, state / "artifacts")
    plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(volume))
    _follow(plane.kubectl)
    return plane.kubeconfig


def _kind(state: Path) -> Path:
    state.mkdir(parents=True, exist_ok=True)
    kubeconfig = state / "kubeconfig"

    def run(*command: str, stdin: str | None = None) -> str:
        environment = os.environ | {"KUBECONFIG": str(kubeconfig)}
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise click.ClickException(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-2000:]}")
        return done.stdout

    def kubectl(*arguments: str, stdin: str | None = None) -> str:
        return run("kubectl", *arguments, stdin=stdin)

    _say("starting a kind cluster")
    run("kind", "create", "cluster", "--name", "poise", "--wait", "120s")
    _say("building the images (minutes the first time)")
    for image in (CONTROLLER, WORKER):
        run("docker", "build", "-t", f"{image}:{TAG}", "-f", str(DOCKERFILES[image]), str(ROOT))
        run("kind", "load", "docker-image", "--name", "poise", f"{image}:{TAG}")
    _say("installing the chart")
    options = ("--namespace", chart.NAMESPACE, "--create-namespace", "--wait", "--values", "-")
    run("helm", "upgrade", "--install", chart.RELEASE, str(chart.CHART), *options, stdin=yaml.safe_dump(VALUES))
    _follow(kubectl)
    return kubeconfig


def _follow(kubectl: Kubectl) -> None:
    """Apply the quickstart and show how it goes, until it has ended."""
    kubectl("create", "namespace", NAMESPACE)
    search = yaml.safe_load((ROOT / "examples" / "quickstart.yaml").read_text(encoding="utf-8"))
    # A pod takes longer to start than a process, and the deadline is one for a laptop.
    search["spec"]["budget"]["deadline"] = DEADLINE
    _say(f"kubectl apply -f examples/quickstart.yaml (its deadline set to {DEADLINE})")
    kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=yaml.safe_dump(search))
    _say(f"kubectl get searches -n {NAMESPACE} -w")
    shown, phase = "", ""
    while phase not in ("Complete", "Failed"):
        time.sleep(2)
        lines = kubectl("get", "searches", "-n", NAMESPACE).splitlines()
        status = yaml.safe_load(kubectl("get", "search", SEARCH, "-n", NAMESPACE, "-o", "yaml")).get("status", {})
        phase = status.get("phase", "")
        line = lines[-1].rsplit(maxsplit=1)[0]  # without the age, which changes all the time
        if line != shown:
            click.echo(lines[-1] if shown else "\n".join(lines))
            shown = line
    click.echo(kubectl("get", "candidates", "-n", NAMESPACE, "-l", f"poise.dev/search={SEARCH}"))
    click.echo(status.get("message", ""))


def _say(text: str) -> None:
    click.secho(f"== {text}", bold=True)
