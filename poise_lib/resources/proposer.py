"""Who proposes, implements and reflects: the operators of the library, or a language model."""

from __future__ import annotations

from enum import StrEnum

from pydantic import ConfigDict, Field, JsonValue, model_validator

from poise_lib.resources.base import Model
from poise_lib.resources.llm import LLMSettings


class ProposerType(StrEnum):
    """Who proposes."""

    LIBRARY = "Library"
    """Composes mechanisms by a typed grammar; needs no model."""
    LLM = "LLM"
    """A language model proposes, implements and reflects."""


_PROPOSER_RULES: dict[str, JsonValue] = {
    "x-kubernetes-validations": [
        {
            "rule": "self.type != 'LLM' || has(self.llm)",
            "message": "proposer.type LLM needs proposer.llm; give at least proposer.llm.model",
        },
        {
            "rule": "self.type != 'Library' || !has(self.llm)",
            "message": "proposer.type Library calls no model; remove proposer.llm or set proposer.type: LLM",
        },
    ]
}


class Proposer(Model):
    """Who proposes and implements."""

    model_config = ConfigDict(json_schema_extra=_PROPOSER_RULES)

    type: ProposerType = Field(
        ProposerType.LIBRARY,
        description="Library composes mechanisms by a typed grammar; LLM asks the language model of proposer.llm.",
    )
    llm: LLMSettings | None = Field(None, description="The language model, for type LLM.")

    @model_validator(mode="after")
    def _model_where_needed(self) -> Proposer:
        if self.type is ProposerType.LLM and self.llm is None:
            raise ValueError("proposer.type LLM needs proposer.llm; give at least proposer.llm.model")
        if self.type is ProposerType.LIBRARY and self.llm is not None:
            raise ValueError("proposer.type Library calls no model; remove proposer.llm or set proposer.type: LLM")
        return self
