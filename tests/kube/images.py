"""Images for the node: a static busybox made without any tool, and Dockerfiles built by buildah.

No registry is asked for anything.  :func:`base_image` makes a local stand-in for ``python:3.11-slim`` from Debian's
packages, where the real image is not in buildah's storage; an ordinary Dockerfile then builds unchanged.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.kube.assets import MissingError, tool

PAUSE: Final = "localhost/pause:1"
BUSYBOX: Final = "localhost/busybox:1"
PYTHON: Final = "docker.io/library/python:3.11-slim"

_APPLETS: Final = ("sh", "cat", "chmod", "echo", "env", "false", "httpd", "id", "ls", "mkdir", "nslookup", "sleep", "touch", "true",
                   "wget")  # fmt: skip


class BuildError(Exception):
    """A build failed; the message ends with what the tool wrote."""


def busybox_archive(archive: Path, *, tag: str = BUSYBOX, command: Sequence[str] = ("/bin/sh",)) -> Path:
    """A docker archive with one static busybox and its most useful applets.

    Raises:
        MissingError: there is no busybox, or it is not static.
    """
    tool("busybox", packages="busybox-static")
    program = Path(str(shutil.which("busybox"))).read_bytes()
    if b"/ld-linux" in program[:4096]:  # the dynamic loader's name stands right behind the headers
        raise MissingError("busybox is not static (Debian: busybox-static)")
    files = {"bin/busybox": program}
    links = {f"bin/{applet}": "busybox" for applet in _APPLETS}
    return write_archive(archive, tag, files, links, {"Entrypoint": list(command), "Env": ["PATH=/bin"]})


def write_archive(
    archive: Path, tag: str, files: Mapping[str, bytes], links: Mapping[str, str], config: Mapping[str, Any]
) -> Path:
    """A docker archive of one layer: files (all executable), symbolic links, and the image's ``config``."""
    layer = _tar(files, links)
    digest = hashlib.sha256(layer).hexdigest()
    image = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]
    parts = {
        "config.json": json.dumps(image).encode(),
        "layer.tar": layer,
        "manifest.json": json.dumps(manifest).encode(),
    }
    archive.write_bytes(_tar(parts, {}))
    return archive


def build(
    context: Path,
    tag: str,
    archive: Path,
    *,
    dockerfile: Path | None = None,
    mounts: Mapping[Path, str] | None = None,
    arguments: Mapping[str, str] | None = None,
) -> Path:
    """Build a Dockerfile, and write the image as a docker archive that :meth:`tests.kube.node.Node.load` takes.

    Args:
        context: the build context.
        tag: name of the image, such as ``localhost/poise:test``.
        archive: where to write it.
        dockerfile: the Dockerfile, if it is not the context's own.
        mounts: folders or files of this machine that the build's commands see read-only, such as a folder of wheels.
            The machine's certificates are always there: pip needs them.
        arguments: build arguments.

    Raises:
        MissingError: buildah is missing, or this is not root.
        BuildError: the build failed.
    """
    _need_buildah()
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    seen = {**({certificates: str(certificates)} if certificates.exists() else {}), **(mounts or {})}
    options = [part for here, there in seen.items() for part in ("--volume", f"{here}:{there}:ro")]
    options += [part for name, value in (arguments or {}).items() for part in ("--build-arg", f"{name}={value}")]
    if dockerfile:
        options += ["--file", str(dockerfile)]
    with _one_at_a_time():
        _run("buildah", "bud", "--pull-never", "--isolation", "chroot", "--network", "host", "--layers", *options,
             "--tag", tag, str(context))  # fmt: skip
    unfinished = archive.with_name(f".{os.getpid()}-{archive.name}")  # another run may be reading the old one
    try:
        _run("buildah", "push", "--quiet", tag, f"docker-archive:{unfinished}:{tag}")
        unfinished.replace(archive)
    finally:
        unfinished.unlink(missing_ok=True)
    return archive


def remove(tag: str) -> None:
    """Remove an image from buildah's storage, if it is there."""
    subprocess.run(["buildah", "rmi", tag], capture_output=True, check=False)


def base_image(tag: str = PYTHON, *, suite: str = "bookworm") -> None:
    """See that buildah has a Python image of this name; a stand-in is made of Debian's packages if it has none.

    In the stand-in Python is Debian's, at ``/usr/bin/python3``; the real image has it under ``/usr/local``.

    Raises:
        MissingError: buildah or debootstrap is missing, or this is not root.
        BuildError: it could not be made.
    """
    _need_buildah()
    with _one_at_a_time():
        _make_base_image(tag, suite)


def _make_base_image(tag: str, suite: str) -> None:
    if subprocess.run(["buildah", "inspect", "--type", "image", tag], capture_output=True, check=False).returncode == 0:
        return
    tool("debootstrap", packages="debootstrap")
    with tempfile.TemporaryDirectory(prefix="poise-base-") as folder:
        root = Path(folder) / "root"
        packages = "python3,python3-venv,python3-pip,ca-certificates"
        _run("debootstrap", "--variant=minbase", f"--include={packages}", suite, str(root))
        for waste in (root / "var/cache/apt/archives", root / "var/lib/apt/lists"):
            for entry in waste.iterdir():
                if entry.is_file():
                    entry.unlink()
        for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            marker.unlink()
        (root / "usr/bin/python").symlink_to("python3")
        container = _run("buildah", "from", "scratch").strip()
        _run("buildah", "add", "--quiet", container, str(root), "/")
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        _run("buildah", "config", "--env", path, "--cmd", "python3", container)
        _run("buildah", "commit", "--quiet", "--rm", container, tag)


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Of two runs that build at once the second finds the layers of the first."""
    with (Path(tempfile.gettempdir()) / "poise-images.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _need_buildah() -> None:
    tool("buildah", packages="buildah")
    if os.geteuid() != 0:
        raise MissingError("building images needs root")


def _run(*command: str) -> str:
    environment = os.environ | {"BUILDAH_ISOLATION": "chroot"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise BuildError(f"{' '.join(command[:2])} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def _tar(files: Mapping[str, bytes], links: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
        for name, target in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return buffer.getvalue()
