"""Literature priors L: papers on policy optimisation for language models, curated, and a team's own beside them.

The papers that come with POISE stand in ``literature.yaml``.  A team adds its own from a file of the same form (in a cluster, a
ConfigMap mounted as one).  What such a file says is data, as everything else in a prompt that we have not written.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, ValidationError, field_validator, model_validator

from poise_lib.algorithms.contract import Family
from poise_lib.algorithms.registry import NAMES
from poise_lib.errors import InvalidInputError
from poise_lib.prompts.context import Form, Piece
from poise_lib.resources.base import Model
from poise_lib.resources.messages import first_problem
from poise_lib.resources.yaml_text import parse_yaml

MAX_PAPERS: Final = 500
MAX_FILE: Final = 1 << 20
"""Bytes: what a ConfigMap can hold."""

Identifier = Annotated[str, Field(max_length=64, pattern=r"^(\d{4}\.\d{4,5}|[A-Za-z][A-Za-z0-9._:/-]*)$")]
"""arXiv's number, or for what is not there a key of letters such as ``doi:...`` or ``internal-note-7``."""


class Paper(Model):
    """One paper."""

    identifier: Identifier = Field(
        description="arXiv's number, such as 2402.03300, or a key that begins with a letter."
    )
    title: str = Field(min_length=1, max_length=300, description="Its title.")
    year: int = Field(ge=1950, le=2100, description="Year of the first version.")
    mechanism: str = Field(min_length=1, max_length=1000, description="What is computed.")
    claim: str = Field(min_length=1, max_length=1000, description="What the authors say that it does.")
    families: tuple[Family, ...] = Field((), max_length=8, description="Mechanism families that it speaks of.")
    zoo: str | None = Field(None, description="Name of the algorithm of the zoo that implements it.")

    @field_validator("identifier", mode="before")
    @classmethod
    def _quoted(cls, identifier: object) -> object:
        if isinstance(identifier, (int, float)):  # YAML has taken it for a number, and 2402.03300 has lost its zeros
            raise ValueError(f"put the identifier in quotes: {identifier} was read as a number")
        return identifier

    @field_validator("zoo")
    @classmethod
    def _known(cls, zoo: str | None) -> str | None:
        if zoo is not None and zoo not in NAMES:
            raise ValueError(f"there is no algorithm {zoo!r} in the zoo (list: poise algorithms)")
        return zoo


class Literature(Model):
    """A set of papers, each once."""

    papers: tuple[Paper, ...] = Field(max_length=MAX_PAPERS, description="In any order.")

    @model_validator(mode="after")
    def _each_once(self) -> Literature:
        seen: set[str] = set()
        for paper in self.papers:
            if paper.identifier in seen:
                raise ValueError(f"{paper.identifier} is listed twice")
            seen.add(paper.identifier)
        return self

    def with_own(self, own: Literature) -> Literature:
        """These papers and a team's own; where both have one, the team's words count."""
        replaced = {paper.identifier: paper for paper in (*self.papers, *own.papers)}
        return Literature(papers=tuple(replaced.values()))


@cache
def curated() -> Literature:
    """The papers that come with POISE."""
    text = (resources.files("poise_lib.prompts") / "literature.yaml").read_text(encoding="utf-8")
    return parse_literature(text, "literature.yaml")


def load_literature(file: Path) -> Literature:
    """A team's own papers.

    Raises:
        InvalidInputError: the file cannot be read, is no YAML, or breaks the model; the message names the field.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{file}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE:
        raise InvalidInputError(f"{file}: {len(data)} bytes; literature has at most {MAX_FILE}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{file}: not UTF-8 at byte {error.start}") from error
    return parse_literature(text, str(file))


def parse_literature(text: str, origin: str) -> Literature:
    """Literature from YAML; ``origin`` is what messages call it.

    Raises:
        InvalidInputError: it is no YAML, or breaks the model.
    """
    documents = parse_yaml(text, origin)
    if len(documents) != 1:
        raise InvalidInputError(f"{origin}: holds {len(documents)} documents; write one, with a list of papers")
    try:
        return Literature.model_validate(documents[0].data)
    except ValidationError as error:
        raise InvalidInputError(f"{origin}: {first_problem(error)}") from error


def literature_pieces(literature: Literature, families: tuple[Family, ...] = ()) -> list[Piece]:
    """The papers as pieces of a context; those of the families that a direction names count most."""
    wanted = set(families)
    pieces = []
    for paper in literature.papers:
        known = f"; in the zoo as {paper.zoo}" if paper.zoo else ""
        head = f"{paper.identifier} ({paper.year}) {paper.title}{known}"
        forms = (
            Form(f"{head}\nmechanism: {paper.mechanism}\nclaim: {paper.claim}"),
            Form(f"{head}\nmechanism: {paper.mechanism}", 0.75, "its claim"),
        )
        value = 1.2 + (2.0 if wanted & set(paper.families) else 0.0)
        pieces.append(Piece(f"paper {paper.identifier}", "the literature", forms, value))
    return pieces
