"""The project's own images, built from its Dockerfiles by buildah, with the packages that this machine's pip would take."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.kube.cluster import ROOT
from tests.kube.images import base_image, build

TAG: Final = "test"
CONTROLLER: Final = "localhost/poise-controller"
WORKER: Final = "localhost/poise-worker"
TRAINER: Final = "localhost/poise-trainer"
"""Its CPU variant."""
VALUES: Final[dict[str, Any]] = {
    "images": {
        "controller": {"repository": CONTROLLER, "tag": TAG},
        "worker": {"repository": WORKER, "tag": TAG},
        "trainer": {"repository": TRAINER, "tag": TAG},
        "pullPolicy": "Never",
    }
}
"""Of the chart, for a cluster that these images were loaded into."""
DOCKERFILES: Final = {
    CONTROLLER: ROOT / "Dockerfile",
    WORKER: ROOT / "images" / "worker" / "Dockerfile",
    TRAINER: ROOT / "images" / "trainer" / "Dockerfile",
}
_SOURCES: Final = ("--find-links", "--index-url", "--extra-index-url", "--cert")


@dataclass(frozen=True)
class PipSources:
    """Where pip finds packages on this machine."""

    options: str
    """For the command line of pip."""
    mounts: dict[Path, str]
    """Folders and files of this machine that the options speak of, each seen at the same place in a build."""


def pip_sources() -> PipSources:
    """What this machine's pip is configured to take packages from; nothing where it is PyPI alone."""
    # An environment that the system's pip fills has none of its own.
    runs = (
        subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
        for python in (sys.executable, "python3")
    )
    listed = next((run.stdout for run in runs if run.returncode == 0), "")
    options: dict[str, None] = {}
    mounts: dict[Path, str] = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        option = "--" + key.rpartition(".")[2]
        if option not in _SOURCES:
            continue
        for word in value.strip("'\"").split():
            options[f"{option} {word}"] = None
            # An index in a folder may link to files beside it.
            path = Path(urlsplit(word).path).parent if word.startswith("file:") else Path(word)
            if path.is_absolute() and path.exists():
                mounts[path] = str(path)
    return PipSources(" ".join(options), mounts)


def build_images(folder: Path, images: Sequence[str] = (CONTROLLER, WORKER)) -> list[Path]:
    """Images as docker archives in ``folder``; the base image is made where it is not there.

    Raises:
        MissingError: buildah or debootstrap is missing, or this is not root.
        BuildError: a build failed.
    """
    base_image()
    sources = pip_sources()
    return [
        build(
            ROOT,
            f"{image}:{TAG}",
            folder / f"{image.rpartition('/')[2]}.tar",
            dockerfile=DOCKERFILES[image],
            mounts=sources.mounts,
            arguments={"PIP_EXTRA": sources.options, **({"VARIANT": "cpu"} if image == TRAINER else {})},
        )
        for image in images
    ]
