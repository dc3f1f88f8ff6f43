"""A search once more from its transcripts, and whether it reaches the same archive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from poise_lib.cli.money import long_line
from poise_lib.cli.state import Snapshot
from poise_lib.cli.surroundings import LITERATURE_COPY, model_of
from poise_lib.errors import InvalidInputError, PoiseError
from poise_lib.resources import Search
from poise_lib.resources.search import SearchStatus

if TYPE_CHECKING:
    from poise_lib.llm.recording import Recording
    from poise_lib.llm.replay import ReplayServer


class ReplayDiffers(PoiseError):
    """A replay reached another archive."""

    exit_code = 8


@dataclass(frozen=True)
class Comparison:
    """Two archives beside each other."""

    before: str
    after: str
    differing: tuple[str, ...]
    """Names of candidates that differ, or that only one of them has."""

    @property
    def same(self) -> bool:
        """Whether it is the same archive."""
        return self.before == self.after


def recording_of(snapshot: Snapshot) -> Recording:
    """The transcripts of a finished search.

    Raises:
        InvalidInputError: the search asks no model, has not ended, or has left no transcripts.
    """
    from poise_lib.artifacts import ArtifactStore
    from poise_lib.llm.recording import Recording, transcripts_in

    search = snapshot.search
    if model_of(search) is None:
        raise InvalidInputError(
            f"{snapshot.path}: this search asks no language model, so there is nothing to replay; `poise run` with its "
            "manifest and another --state reaches the same archive"
        )
    if not search.status.digest:
        raise InvalidInputError(
            f"{snapshot.path}: the search has not ended ({search.status.phase.value}); a replay needs its whole archive: "
            "run it to its end first"
        )
    recording = Recording(transcripts_in(ArtifactStore(snapshot.path / "artifacts")))
    if not recording.transcripts:
        raise InvalidInputError(f"{snapshot.path}/artifacts: holds no transcripts of the model")
    return recording


def again(snapshot: Snapshot) -> Search:
    """The search to run: the same spec, without what the clock decides.

    A deadline cuts a search wherever it stands.  The replay is another one's pace, so it gets none; where the deadline ended
    the search, the replay ends after as many candidates.
    """
    search = snapshot.search
    budget = search.spec.budget
    if budget.deadline is not None:
        from poise_lib.names import REASON_DEADLINE_REACHED

        cut = search.status.stop_reason == REASON_DEADLINE_REACHED
        candidates = max(1, len(snapshot.candidates)) if cut else budget.candidates
        budget = budget.model_copy(update={"deadline": None, "candidates": candidates})
    spec = search.spec.model_copy(update={"budget": budget, "suspend": False})
    metadata = type(search.metadata)(name=search.metadata.name, namespace=search.metadata.namespace)
    return Search(metadata=metadata, spec=spec, status=SearchStatus(objective=search.status.objective))


def variables(snapshot: Snapshot, server: ReplayServer) -> dict[str, str | None]:
    """The environment of the replay's tasks: the server in place of the model, the literature that was used."""
    from poise_lib.llm.config import ENV_KEY, ENV_LITERATURE, ENV_REPLAY, ENV_URL

    literature = snapshot.path.resolve() / LITERATURE_COPY
    return {
        ENV_REPLAY: server.url,
        ENV_KEY: server.token,
        # Only a name here: transcripts and messages of the replay say where it was recorded, as those before did.
        ENV_URL: server.recording.endpoint,
        ENV_LITERATURE: str(literature) if literature.is_file() else None,
    }


def compare(before: Snapshot, after: Snapshot) -> Comparison:
    """Both archives by their canonical digests, computed anew from their documents."""
    from poise_lib.archive.digest import archive_digest

    def whole(snapshot: Snapshot) -> str:
        return archive_digest(snapshot.search, snapshot.candidates, snapshot.evaluations)

    def each(snapshot: Snapshot) -> dict[str, str]:
        return {
            item.metadata.name: archive_digest(before.search, [item], snapshot.evaluations)
            for item in snapshot.candidates
        }

    one, other = each(before), each(after)
    differing = tuple(name for name in sorted({*one, *other}) if one.get(name) != other.get(name))
    return Comparison(whole(before), whole(after), differing)


def verdict_lines(found: Comparison, before: Snapshot, after: Snapshot, server: ReplayServer) -> list[str]:
    """What the replay showed, for people."""
    lines = [
        f"{'The same archive' if found.same else 'Another archive'}: {found.before}",
    ]
    if not found.same:
        lines[0] += f" then, {found.after} now"
        shown = ", ".join(found.differing[:8]) + (", ..." if len(found.differing) > 8 else "")
        lines.append(f"{len(found.differing)} candidates differ, the first is where to look: {shown}")
    lines.append(f"{server.answered} calls were answered from {server.recording.transcripts} transcripts.")
    for label, snapshot in (("Then", before), ("Now", after)):
        if snapshot.search.status.ledger is not None:
            lines.append(f"{label}: {long_line(snapshot.search.status.ledger)}.")
    lines += [f"Not recorded: {missed}." for missed in server.misses[:5]]
    return lines


def verdict_document(found: Comparison, before: Snapshot, after: Snapshot, server: ReplayServer) -> dict[str, Any]:
    """The same for programs."""
    ledgers = (snapshot.search.status.ledger for snapshot in (before, after))
    then, now = (ledger.to_document() if ledger is not None else None for ledger in ledgers)
    return {
        "same": found.same,
        "digest": {"before": found.before, "after": found.after},
        "differing": list(found.differing),
        "state": {"before": str(before.path), "after": str(after.path)},
        "ledger": {"before": then, "after": now},
        "answered": server.answered,
        "transcripts": server.recording.transcripts,
        "notRecorded": server.misses,
    }
