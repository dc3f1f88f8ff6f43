"""A whole search with the real engine, as small as it can be, and a reference archive to compare others with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from poise_lib.local.state import StateDir
from poise_lib.resources import Search

MANIFEST = """\
apiVersion: poise.dev/v1alpha1
kind: Search
metadata:
  name: tiny
spec:
  budget: {candidates: 4, concurrent: 4}
  strategy: {parentsPerRound: 2, proposalsPerParent: 3}
  verification: {trainingProbe: false}
  evaluation:
    fidelities:
      full: {steps: 2, promptsPerStep: 8, groupSize: 4}
    confirmation: {top: 1, seeds: 2}
  seed: 3
"""


def command(state: Path, manifest: Path, *options: str) -> list[str]:
    """The command line of ``poise run`` for a state directory."""
    return [sys.executable, "-m", "poise_lib.cli.main", "run", str(manifest), "--state", str(state), *options]


def start(state: Path, manifest: Path, *options: str) -> subprocess.Popen[str]:
    """Start ``poise run`` in a session of its own."""
    return subprocess.Popen(
        command(state, manifest, *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(state: Path, manifest: Path, *options: str) -> Search:
    """Run to the end; returns the search as the directory holds it."""
    process = start(state, manifest, *options)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    search = StateDir(state).search()
    assert search is not None
    return search


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("manifest") / "tiny.yaml"
    path.write_text(MANIFEST)
    return path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, manifest: Path) -> Path:
    """The state directory of an undisturbed run with two workers."""
    state = tmp_path_factory.mktemp("finished") / "state"
    finish(state, manifest, "--workers", "2")
    return state
