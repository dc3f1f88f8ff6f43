"""``poise export`` and ``poise import``: a search as one file of manifests, and its artifacts as a tar beside it."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from poise_lib.artifacts import ArtifactStore
    from poise_lib.resources.transfer import Bundle


@click.command()
@click.argument("state", type=click.Path(path_type=Path), required=False)
@click.option("-o", "--output", "target", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write the manifests there instead of printing them.")  # fmt: skip
@click.option("--artifacts", type=click.Path(path_type=Path, dir_okay=False), metavar="TAR",
              help="Also write the artifacts that the manifests name: weights, trajectories, reports, records.")  # fmt: skip
def export(state: Path | None, target: Path | None, artifacts: Path | None) -> None:
    """Write the search in STATE as manifests, parents first, without what belongs to this place (owners, uids).

    The manifests alone carry the whole archive: a search that is imported from them goes on. Artifacts are what they
    name by digest; without them, weights and full trajectories stay behind.

    \b
    poise export quickstart.poise -o quickstart-all.yaml
    poise export quickstart.poise -o all.yaml --artifacts all.tar
    """
    from poise_lib.cli.commands.tree import write_output
    from poise_lib.cli.state import open_state, read_state
    from poise_lib.local.state import to_yaml
    from poise_lib.resources.transfer import bundle

    snapshot = read_state(state)
    found = bundle([snapshot.search, *snapshot.candidates, *snapshot.evaluations])
    write_output("---\n".join(to_yaml(item.to_document()) for item in found.resources()).rstrip("\n"), target)
    if artifacts is not None:
        kept = _pack(open_state(snapshot.path).artifacts, digests(found), artifacts)
        click.echo(f"wrote {kept} artifacts to {artifacts}", err=True)
    if target is not None:
        click.echo(f"wrote {len(found.resources())} manifests to {target}", err=True)


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="The state directory to make; by default NAME.poise.")  # fmt: skip
@click.option("--artifacts", type=click.Path(path_type=Path, dir_okay=False), metavar="TAR",
              help="The tar that `poise export --artifacts` wrote.")  # fmt: skip
def import_(file: Path, state: Path | None, artifacts: Path | None) -> None:
    """Make a state directory from the manifests in FILE, from `poise export` or `kubectl get ... -o yaml`.

    \b
    poise import all.yaml --state copy.poise --artifacts all.tar
    kubectl get searches,candidates,evaluations -o yaml > all.yaml && poise import all.yaml
    """
    from poise_lib.cli.checks import load_checked
    from poise_lib.cli.state import default_state, open_state
    from poise_lib.errors import StateError
    from poise_lib.resources.transfer import bundle

    found = bundle(load_checked(file))
    where = state or default_state(found.search.metadata.name)
    directory = open_state(where)
    if directory.exists() or any((where / folder).is_dir() for folder in ("candidates", "evaluations")):
        raise StateError(f"{where}: holds a search already; choose another --state, or remove it")
    if artifacts is not None:
        kept = _unpack(directory.artifacts, digests(found), artifacts)
        click.echo(f"took {kept} artifacts from {artifacts}", err=True)
    # The search comes last: only with it is this a state directory.
    for item in reversed(found.resources()):
        directory.write(item)
    click.echo(
        f"{where}: search {found.search.metadata.name}, {len(found.candidates)} candidates, {len(found.evaluations)} evaluations"
    )


def digests(found: Bundle) -> tuple[str, ...]:
    """Every artifact that the manifests name."""
    named: list[str | None] = []
    for item in found.candidates:
        named.append(item.status.verification.report if item.status.verification else None)
    for run in found.evaluations:
        named += [run.status.policy, run.status.trajectory_artifact, run.status.records]
    return tuple(dict.fromkeys(digest for digest in named if digest))


def _pack(store: ArtifactStore, wanted: Sequence[str], target: Path) -> int:
    """Write the artifacts that are still there (retention drops some) into a tar; returns how many."""
    from poise_lib.artifacts.store import disk_errors

    count = 0
    with disk_errors(target), tarfile.open(target, "w") as archive:
        for digest in wanted:
            if not store.has(digest):
                continue
            data = store.get(digest)
            entry = tarfile.TarInfo(digest.replace(":", "-"))
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
            count += 1
    return count


def _unpack(store: ArtifactStore, wanted: Sequence[str], source: Path) -> int:
    """Take the artifacts that the manifests name out of a tar; nothing is written under a name from the tar."""
    from poise_lib.errors import InvalidInputError

    expected = set(wanted)
    count = 0
    try:
        with tarfile.open(source, "r:") as archive:
            for name, data in _files(archive):
                digest = store.put(data) if name.replace("-", ":", 1) in expected else None
                if digest is not None and digest != name.replace("-", ":", 1):
                    store.remove(digest)
                    raise InvalidInputError(f"{source}: {name} is damaged: its content has another digest")
                count += digest is not None
    except (OSError, tarfile.TarError) as error:
        raise InvalidInputError(f"{source}: cannot be read as a tar: {error}") from None
    return count


def _files(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for entry in archive:
        file = archive.extractfile(entry) if entry.isreg() else None
        if file is not None:
            yield entry.name, file.read()
