"""A scripted server on a real socket, and a client that does not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel, ConfigDict, Field

from poise_lib.llm.client import Answer, Capabilities, Client
from poise_lib.llm.config import ClientConfig
from poise_lib.llm.dialect import Message
from poise_lib.llm.ledger import Allotment
from poise_lib.llm.prices import price_of
from poise_lib.llm.purse import Purse
from poise_lib.resources.llm import Prices
from tests.llm.script import Document, Script
from tests.llm.server import ScriptedServer

T = TypeVar("T", bound=BaseModel)
KEY = "secret-of-the-test-0123456789"
PRICES = Prices(input_per_million=2, cached_input_per_million=1, output_per_million=10)
QUESTION = (Message("system", "You design algorithms."), Message("user", "Propose one."))


class Idea(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="forbid")

    title: str = Field(max_length=80)
    strength: float = Field(ge=0, le=1)
    steps: tuple[str, ...] = Field(min_length=1, max_length=5)


@dataclass
class World:
    """A server, a purse, and the ways to ask."""

    server: ScriptedServer
    folder: Path
    waits: list[float] = field(default_factory=list)
    allotment: Allotment = field(default_factory=lambda: Allotment(10**7, 100.0))
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def purse(self) -> Purse:
        """A new attempt of the one task."""
        return Purse(self.allotment, self.folder / "task")

    def config(self, **changes: Any) -> ClientConfig:
        """Of a client for this server."""
        price = price_of("scripted", PRICES)
        fields: dict[str, Any] = {
            "model": "scripted", "base_url": self.server.url, "key": KEY, "price": price, "max_output_tokens": 800,
            "timeout": 60.0, "idle_timeout": 30.0, "connect_timeout": 5.0, "max_retries": 3,
        }  # fmt: skip
        return ClientConfig(**{**fields, **self.settings, **changes})

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def client(self, **changes: Any) -> Client:
        """A client that writes down how long it would wait."""
        return Client(self.config(**changes), self._sleep)

    def ask(self, problems: Callable[[Idea], str | None] | None = None, **changes: Any) -> Answer[Idea]:
        """Ask for an idea."""

        async def run() -> Answer[Idea]:
            async with self.client(**changes) as client:
                return await client.ask(QUESTION, Idea, self.purse, problems)

        return asyncio.run(run())

    def check(self, **changes: Any) -> Capabilities:
        """Whether the model can be used."""

        async def run() -> Capabilities:
            async with self.client(**changes) as client:
                return await client.check(self.purse)

        return asyncio.run(run())

    @property
    def truth(self) -> int:
        """Tokens that the server really worked through."""
        return sum(used["total_tokens"] for used in self.server.worked)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Starts a server with a script."""
    with ExitStack() as stack:

        def start(*replies: Document, **script: Any) -> World:
            rules = [{"replies": list(replies)}] if replies else []
            document = {"key": KEY, "rules": rules, **script}
            return World(stack.enter_context(ScriptedServer(Script.of(document))), tmp_path)

        yield start
