"""A search as a directory.

::

    STATE/search.yaml               the Search
    STATE/candidates/NAME.yaml      one file a Candidate
    STATE/evaluations/NAME.yaml     one file an Evaluation
    STATE/artifacts/                the artifact store
    STATE/lost/NAME.json            attempts of a task that left no result, and why
    STATE/logs/NAME.log             what the task's processes printed on stderr
    STATE/checkpoints/              of long trainings, from which an attempt after a lost one goes on
    STATE/work/                     work folders of running tasks
    STATE/lock, STATE/run           one runner at a time; the token of the current one

Every file appears whole or not at all (:func:`poise_lib.artifacts.store.write_atomically`).
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, TypeVar

import yaml
from pydantic import ValidationError

from poise_lib.artifacts import ArtifactStore
from poise_lib.artifacts.store import disk_errors, write_atomically
from poise_lib.errors import InvalidInputError, StateError
from poise_lib.plain import hides
from poise_lib.resources import Candidate, Evaluation, Search
from poise_lib.resources.messages import first_problem
from poise_lib.resources.search import fixed_values

Resource = Search | Candidate | Evaluation
R = TypeVar("R", Search, Candidate, Evaluation)

_FOLDERS = {"Candidate": "candidates", "Evaluation": "evaluations"}
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Writes texts of several lines as blocks, so that a candidate's source can be read in its manifest."""


def _text(dumper: Any, text: str) -> Any:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def to_yaml(document: dict[str, Any]) -> str:
    """A document as YAML, keys in their own order, texts of several lines as blocks.

    Letters that hide or reorder others are written as escapes: nothing is lost, and the text is safe to print.
    """
    text = str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))
    if not hides(text):
        return text
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=120))


class StateDir:
    """Reads and writes the state of one search; knows nothing of how it advances."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.artifacts = ArtifactStore(root / "artifacts")

    def path_of(self, resource: Resource) -> Path:
        """Where the manifest of a resource lies."""
        if isinstance(resource, Search):
            return self.root / "search.yaml"
        return self.root / _FOLDERS[resource.kind] / f"{resource.metadata.name}.yaml"

    def exists(self) -> bool:
        """Whether there is a search in this directory."""
        return (self.root / "search.yaml").exists()

    def search(self) -> Search | None:
        """The search, or None in an empty or missing directory.

        Raises:
            StateError: the manifest is damaged.
        """
        path = self.root / "search.yaml"
        return self._load(path, Search.model_validate) if path.exists() else None

    def candidates(self) -> list[Candidate]:
        """All candidates, by name."""
        return self._folder("candidates", Candidate.model_validate)

    def evaluations(self) -> list[Evaluation]:
        """All evaluations, by name."""
        return self._folder("evaluations", Evaluation.model_validate)

    def _folder(self, folder: str, parse: Callable[[Any], R]) -> list[R]:
        try:
            # Not glob: it takes a folder that cannot be read for an empty one.
            paths = sorted(path for path in (self.root / folder).iterdir() if path.suffix == ".yaml")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StateError(
                f"{self.root / folder}: cannot be read: {error.strerror}; check its owner and mode"
            ) from error
        resources = [self._load(path, parse) for path in paths]
        return [resource for resource in resources if resource.metadata.deletion_timestamp is None]

    @staticmethod
    def _load(path: Path, parse: Callable[[Any], R]) -> R:
        advice = "restore it from a backup, or remove the file and run again: the search goes on without it"
        try:
            resource = parse(yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader))  # noqa: S506 - safe loaders
        except ValidationError as error:
            raise StateError(f"{path}: damaged: {first_problem(error)}; {advice}") from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise StateError(f"{path}: damaged: {' '.join(str(error).split())}; {advice}") from error
        except OSError as error:
            raise StateError(f"{path}: cannot be read: {error.strerror}") from error
        if path.name != "search.yaml" and path.stem != resource.metadata.name:
            raise StateError(f"{path}: damaged: it holds {resource.metadata.name!r}, not {path.stem!r}; {advice}")
        return resource

    def write(self, resource: Resource) -> None:
        """Write a resource's manifest."""
        write_atomically(self.path_of(resource), to_yaml(resource.to_document()).encode())

    def lost_attempts(self) -> dict[str, list[str]]:
        """Task name to the problems of its lost attempts."""
        lost = {}
        for path in sorted((self.root / "lost").glob("*.json")):
            try:
                lost[path.stem] = [str(problem) for problem in json.loads(path.read_text())]
            except ValueError:
                lost[path.stem] = ["the record of a lost attempt is damaged"]
        return lost

    def record_lost(self, task: str, problems: list[str]) -> None:
        """Keep why a task's attempts were lost."""
        write_atomically(self.root / "lost" / f"{task}.json", json.dumps(problems).encode())

    @property
    def checkpoints(self) -> Path:
        """Where long trainings keep their checkpoints."""
        return self.root / "checkpoints"

    def forget_checkpoints(self) -> None:
        """Remove those of trainings that were given up; finished ones have removed their own."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def forget_lost(self) -> None:
        """Give every task its attempts back; a user's new run is a new try."""
        shutil.rmtree(self.root / "lost", ignore_errors=True)

    def lock(self, token: str) -> TextIO:
        """Take the directory for one runner; held until the file is closed or the process ends.

        Raises:
            StateError: another runner holds it, or it cannot be written.
        """
        with disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            file = (self.root / "lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise StateError(
                f"{self.root}: in use by {holder}; wait for it, stop it, or choose another --state"
            ) from error
        with disk_errors(self.root):
            file.truncate(0)
            file.write(f"process {os.getpid()}")
            file.flush()
        write_atomically(self.root / "run", token.encode())
        shutil.rmtree(self.root / "work", ignore_errors=True)
        self._clean()
        return file

    def _clean(self) -> None:
        """Remove what a runner that was killed, or its tasks, left half written."""
        for pattern in (".run.*", ".search.yaml.*", *(f"{folder}/.*.yaml.*" for folder in _FOLDERS.values())):
            for half in self.root.glob(pattern):
                half.unlink(missing_ok=True)
        self.artifacts.clean()


def merge_search(wanted: Search, state: StateDir) -> Search:
    """The search to run in ``state``: the manifest's spec with the status that the directory holds.

    Raises:
        InvalidInputError: a field was changed that must not change once the search runs.
        StateError: the directory holds another search, or is damaged.
    """
    present = state.search()
    if present is None:
        return wanted.model_copy(
            update={"status": Search.model_fields["status"].get_default(call_default_factory=True)}
        )
    if present.metadata.name != wanted.metadata.name:
        raise StateError(
            f"{state.root}: holds the search {present.metadata.name!r}, not {wanted.metadata.name!r}; "
            "choose another --state"
        )
    before, after = fixed_values(present.spec), fixed_values(wanted.spec)
    changed = [f"spec.{field}" for field, value in after.items() if value != before[field]]
    if changed:
        raise InvalidInputError(
            f"{', '.join(changed)}: cannot change once the search runs, because its candidates would no longer be "
            f"comparable; put it back, or start a new search with another --state than {state.root}"
        )
    return present.model_copy(update={"spec": wanted.spec})
