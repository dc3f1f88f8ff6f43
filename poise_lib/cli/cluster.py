"""A search in a cluster, read and written through ``kubectl``.

The library knows no Kubernetes client; whoever asks for a cluster has kubectl, set up as they are used to (KUBECONFIG,
contexts, login helpers), and what they may do is what RBAC says of them.  A call costs a tenth of a second, so objects
go through it by the hundred.

:func:`restore` has one order, and a reason for it.  A controller does something about a search as soon as there is a
Search, suspended or not: one without candidates gets its baseline.  So candidates, evaluations and their statuses come
first, without a Search, and nothing looks at them.  The Search comes when they are complete, suspended and marked; then
its status and the owners of its candidates; last, in one patch, the mark goes and ``spec.suspend`` is as it was.
An import that was interrupted anywhere is completed by the same command: what is there is compared and left alone.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from poise_lib.artifacts.digest import canonical_json, digest_of
from poise_lib.errors import ClusterError, InvalidInputError
from poise_lib.names import ANNOTATION_IMPORT
from poise_lib.resources import Candidate, Evaluation, Search
from poise_lib.resources.loading import Resource, served
from poise_lib.resources.messages import first_problem
from poise_lib.resources.search import DeletionPolicy
from poise_lib.resources.transfer import (
    FRESH,
    Bundle,
    Key,
    Member,
    by_key,
    complaints,
    in_namespace,
    key_of,
    portable,
    strangers,
    without_artifacts,
)
from poise_lib.search.runs import owner

Document = dict[str, Any]
T = TypeVar("T")
Say = Callable[[str], None]
"""Takes a line on what was done."""

BATCH = 500
"""Objects a call: memory and pipes stay small, and an interrupted import has lost little."""
MANAGER: Final = "poise-import"
TRIES: Final = 5
"""Writes of the Search's status: a controller that has just seen the Search writes it too."""
SHOWN: Final = 5
"""Complaints of one kind that are printed."""
SEARCHES: Final = "searches.poise.dev"
CANDIDATES: Final = "candidates.poise.dev"
EVALUATIONS: Final = "evaluations.poise.dev"

CONFLICT: Final = "(Conflict)"
"""In a refusal: the object has changed since it was read."""
_NOISE = re.compile(r"[EWIF]\d{4} |Warning:|\s*$")
"""Lines of kubectl's stderr that are not its complaint: its own log, the server's warnings."""
_HINTS: Final = (
    ("the server doesn't have a resource type", "install the CRDs: poise crds | kubectl apply --server-side -f -"),
    ("no matches for kind", "install the CRDs: poise crds | kubectl apply --server-side -f -"),
    ("unknown field", "its CRDs are of another version of POISE: poise crds | kubectl apply --server-side -f -"),
    (r"\(AlreadyExists\)", "it belongs to another search, or came while this ran; remove it, or choose another --namespace"),
    (re.escape(CONFLICT), "somebody else has changed it while this ran; the same command goes on"),
    ('namespaces "[^"]*" not found', "kubectl create namespace makes it"),
)  # fmt: skip


