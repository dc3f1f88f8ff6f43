"""How a Search reaches a language model, and what it has spent there.

``spec.proposer.llm`` is :class:`LLMSettings`; :class:`Spend` is the unit of account from one task up to the whole
search, whose ``status.ledger`` is :class:`Ledger`.  The client is in :mod:`poise_lib.llm`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from poise_lib.resources.base import Duration, Finite, Model, ObjectName, ShortText, cel

BaseURL = Annotated[str, StringConstraints(pattern=r"^https?://[^\s@?#]+$", max_length=512)]
"""No user, no query: a key in an address ends up in logs."""
SecretName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
SecretKey = Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]
Price = Annotated[float, Field(ge=0.0, le=100_000.0, allow_inf_nan=False)]
"""US dollars for a million tokens."""


class SecretReference(Model):
    """A key of a Secret in the Search's namespace."""

    name: SecretName = Field(description="Name of the Secret.")
    key: SecretKey = Field("api-key", description="Which of its keys holds the API key.")


class StructuredOutput(StrEnum):
    """How an answer is made to fit its schema."""

    AUTO = "Auto"
    """The strictest form that the server takes; found out by asking, and then kept to."""
    JSON_SCHEMA = "JSONSchema"
    JSON_OBJECT = "JSONObject"
    TEXT = "Text"


class SystemPrompt(StrEnum):
    """Where instructions go."""

    AUTO = "Auto"
    """A system message; the first message of the user when the server says that the model has none."""
    SYSTEM = "System"
    USER = "User"


class OnFailure(StrEnum):
    """What the search does when the model cannot be used."""

    STOP = "Stop"
    """Says why and starts nothing new; a mended key or another model wakes it."""
    LIBRARY = "Library"
    """Goes on with the operators that need no model."""


class Prices(Model):
    """Prices of the model, in place of the table that POISE ships."""

    input_per_million: Price = Field(description="US dollars for a million tokens of input.")
    cached_input_per_million: Price | None = Field(
        None, description="The same for input that the server had cached; as other input when missing."
    )
    output_per_million: Price = Field(description="US dollars for a million tokens of output, reasoning included.")


class Literature(Model):
    """A team's own papers, which every proposal may draw on."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            "has(self.configMap) != has(self.file)", "give exactly one of literature.configMap and literature.file"
        )
    )

    config_map: ObjectName | None = Field(
        None, description="In a cluster: a ConfigMap; each key is a file of papers in YAML."
    )
    file: ShortText | None = Field(
        None, description="On one machine: a file of papers in YAML, relative to the manifest."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Literature:
        if (self.config_map is None) == (self.file is None):
            raise ValueError("give exactly one of literature.configMap and literature.file")
        return self


class LLMSettings(Model):
    """The model that proposes, implements and reflects, behind any server that speaks OpenAI's chat completions."""

    base_url: BaseURL | None = Field(
        None,
        alias="baseURL",
        description="Address of the API, up to and with /v1; else the environment's OPENAI_BASE_URL, else OpenAI's own.",
    )
    model: Annotated[str, StringConstraints(min_length=1, max_length=256)] = Field(
        description="Name of the model as the server knows it."
    )
    secret_ref: SecretReference | None = Field(
        None, description="Where the API key is, in a cluster; on one machine it is the environment's OPENAI_API_KEY."
    )
    timeout: Duration = Field(
        "10m", description="Limit of one call: a reasoning model may think for minutes before it answers."
    )
    idle_timeout: Duration = Field("3m", description="Longest silence of the server within a call.")
    connect_timeout: Duration = Field("10s", description="Limit of opening a connection.")
    max_retries: int = Field(
        5, ge=0, le=20, description="Repeats of a call that failed on its way: with back-off, they outlast a minute."
    )
    max_repairs: int = Field(
        2, ge=0, le=10, description="Times that the model is told what is wrong with its answer and asked again."
    )
    concurrency: int = Field(4, ge=1, le=64, description="Calls that one task makes at the same time.")
    max_output_tokens: int = Field(
        16_384, ge=16, le=1_000_000, description="Limit of one answer, reasoning included; also what a call reserves."
    )
    context_tokens: int = Field(
        24_000, ge=1000, le=2_000_000, description="Limit of what the model is told in one prompt."
    )
    temperature: Annotated[float, Field(ge=0.0, le=2.0, allow_inf_nan=False)] | None = Field(
        None, description="Sampling temperature; the model's own when missing, because reasoning models refuse one."
    )
    structured_output: StructuredOutput = Field(
        StructuredOutput.AUTO, description="How an answer is made to fit its schema."
    )
    system_prompt: SystemPrompt = Field(SystemPrompt.AUTO, description="Where instructions go.")
    prices: Prices | None = Field(None, description="Prices of the model, in place of the table that POISE ships.")
    literature: Literature | None = Field(None, description="A team's own papers, which every proposal may draw on.")
    principles_every: int = Field(
        4, ge=0, le=1000, description="Rounds after which the archive is distilled into principles anew; 0: at the end."
    )
    on_failure: OnFailure = Field(OnFailure.STOP, description="What happens when the model cannot be used.")


class Spend(Model):
    """What calls of a model have cost: a sum that is never below the truth."""

    calls: int = Field(0, ge=0, description="Calls sent, repeats and repairs included.")
    prompt_tokens: int = Field(0, ge=0, description="Tokens in, cached ones included.")
    cached_tokens: int = Field(0, ge=0, description="Of these, the ones that the server had cached.")
    completion_tokens: int = Field(0, ge=0, description="Tokens out, reasoning included.")
    cost_usd: Finite = Field(
        0.0, ge=0.0, alias="costUSD", description="US dollars by the price table; 0 while the price is unknown."
    )
    estimated_calls: int = Field(
        0, ge=0, description="Calls whose usage was not told or not credible, counted at the most that was possible."
    )
    unpriced_calls: int = Field(0, ge=0, description="Calls of a model without a known price: not in costUSD.")

    @property
    def tokens(self) -> int:
        """In and out."""
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: Spend) -> Spend:
        """The sum of two."""
        return Spend(
            calls=self.calls + other.calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cost_usd=round(self.cost_usd + other.cost_usd, 9),
            estimated_calls=self.estimated_calls + other.estimated_calls,
            unpriced_calls=self.unpriced_calls + other.unpriced_calls,
        )


class Reservation(Model):
    """What is set aside for one task, over all its attempts."""

    task: ShortText = Field(description="Name of the task.")
    tokens: int = Field(ge=0, description="Tokens, in and out.")
    usd: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = Field(
        None, description="US dollars; missing when the price is not known."
    )
    counted: bool = Field(
        False, description="Whether what it spent is in the sum already; nothing is set aside for it any more."
    )


class Ledger(Spend):
    """Everything that the search has spent on its model, and what it has set aside for tasks that run."""

    reserved_tokens: int = Field(0, ge=0, description="Tokens set aside for tasks that have not ended.")
    reserved_usd: Finite = Field(
        0.0, ge=0.0, alias="reservedUSD", description="US dollars set aside for tasks that have not ended."
    )
    open: tuple[Reservation, ...] = Field((), max_length=128, description="Tasks that have not been accounted for.")
    checked: ShortText = Field("", description="Mark of the settings with which the model was found usable.")
    fallback: ShortText = Field(
        "", description="Why the operators of the library took over (onFailure: Library); empty while the model serves."
    )
    exhausted: ShortText = Field("", description="Which cap of the budget is reached; empty while none is.")
