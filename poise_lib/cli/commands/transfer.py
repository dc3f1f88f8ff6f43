"""``poise export`` and ``poise import``: a search as one file of manifests, and its artifacts as a tar beside it.

Between state directories, between clusters, and from one to the other.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from poise_lib.artifacts import ArtifactStore
    from poise_lib.cli.cluster import Cluster
    from poise_lib.resources.transfer import Bundle

NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,28}[a-z0-9])?")
"""What the name of a Search looks like; most paths of state directories (NAME.poise) do not."""


def cluster_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that ask for a cluster instead of a state directory."""
    function = click.option("--context", metavar="NAME",
                            help="Context of the kubeconfig; by default the current one.")(function)  # fmt: skip
    return click.option("-n", "--namespace", metavar="NAME",
                        help="In this namespace of a cluster, reached through kubectl.")(function)  # fmt: skip


@click.command()
@click.argument("search", metavar="[STATE|NAME]", required=False)
@cluster_options
@click.option("-o", "--output", "target", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write the manifests there instead of printing them.")  # fmt: skip
@click.option("--artifacts", type=click.Path(path_type=Path, dir_okay=False), metavar="TAR",
              help="Also write the artifacts that the manifests name: weights, trajectories, reports, records.")  # fmt: skip
def export(
    search: str | None, namespace: str | None, context: str | None, target: Path | None, artifacts: Path | None
) -> None:
    """Write the search in the directory STATE, or with --namespace the Search NAME of a cluster, as manifests: parents
    first, without what belongs to this place (namespace, owners, uids).

    The manifests alone carry the whole archive: a search that is imported from them goes on where it was, and nothing
    that has finished is run again. Artifacts are what they name by digest; without them weights and full trajectories
    stay behind, and what was under way starts anew. Those of a cluster lie in its volume and are not exported.

    \b
    poise export quickstart.poise -o quickstart-all.yaml
    poise export quickstart.poise -o all.yaml --artifacts all.tar
    poise export quickstart --namespace team-a --context old -o all.yaml
    """
    from poise_lib.cli.commands.tree import write_output
    from poise_lib.cli.state import open_state, read_state
    from poise_lib.local.state import to_yaml
    from poise_lib.resources.transfer import bundle, portable

    cluster = _cluster(namespace, context, artifacts)
    if cluster is not None:
        from poise_lib.cli.cluster import fetch

        found = bundle(fetch(cluster, search))
    else:
        snapshot = read_state(_directory(search))
        found = bundle([snapshot.search, *snapshot.candidates, *snapshot.evaluations])
    write_output("---\n".join(to_yaml(portable(item)) for item in found.resources()).rstrip("\n"), target)
    if artifacts is not None:
        kept = _pack(open_state(snapshot.path).artifacts, digests(found), artifacts)
        click.echo(f"wrote {kept} artifacts to {artifacts}", err=True)
    if target is not None:
        click.echo(f"wrote {len(found.resources())} manifests to {target}", err=True)


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="The state directory to make; by default NAME.poise.")  # fmt: skip
@cluster_options
@click.option("--artifacts", type=click.Path(path_type=Path, dir_okay=False), metavar="TAR",
              help="The tar that `poise export --artifacts` wrote.")  # fmt: skip
def import_(file: Path, state: Path | None, namespace: str | None, context: str | None, artifacts: Path | None) -> None:
    """Make a search from the manifests in FILE, from `poise export` or `kubectl get ... -o yaml`: in a state directory,
    or with --namespace in a cluster.

    In a cluster a controller takes the search on when all of it is there, statuses and owners included. Interrupted,
    the same command goes on; it changes nothing that is there already, and refuses what differs from FILE.

    Runs that have finished are never repeated. A run that was trained but not scored needs its weights: without them
    (in a cluster always: they lie in the old volume) it is trained again, with the same seed.

    \b
    poise import all.yaml --state copy.poise --artifacts all.tar
    kubectl get searches,candidates,evaluations -o yaml > all.yaml && poise import all.yaml
    poise import all.yaml --namespace team-a
    poise export demo -n a --context old | poise import /dev/stdin -n a --context new
    """
    from poise_lib.cli.checks import load_checked
    from poise_lib.cli.state import default_state, open_state
    from poise_lib.errors import InvalidInputError, StateError
    from poise_lib.resources.transfer import bundle, without_artifacts

    cluster = _cluster(namespace, context, artifacts)
    if cluster is not None and state is not None:
        raise InvalidInputError("give either --state or --namespace, not both: the search is made in one place")
    found = bundle(load_checked(file))
    held = (
        f"search {found.search.metadata.name}, {len(found.candidates)} candidates, {len(found.evaluations)} evaluations"
    )
    if cluster is not None:
        from poise_lib.cli.cluster import restore

        written = restore(cluster, found, str(file), lambda line: click.echo(line, err=True))
        click.echo(f"{cluster.place}: {held}" + ("" if written else "; all there already, nothing was changed"))
        return
    where = state or default_state(found.search.metadata.name)
    directory = open_state(where)
    if directory.exists() or any((where / folder).is_dir() for folder in ("candidates", "evaluations")):
        raise StateError(f"{where}: holds a search already; choose another --state, or remove it")
    if artifacts is not None:
        kept = _unpack(directory.artifacts, digests(found), artifacts)
        click.echo(f"took {kept} artifacts from {artifacts}", err=True)
    # The search comes last: only with it is this a state directory.
    for item in reversed(without_artifacts(found, directory.artifacts.has).resources()):
        directory.write(item)
    click.echo(f"{where}: {held}")


def _directory(given: str | None) -> Path | None:
    """The state directory that is named; who names a Search forgot to say where."""
    from poise_lib.errors import InvalidInputError

    if given is not None and NAME.fullmatch(given) and not Path(given).exists():
        raise InvalidInputError(
            f"{given}: there is no such state directory; for a Search of that name in a cluster, add --namespace"
        )
    return None if given is None else Path(given)


def _cluster(namespace: str | None, context: str | None, artifacts: Path | None) -> Cluster | None:
    """The cluster that is asked for, or None."""
    from poise_lib.errors import InvalidInputError

    if namespace is None:
        if context is not None:
            raise InvalidInputError("--context: say which namespace of that cluster, with --namespace")
        return None
    if artifacts is not None:
        raise InvalidInputError(
            "--artifacts: works for state directories; the artifacts of a cluster lie in its volume: copy that if you "
            "need weights and full trajectories, the search goes on without"
        )
    from poise_lib.cli.cluster import Cluster

    return Cluster(namespace, context)


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
