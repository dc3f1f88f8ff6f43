"""Read manifests: files of YAML or JSON with one or many documents, checked strictly against the models.

Whatever is wrong in a document is said at once, a line each: file, document, line, field, what was given, and the fix.
Types are strict, as the API server is: ``"8"`` is no number.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from pydantic import ValidationError

from poise_lib.errors import InvalidInputError
from poise_lib.names import API_VERSION, GROUP
from poise_lib.resources.base import ObjectMeta
from poise_lib.resources.candidate import Candidate
from poise_lib.resources.evaluation import Evaluation
from poise_lib.resources.messages import closest, complaints, describe, field_path, strictly
from poise_lib.resources.search import Search
from poise_lib.resources.yaml_text import MAX_BYTES, YamlDocument, parse_yaml

Resource: TypeAlias = Search | Candidate | Evaluation

KINDS: Final[dict[str, type[Search] | type[Candidate] | type[Evaluation]]] = {
    "Search": Search,
    "Candidate": Candidate,
    "Evaluation": Evaluation,
}
_METADATA: Final = frozenset(field.alias or name for name, field in ObjectMeta.model_fields.items()) - {"managedFields"}
"""What is read of a served object's metadata; the rest is the server's business."""


def served(document: Mapping[str, Any]) -> Resource:
    """An object as an API server has it.

    Raises:
        KeyError: it is of another kind.
        ValidationError: its model refuses it.
    """
    metadata = {key: value for key, value in document["metadata"].items() if key in _METADATA}
    return KINDS[document["kind"]].model_validate({**document, "metadata": metadata}, by_alias=True, by_name=False)


def load_documents(source: Path | str) -> list[Resource]:
    """Every resource in a file (a Path) or in a text (a str); ``kind: List`` is unpacked.

    Raises:
        InvalidInputError: the file cannot be read, or documents are wrong; the message lists every complaint.
    """
    if isinstance(source, Path):
        return parse_documents(read_text(source), str(source))
    return parse_documents(source, "input")


def load_one(source: Path, kind: type[Resource]) -> Any:
    """The one resource of this kind in a file.

    Raises:
        InvalidInputError: as :func:`load_documents`, or there is none or more than one of the kind, or another beside
        it.
    """
    found = load_documents(source)
    if len(found) != 1 or not isinstance(found[0], kind):
        held = ", ".join(f"{resource.kind} {resource.metadata.name}" for resource in found)
        raise InvalidInputError(f"{source}: holds {held}; exactly one {kind.__name__} is expected here")
    return found[0]


def parse_documents(text: str, origin: str) -> list[Resource]:
    """As :func:`load_documents`, for a text that messages call ``origin``."""
    documents = parse_yaml(text, origin)
    if not documents:
        raise InvalidInputError(
            f"{origin}: is empty; a manifest starts with 'apiVersion: {API_VERSION}' and 'kind: Search'"
        )
    resources: list[Resource] = []
    problems: list[str] = []
    for document in documents:
        where = f"{origin}, document {document.index}" if len(documents) > 1 else origin
        for data, path in _unpack(document.data):
            try:
                resources.append(_parse(data))
            except _Complaints as found:
                problems += [_line(where, document, data, path, *problem) for problem in found.problems]
    if problems:
        raise InvalidInputError("\n".join(problems))
    return resources


def read_text(path: Path) -> str:
    """The text of a manifest file.

    Raises:
        InvalidInputError: it does not exist, cannot be read, is too large or is not UTF-8.
    """
    try:
        if path.is_dir():
            raise InvalidInputError(f"{path}: is a directory; name a file")
        with path.open("rb") as file:
            # Not what stat says: devices and pipes have no size there, and /dev/zero no end.
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise InvalidInputError(f"{path}: has more than {MAX_BYTES:,} bytes, the most that are read; split it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInputError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from None


class _Complaints(Exception):
    def __init__(self, *problems: tuple[tuple[str | int, ...], str]) -> None:
        super().__init__(*problems)
        self.problems = problems


def _unpack(data: Any) -> list[tuple[Any, tuple[str | int, ...]]]:
    """The documents in a document: the items of a List with their paths, else itself."""
    if isinstance(data, dict) and data.get("kind") == "List" and isinstance(data.get("items"), list):
        return [(item, ("items", index)) for index, item in enumerate(data["items"])]
    return [(data, ())]


def _parse(data: Any) -> Resource:
    if not isinstance(data, dict):
        raise _Complaints(((), f"must be a mapping with apiVersion, kind, metadata and spec, but is {describe(data)}"))
    kind, version = data.get("kind"), data.get("apiVersion")
    if kind not in KINDS:
        hint = closest(kind, list(KINDS)) if isinstance(kind, str) else None
        known = f"{', '.join(list(KINDS)[:-1])} or {list(KINDS)[-1]}"
        was = "is missing" if kind is None else f"is {describe(kind)}"
        raise _Complaints((("kind",), f"{was}; must be {known}" + (f"; did you mean {hint}?" if hint else "")))
    if version != API_VERSION:
        was = "is missing" if version is None else f"is {describe(version)}"
        why = " (another version of POISE)" if isinstance(version, str) and version.startswith(f"{GROUP}/") else ""
        raise _Complaints((("apiVersion",), f"{was}{why}; must be {API_VERSION}"))
    model = KINDS[kind]
    try:
        return strictly(model, data)
    except ValidationError as error:
        raise _Complaints(*complaints(model, error)) from None


def _line(
    where: str,
    document: YamlDocument,
    data: Any,
    prefix: tuple[str | int, ...],
    path: tuple[str | int, ...],
    message: str,
) -> str:
    kind = data.get("kind") if isinstance(data, dict) else None
    metadata = data.get("metadata") if isinstance(data, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    what = f" ({kind} {name})" if kind in KINDS and isinstance(name, str) and len(name) <= 63 else ""
    return f"{where}, line {document.line((*prefix, *path))}{what}: {field_path(path)} {message}"