@dataclass(frozen=True)
class Cluster:
    """One namespace of one cluster."""

    namespace: str
    context: str | None = None
    """A context of the kubeconfig; None for the current one."""

    @property
    def place(self) -> str:
        """What messages call it."""
        return f"namespace {self.namespace}" + (f" ({self.context})" if self.context else "")

    def kubectl(self, *arguments: str, documents: Sequence[Document] | None = None) -> str:
        """Run kubectl; its standard output.

        Args:
            arguments: the command; namespace and context are added.
            documents: handed over as a List on standard input.

        Raises:
            ClusterError: it is missing, or refused; the message is one line.
        """
        where = ["--namespace", self.namespace, *(("--context", self.context) if self.context else ())]
        stdin = (
            None if documents is None else json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
        )
        try:
            done = subprocess.run(
                ["kubectl", *arguments, *where],  # noqa: S607 - the kubectl in the PATH of whoever calls
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
        except FileNotFoundError:
            raise ClusterError(
                "kubectl: not found in PATH; clusters are reached through it: https://kubernetes.io/docs/tasks/tools"
            ) from None
        except OSError as error:
            raise ClusterError(f"kubectl: cannot be run: {error.strerror}") from None
        if done.returncode:
            raise ClusterError(f"{self.place}: kubectl {arguments[0]}: {refusal(done.stderr or done.stdout)}")
        return done.stdout

    def objects(self, *arguments: str) -> list[Resource]:
        """The objects that ``kubectl get`` finds."""
        output = self.kubectl("get", *arguments, "--output", "json")
        return [parsed(item, self.place) for document in stream(output) for item in document.get("items", [document])]

    def searches(self) -> list[Search]:
        """All searches of the namespace."""
        return [item for item in self.objects(SEARCHES) if isinstance(item, Search)]

    def members(self, search: str) -> list[Member]:
        """Candidates, then evaluations, of a search: later ones were read later, so none is older than its owner."""
        found = self.objects(f"{CANDIDATES},{EVALUATIONS}", "--field-selector", f"spec.search={search}")
        return [item for item in found if isinstance(item, Member)]

    def create(self, items: Sequence[Member]) -> list[Resource]:
        """Create objects without their status; as the server made them."""
        made: list[Resource] = []
        for batch in batches(items):
            output = self.kubectl("create", "--filename", "-", "--output", "json", documents=list(map(_new, batch)))
            made += [parsed(document, self.place) for document in stream(output)]
        return made

    def write_statuses(self, items: Sequence[Resource]) -> None:
        """Write the statuses of objects; a resourceVersion in their metadata guards against what happened since."""
        for batch in batches(items):
            documents = [item.to_document() for item in batch]
            self.kubectl("replace", "--subresource", "status", "--filename", "-", "--output", "name",
                         documents=documents)  # fmt: skip


def refusal(stderr: str) -> str:
    """kubectl's complaint in one line: the first of many, and the way out where there is a usual one."""
    lines = [line for line in stderr.splitlines() if not _NOISE.match(line)] or stderr.splitlines() or ["no message"]
    said = lines[0].removeprefix("error: ").strip()
    if len(said) > 500:
        said = f"{said[:500]}..."
    hint = next((f"; {way_out}" for words, way_out in _HINTS if re.search(words, said)), "")
    more = f" (and {len(lines) - 1} more lines)" if len(lines) > 1 else ""
    return f"{said}{more}{hint}"


def stream(text: str) -> Iterator[Document]:
    """The JSON documents that stand one after the other in a text; kubectl writes several objects so."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        try:
            document, at = decoder.raw_decode(text, at)
        except ValueError as error:
            raise ClusterError(f"kubectl: its output is no JSON: {error}") from None
        yield document


def parsed(document: Document, place: str) -> Resource:
    """An object as the API server has it; metadata that POISE does not read is left out.

    Raises:
        ClusterError: the model refuses it.
    """
    what = f"{document.get('kind', '')} {document.get('metadata', {}).get('name', '')}"
    try:
        return served(document)
    except KeyError:
        raise ClusterError(f"{place}: {what} is of no kind that was asked for") from None
    except ValidationError as error:
        raise ClusterError(
            f"{place}: {what}: {first_problem(error)}; another version of POISE made it: use that version's poise"
        ) from None


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """The items, :data:`BATCH` at a time."""
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


def fetch(cluster: Cluster, name: str | None) -> list[Resource]:
    """A search and all that is its own, as one picture of a search that may be running.

    The Search is read first, evaluations last: a status may lag behind what is there, which a planner sees and makes
    good, but nothing is spoken of that is not there.  For the same reason evaluations whose candidates were made after
    the candidates were read are left out: they are made again.

    Raises:
        InvalidInputError: there is no such search, its import has not ended, or none was named and there are several.
        ClusterError: kubectl is missing or refused.
    """
    search = _named(cluster, name)
    if ANNOTATION_IMPORT in search.metadata.annotations:
        raise InvalidInputError(
            f"{cluster.place}: the import of search {search.metadata.name} has not ended; run `poise import` again first"
        )
    members = [item for item in cluster.members(search.metadata.name) if item.metadata.deletion_timestamp is None]
    candidates = {item.metadata.name for item in members if isinstance(item, Candidate)}
    return [search, *(item for item in members if isinstance(item, Candidate) or item.spec.candidate in candidates)]


def _named(cluster: Cluster, name: str | None) -> Search:
    searches = cluster.searches()
    there = ", ".join(item.metadata.name for item in searches) or "none"
    for item in searches:
        if item.metadata.name == name or (name is None and len(searches) == 1):
            return item
    if name is None:
        raise InvalidInputError(f"{cluster.place}: name the search to export; there are: {there}")
    raise InvalidInputError(f"{cluster.place}: there is no search {name!r}; there are: {there}")


def restore(cluster: Cluster, wanted: Bundle, source: str, say: Say) -> bool:
    """Make a search in a namespace, or complete what an interrupted import has left there.

    Args:
        cluster: where.
        wanted: a stripped bundle.
        source: what messages call its file.
        say: takes a line on each step.

    Returns:
        Whether anything was written; False when all is there already.

    Raises:
        InvalidInputError: what is there is not what the bundle says; nothing was written.
        ClusterError: kubectl is missing or refused; the same call goes on where it stopped.
    """
    # Digests say nothing of a cluster's volume, which is out of reach here: whoever needs weights trains them again.
    kept = without_artifacts(wanted, lambda _: False)
    again = sum(run not in kept.evaluations for run in wanted.evaluations)
    found, mark = in_namespace(kept, cluster.namespace), mark_of(kept)
    name = found.search.metadata.name
    search = next((item for item in cluster.searches() if item.metadata.name == name), None)
    present: dict[Key, Resource] = by_key(cluster.members(name))
    there = present if search is None else {**present, key_of(search): search}
    way_out = f"{cluster.place}: choose another --namespace, or remove what is there"
    _refuse(complaints(found, there, source), way_out)
    if search is None:
        _refuse(strangers(found, present, source), way_out)
        present = _members(cluster, found, present, say)
        search = _search(cluster, found, mark)
        say(f"created search {name}, suspended until its status is written")
    else:
        missing = [item for item in found.resources() if key_of(item) not in there]
        _refuse([f"{item.kind} {item.metadata.name} is missing beside the search {name}" for item in missing], way_out)
        if ANNOTATION_IMPORT not in search.metadata.annotations:
            return False
        if search.metadata.annotations[ANNOTATION_IMPORT] != mark:
            raise InvalidInputError(
                f"{cluster.place}: the import of search {name} from another file than {source} has not ended; end that "
                "first, or remove the Search"
            )
        if not search.spec.suspend:
            raise InvalidInputError(
                f"{cluster.place}: search {name} was resumed by hand (spec.suspend) before its import had ended; to "
                f"keep it as it is now: kubectl annotate {SEARCHES} {name} --namespace {cluster.namespace} "
                f"{ANNOTATION_IMPORT}-"
            )
    _finish(cluster, found, search, [item for item in present.values() if isinstance(item, Candidate)])
    if again:
        say(f"{again} runs that were trained and not scored will be trained again: their weights stayed behind")
    say("wrote the search's status" + ("" if found.search.spec.suspend else " and resumed it"))
    return True


def mark_of(found: Bundle) -> str:
    """What marks a Search whose import has not ended: the digest of all that is imported, so that no other file ends it."""
    return digest_of(canonical_json([portable(item) for item in found.resources()]))


def _refuse(problems: Sequence[str], way_out: str) -> None:
    if problems:
        more = [f"and {len(problems) - SHOWN} more objects"] if len(problems) > SHOWN else []
        raise InvalidInputError("\n".join([*problems[:SHOWN], *more, way_out]))


def _members(cluster: Cluster, found: Bundle, present: dict[Key, Resource], say: Say) -> dict[Key, Resource]:
    """Create the candidates and evaluations that are missing, and write the statuses that are; all of them."""
    present = dict(present)
    new_candidates = [item for item in found.candidates if key_of(item) not in present]
    present |= by_key(cluster.create(new_candidates))
    runs = [
        owned(item, present["Candidate", item.spec.candidate])
        for item in found.evaluations
        if key_of(item) not in present
    ]
    present |= by_key(cluster.create(runs))
    # What people have cut loose (kubectl delete --cascade=orphan) is tied again.
    every = [item for item in present.values() if isinstance(item, Evaluation)]
    _link(cluster, [(item, present["Candidate", item.spec.candidate]) for item in every])
    say(f"created {len(new_candidates)} candidates and {len(runs)} evaluations")
    behind = list(_behind([*found.candidates, *found.evaluations], present))
    cluster.write_statuses(behind)
    say(f"wrote {len(behind)} statuses")
    return present


def _behind(items: Iterable[Member], present: dict[Key, Resource]) -> Iterator[Member]:
    """The objects that are there without their status, each as it is to be written."""
    for item in items:
        there = present[key_of(item)]
        if there.status == FRESH[item.kind] and item.status != FRESH[item.kind]:
            yield item.model_copy(update={"metadata": there.metadata})


def owned(run: Evaluation, candidate: Resource) -> Evaluation:
    """An evaluation that goes with its candidate."""
    owners = owner(candidate.kind, candidate.metadata)
    return run.model_copy(update={"metadata": run.metadata.model_copy(update={"owner_references": owners})})


def _search(cluster: Cluster, found: Bundle, mark: str) -> Search:
    """Create the Search, suspended and marked."""
    document = _new(found.search)
    document["spec"]["suspend"] = True
    document["metadata"].setdefault("annotations", {})[ANNOTATION_IMPORT] = mark
    output = cluster.kubectl("create", "--filename", "-", "--output", "json", documents=[document])
    (made,) = (parsed(item, cluster.place) for item in stream(output))
    assert isinstance(made, Search)
    return made


def _finish(cluster: Cluster, found: Bundle, search: Search, candidates: Sequence[Candidate]) -> None:
    """What can only come after the Search: its status, the owners of its candidates; last it is as it was."""
    _write_search_status(cluster, found.search)
    if found.search.spec.deletion_policy is DeletionPolicy.DELETE:
        _link(cluster, [(item, search) for item in candidates])
    last = {"metadata": {"annotations": {ANNOTATION_IMPORT: None}}, "spec": {"suspend": found.search.spec.suspend}}
    cluster.kubectl("patch", SEARCHES, search.metadata.name, "--type", "merge", "--patch", json.dumps(last),
                    "--output", "name")  # fmt: skip


def _write_search_status(cluster: Cluster, search: Search) -> None:
    """Write the status over whatever is there, also when a controller changes it between kubectl's read and write."""
    for attempt in range(1, TRIES + 1):
        try:
            cluster.write_statuses([search])
            return
        except ClusterError as error:
            if attempt == TRIES or CONFLICT not in str(error):
                raise


def _link(cluster: Cluster, pairs: Sequence[tuple[Member, Resource]]) -> None:
    """Make each object go with its owner, where it does not yet."""
    for batch in batches([(item, of) for item, of in pairs if not linked(item, of)]):
        documents = [
            {
                "apiVersion": item.api_version,
                "kind": item.kind,
                "metadata": {
                    "name": item.metadata.name,
                    "namespace": cluster.namespace,
                    "ownerReferences": list(owner(of.kind, of.metadata)),
                },
            }
            for item, of in batch
        ]
        # Owners are merged by uid, and nothing else is touched; validation here would miss the spec.
        cluster.kubectl("apply", "--server-side", "--field-manager", MANAGER, "--force-conflicts",
                        "--validate=ignore", "--filename", "-", "--output", "name", documents=documents)  # fmt: skip


def linked(item: Member, of: Resource) -> bool:
    """Whether the object goes with that owner already."""
    return any(link.get("uid") == of.metadata.uid for link in item.metadata.owner_references)


def _new(item: Resource) -> Document:
    """The manifest of an object that is to be made: the server ignores a status here, and empty lists are noise."""
    document = item.to_document()
    del document["status"]
    document["metadata"] = {key: value for key, value in document["metadata"].items() if value}
    return document
