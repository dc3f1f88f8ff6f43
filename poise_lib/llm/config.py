"""All that the client is told: the settings of a Search, and what the process's environment adds to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from poise_lib.errors import InvalidInputError
from poise_lib.llm.prices import Price, price_of
from poise_lib.llm.transcript import Scrubber
from poise_lib.resources.base import seconds
from poise_lib.resources.llm import LLMSettings, StructuredOutput, SystemPrompt

ENV_KEY: Final = "OPENAI_API_KEY"
"""The key: set by the user on one machine, from ``secretRef`` in a pod."""
ENV_URL: Final = "OPENAI_BASE_URL"
ENV_REPLAY: Final = "POISE_LLM_REPLAY_URL"
"""Where ``poise replay`` answers from transcripts: wins over every other address, and is used for nothing else."""
ENV_LITERATURE: Final = "POISE_LITERATURE"
"""A team's own papers: a file, or a folder of files."""
ENVIRONMENT: Final = (
    ENV_KEY,
    ENV_URL,
    ENV_REPLAY,
    ENV_LITERATURE,
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
"""All that a task which asks a model needs of the environment, and no other task gets."""
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
DEFAULT_URL: Final = "https://api.openai.com/v1"


@dataclass(frozen=True)
class Backoff:
    """How long to wait before a repeat: ``first``, doubled each time up to ``longest``, the upper half of it drawn.

    A server's Retry-After wins; a longer one than ``patience`` is not waited for.
    """

    first: float = 1.0
    longest: float = 60.0
    patience: float = 300.0


@dataclass(frozen=True)
class ClientConfig:
    """See :class:`~poise_lib.resources.llm.LLMSettings`; times in seconds."""

    model: str
    base_url: str = DEFAULT_URL
    key: str = field(default="", repr=False)
    timeout: float = 600.0
    idle_timeout: float = 180.0
    connect_timeout: float = 10.0
    max_retries: int = 5
    max_repairs: int = 2
    concurrency: int = 4
    max_output_tokens: int = 16_384
    temperature: float | None = None
    structured_output: StructuredOutput = StructuredOutput.AUTO
    system_prompt: SystemPrompt = SystemPrompt.AUTO
    price: Price | None = None
    stream: bool = True
    """An answer that streams shows that the server is alive, so that silence can be cut short."""
    backoff: Backoff = Backoff()
    replay_url: str = ""
    """Where requests really go in a replay; ``base_url`` stays what messages and transcripts name."""

    @classmethod
    def of(cls, settings: LLMSettings, environment: Mapping[str, str]) -> ClientConfig:
        """From a Search's settings.

        Args:
            settings: ``spec.proposer.llm``.
            environment: of the process.

        Raises:
            InvalidInputError: an address or a duration in it is none, or a replay is not on this machine.
        """
        url = settings.base_url or environment.get(ENV_URL, "").strip() or DEFAULT_URL
        if not url.startswith(("http://", "https://")):
            raise InvalidInputError(f"{ENV_URL} must be an address such as {DEFAULT_URL}, but is {url!r}")
        replay = environment.get(ENV_REPLAY, "").strip()
        if replay and urlsplit(replay).hostname not in _LOOPBACK:
            raise InvalidInputError(
                f"{ENV_REPLAY} is for `poise replay` and must be an address of this machine, but is {replay!r}; unset it"
            )
        return cls(
            model=settings.model,
            base_url=url,
            key=environment.get(ENV_KEY, "").strip(),  # a Secret made of a file often ends with a line break
            timeout=seconds(settings.timeout),
            idle_timeout=seconds(settings.idle_timeout),
            connect_timeout=seconds(settings.connect_timeout),
            max_retries=settings.max_retries,
            max_repairs=settings.max_repairs,
            concurrency=settings.concurrency,
            max_output_tokens=settings.max_output_tokens,
            temperature=settings.temperature,
            structured_output=settings.structured_output,
            system_prompt=settings.system_prompt,
            price=price_of(settings.model, settings.prices),
            # What was waited for when it was recorded need not be waited for again.
            backoff=Backoff(0.01, 0.05) if replay else Backoff(),
            replay_url=replay,
        )

    @property
    def scrubber(self) -> Scrubber:
        """Takes this key out of whatever is kept or said."""
        password = urlsplit(self.base_url).password
        return Scrubber(tuple(secret for secret in (self.key, password) if secret))
