"""``poise artifacts collect``: remove from an artifact store what no search names any more."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from poise_lib.artifacts.collect import Collected

_UNITS: Final = {"m": 60.0, "h": 3600.0, "d": 86400.0}


def _seconds(_: click.Context, __: click.Parameter, value: str) -> float:
    match = re.fullmatch(r"([0-9]{1,6})([mhd])", value)
    if match is None:
        raise click.BadParameter(f"{value!r} is no length of time; expected a number and m, h or d, such as 24h")
    return int(match[1]) * _UNITS[match[2]]


@click.group()
def artifacts() -> None:
    """Look after an artifact store.

    \b
    poise artifacts collect quickstart.poise --dry-run
    """


@artifacts.command()
@click.argument("where", metavar="STATE|STORE")
@click.option("-n", "--namespace", metavar="NAME", help="Keep what the searches in this namespace of a cluster name.")
@click.option("--context", metavar="NAME", help="Context of the kubeconfig; by default the current one.")
@click.option("--grace", metavar="TIME", callback=_seconds, default="24h", show_default=True,
              help="Keep whatever was written or used within this time.")  # fmt: skip
@click.option("--keep-results", metavar="TIME", callback=_seconds, default="30d", show_default=True,
              help="Keep results of tasks for this time, also when nothing that they name is needed.")  # fmt: skip
@click.option("--even-if-none", is_flag=True, help="Go on where the namespace has no search at all.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def collect(
    where: str, namespace: str | None, context: str | None, grace: float, keep_results: float, even_if_none: bool,
    dry_run: bool,
) -> None:  # fmt: skip
    """Remove weights, reports, trajectories and results that no search needs any more: from the state directory STATE, or
    with --namespace from the STORE (a folder, or a URL such as s3://bucket/prefix/NAMESPACE) that its searches use.

    Kept is every digest that an object of a search names, and all that is young. A result cannot be tied to its search;
    one that is removed costs the work of its task, should the same task be asked for again.

    \b
    poise artifacts collect quickstart.poise --dry-run
    poise artifacts collect s3://bucket/prefix/team-a --namespace team-a --keep-results 90d
    """
    from poise_lib.errors import InvalidInputError

    if namespace is None:
        if context is not None or even_if_none:
            raise InvalidInputError(
                "--context and --even-if-none are of a cluster: say which namespace, with --namespace"
            )
        found = _from_state(Path(where), grace, keep_results, dry_run)
    else:
        found = _from_store(where, namespace, context, (grace, keep_results), even_if_none, dry_run)
    if dry_run:
        for item in found.removed:
            click.echo(f"{'result' if item.is_result else 'blob'} {item.digest} {item.size} bytes")
    click.echo(
        f"{where}: {'would remove' if dry_run else 'removed'} {len(found.removed) - found.results} blobs and "
        f"{found.results} results, {found.size} bytes; {found.kept} objects stay"
    )


def _from_state(path: Path, grace: float, keep_results: float, dry_run: bool) -> Collected:
    """Of a state directory: no run is under way while it is locked."""
    import secrets

    from poise_lib.artifacts.collect import collect as sweep
    from poise_lib.artifacts.collect import digests_in
    from poise_lib.cli.state import find_state, open_state
    from poise_lib.errors import StateError

    state = open_state(find_state(path))

    def manifests() -> Iterable[str]:
        for file in [state.root / "search.yaml", *state.root.glob("candidates/*"), *state.root.glob("evaluations/*")]:
            try:
                yield file.read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                raise StateError(f"{file}: cannot be read, so nothing is removed: {error}") from error

    with state.lock(secrets.token_hex(16)):
        return sweep(state.artifacts, lambda: digests_in(manifests()), now=time.time(), grace=grace,
                     keep_results=keep_results, dry_run=dry_run)  # fmt: skip


def _from_store(
    where: str, namespace: str, context: str | None, ages: tuple[float, float], even_if_none: bool, dry_run: bool
) -> Collected:
    from poise_lib.artifacts import open_store
    from poise_lib.artifacts.collect import LEAST_GRACE, digests_in
    from poise_lib.artifacts.collect import collect as sweep
    from poise_lib.artifacts.opening import is_url
    from poise_lib.errors import InvalidInputError

    grace, keep_results = ages
    if grace < LEAST_GRACE:
        raise InvalidInputError(
            f"--grace: at least {LEAST_GRACE / 3600:.0f}h in a cluster, where tasks may be about to use what nothing names yet"
        )
    if not is_url(where) and not Path(where).is_dir():
        raise InvalidInputError(f"{where}: there is no such folder")

    def referenced() -> frozenset[str]:
        documents = list(_documents(namespace, context))
        if not documents and not even_if_none:
            raise InvalidInputError(
                f"namespace {namespace} has no search, candidate or evaluation: nothing would be kept; if it is the right "
                "one, say --even-if-none"
            )
        return digests_in(documents)

    return sweep(
        open_store(where), referenced, now=time.time(), grace=grace, keep_results=keep_results, dry_run=dry_run
    )


def _documents(namespace: str, context: str | None) -> Iterable[str]:
    """The objects of a namespace as text: through kubectl, or as the pod that this runs in."""
    import json
    import shutil

    from poise_lib.cli import in_cluster
    from poise_lib.cli.cluster import CANDIDATES, EVALUATIONS, SEARCHES, Cluster, stream

    if context is None and in_cluster.is_pod() and shutil.which("kubectl") is None:
        yield from in_cluster.texts(namespace)
        return
    answer = Cluster(namespace, context).kubectl("get", f"{SEARCHES},{CANDIDATES},{EVALUATIONS}", "--output", "json")
    for document in stream(answer):
        yield from (json.dumps(item) for item in document.get("items", [document]))
