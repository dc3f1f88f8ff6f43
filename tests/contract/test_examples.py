"""The examples are manifests as they stand; the one with a language model names what it needs, and no key."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
import yaml

from controller import manifests
from controller.policies import policy
from controller.settings import Settings
from poise_lib.llm.config import ClientConfig
from poise_lib.resources import Candidate, Search
from poise_lib.resources.proposer import ProposerType
from poise_lib.tasks.protocol import TaskKind, TaskRequest
from tests.kube.cluster import ROOT

EXAMPLES: Final = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_fits_its_model(example: Path) -> None:
    document = yaml.safe_load(example.read_text(encoding="utf-8"))
    model = {"Search": Search, "Candidate": Candidate}[document["kind"]]
    model.model_validate(document)


def test_the_search_with_a_language_model_is_capped_and_takes_its_key_from_a_secret() -> None:
    text = (ROOT / "examples" / "search-llm.yaml").read_text(encoding="utf-8")
    search = Search.model_validate(yaml.safe_load(text) | {"status": {}})
    settings = search.spec.proposer.llm
    assert search.spec.proposer.type is ProposerType.LLM
    assert settings is not None
    assert settings.secret_ref is not None
    assert f"create secret generic {settings.secret_ref.name} --from-literal={settings.secret_ref.key}=" in text
    assert search.spec.budget.llm_tokens
    assert search.spec.budget.llm_cost_usd
    assert ClientConfig.of(settings, {}).price is not None, "a cap in dollars needs a price"
    request = TaskRequest(kind=TaskKind.CHECK, name="llm-check", input={"llm": settings.to_document()})
    [task] = manifests.job(request, 1, search, Settings(worker_image="w"))["spec"]["template"]["spec"]["containers"]
    assert [item["name"] for item in task["env"] if "valueFrom" in item] == ["OPENAI_API_KEY"]
    assert policy(search) is not None
