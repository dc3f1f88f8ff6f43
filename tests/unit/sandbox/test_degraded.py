"""What holds where the kernel or a container withholds layers: less, said plainly, and still no way out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from poise_lib.sandbox import model

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="takes capabilities away from root")

PARENT = """
import json, os, sys, tempfile
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from poise_lib.sandbox import Limits, libc, run
PR_CAPBSET_DROP = 24
for capability in range(41):
    if str(capability) not in sys.argv[1].split(","):
        libc.prctl(PR_CAPBSET_DROP, capability)
for entry in sys.argv[2].split(","):
    with tempfile.TemporaryDirectory() as folder:
        result = run("sandbox_entries:" + entry, Path(folder), Limits(20, 60, 1 << 28, 1 << 20))
        print(json.dumps([result.reason, result.in_force]))
"""
SETFCAP = "31"


def _as_root_with(capabilities: str, entries: list[str]) -> list[tuple[str, set[str]]]:
    folders = [str(Path(__file__).parent / "entries"), str(Path(__file__).parents[3])]
    command = [sys.executable, "-c", PARENT, capabilities, ",".join(entries), *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [(reason, set(layers)) for reason, layers in map(json.loads, done.stdout.splitlines())]


ATTEMPTS = ["returns", "reads_passwd", "writes_into_the_library", "forks", "opens_a_socket"]


def test_root_without_capabilities_as_in_a_strict_container():
    (fine, layers), *refused = _as_root_with("", ATTEMPTS)
    assert fine == ""
    assert not layers & {model.USER_NAMESPACE, model.MOUNT_NAMESPACE, model.PRIVATE_ROOT, model.UNPRIVILEGED_USER}
    assert layers >= {model.NO_CAPABILITIES, model.RESOURCE_LIMITS}
    if not layers >= {model.LANDLOCK, model.SECCOMP}:
        pytest.skip("this kernel has neither namespaces for us nor Landlock and seccomp")
    assert all("refused" in reason for reason, _ in refused), refused


def test_namespaces_through_a_user_namespace():
    (fine, layers), *refused = _as_root_with(SETFCAP, ATTEMPTS)
    assert fine == ""
    if model.USER_NAMESPACE not in layers:
        pytest.skip("no user namespaces here")
    assert layers >= {model.PRIVATE_ROOT, model.NETWORK_NAMESPACE, model.PID_NAMESPACE, model.NO_CAPABILITIES}
    assert all(reason for reason, _ in refused)
