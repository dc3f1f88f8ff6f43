"""What tasks that ask a language model need from this machine: a key, an address, the team's own literature."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from poise_lib.errors import EngineError, InvalidInputError
from poise_lib.resources import Search
from poise_lib.resources.llm import LLMSettings

LITERATURE_COPY: Final = "literature.yaml"
"""In a state directory: what its tasks were given, so that a replay gives them the same."""


def model_of(search: Search) -> LLMSettings | None:
    """The settings of the language model; None for a search that asks none."""
    return search.spec.proposer.llm


def endpoint(settings: LLMSettings, environment: Mapping[str, str] = os.environ) -> str:
    """The address that a client would take on this machine."""
    from poise_lib.llm.config import DEFAULT_URL, ENV_URL

    return settings.base_url or environment.get(ENV_URL, "").strip() or DEFAULT_URL


def is_local(url: str) -> bool:
    """Whether an address is of this machine or of a private network, where servers often want no key."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".svc"))
    return address.is_private or address.is_loopback


def require_model_client() -> None:
    """See that what asks a model is installed.

    Raises:
        EngineError: it is not; the message says what to install.
    """
    missing = [name for name in ("openai", "jinja2") if find_spec(name) is None]
    if missing:
        raise EngineError(
            f"{', '.join(missing)}: not installed; pip install 'poise-operator[llm]' brings what asks a language model"
        )


def warnings(search: Search, manifest: Path) -> list[str]:
    """What this machine lacks for the search, or what may surprise; a sentence each with the way out."""
    settings = model_of(search)
    if settings is None:
        return []
    from poise_lib.llm.config import ENV_KEY
    from poise_lib.llm.prices import price_of

    found = []
    url = endpoint(settings)
    if not os.environ.get(ENV_KEY, "").strip() and not is_local(url):
        found.append(
            f"{ENV_KEY} is not set on this machine, and {url} will want a key: export it, or in a cluster give "
            "spec.proposer.llm.secretRef"
        )
    try:
        literature(search, manifest)
    except InvalidInputError as error:
        found.append(f"spec.proposer.llm.literature: {error}")
    if settings.literature is not None and settings.literature.config_map is not None:
        found.append(
            "spec.proposer.llm.literature.configMap is read in a cluster only: on one machine give literature.file"
        )
    try:
        require_model_client()
    except EngineError as error:
        found.append(str(error))
    budget = search.spec.budget
    if price_of(settings.model, settings.prices) is None:
        found.append(
            f"the price of model {settings.model!r} is not known: its tokens are counted, its cost is not; "
            "spec.proposer.llm.prices gives one (0 for a model of your own)"
        )
    if budget.llm_tokens is None and budget.llm_cost_usd is None:
        found.append("nothing limits what the model may cost: give spec.budget.llmCostUSD or spec.budget.llmTokens")
    return found


def literature(search: Search, manifest: Path) -> Path | None:
    """The literature file of a manifest, checked; None where none is given.

    Raises:
        InvalidInputError: it is not there, or is none.
    """
    settings = model_of(search)
    if settings is None or settings.literature is None or settings.literature.file is None:
        return None
    from poise_lib.prompts.literature import load_literature

    path = manifest.resolve().parent / settings.literature.file
    load_literature(path)
    return path


def keep_literature(search: Search, manifest: Path, state: Path) -> Path | None:
    """Copy the literature into the state directory; returns the copy, None where none is given.

    Raises:
        InvalidInputError: it is not there, or is none.
        StateError: the state directory cannot be written.
    """
    from poise_lib.artifacts.store import write_atomically

    source = literature(search, manifest)
    if source is None:
        return None
    copy = state.resolve() / LITERATURE_COPY
    data = source.read_bytes()
    if not copy.exists() or copy.read_bytes() != data:
        write_atomically(copy, data)
    return copy


@contextlib.contextmanager
def environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set variables for as long as this lasts; None takes one out."""
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
