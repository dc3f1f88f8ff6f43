"""The scripted server itself: it runs as a program, and who asks the same gets the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import openai
import pytest

from tests.llm.answers import LIBRARY
from tests.llm.script import Script, usage
from tests.llm.server import ScriptedServer

ROOT = Path(__file__).parents[3]
SCRIPT = """\
models: [one, two]
key: secret
rules:
  - match: implement
    replies: [{content: first}, {content: second}]
  - choose: [{content: a}, {content: b}, {content: c}]
"""


def request(text: str) -> dict[str, object]:
    return {"model": "one", "messages": [{"role": "user", "content": text}]}


def test_it_runs_as_a_program(tmp_path: Path) -> None:
    path = tmp_path / "script.yaml"
    path.write_text(SCRIPT)
    command = [sys.executable, "-m", "tests.llm.server", "--port", "0", "--script", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("listening on ").strip()
        with openai.OpenAI(api_key="secret", base_url=url, max_retries=0) as client:
            assert [model.id for model in client.models.list()] == ["one", "two"]
            said = [
                client.chat.completions.create(model="one", messages=[{"role": "user", "content": "implement it"}])
                for _ in range(3)
            ]
        process.terminate()
    assert [answer.choices[0].message.content for answer in said] == ["first", "second", "second"]


def test_the_same_question_gets_the_same_answer() -> None:
    one, two = (Script.load_text(SCRIPT) for _ in range(2))
    questions = [f"question {number}" for number in range(20)]
    answers = [one.reply(request(text)).content for text in questions]
    assert answers == [two.reply(request(text)).content for text in reversed(questions)][::-1]
    assert set(answers) == {"a", "b", "c"}


def test_scripts_are_checked() -> None:
    with pytest.raises(ValueError, match="no answer 'gud'"):
        Script.of({"rules": [{"replies": [{"answer": "gud"}]}]})
    with pytest.raises(ValueError, match="no fault 'slwo'"):
        Script.of({"rules": [{"replies": [{"fault": "slwo"}]}]})
    with pytest.raises(ValueError, match="no refusal"):
        Script.of({"refuses": ["everythin"]})


def test_no_key_no_answer() -> None:
    with ScriptedServer(Script.of({"key": "right"})) as server:
        client = openai.OpenAI(api_key="wrong", base_url=server.url, max_retries=0)
        with client, pytest.raises(openai.AuthenticationError):
            client.models.list()
        assert server.requests == []


@pytest.mark.parametrize("name", LIBRARY)
def test_every_answer_is_text(name: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    form = {"type": "json_schema", "json_schema": {"name": "A", "schema": schema}}
    assert isinstance(LIBRARY[name]({**request("x"), "response_format": form}), str)


def test_usage_is_true_unless_it_lies() -> None:
    told = usage("true", request("four" * 10), "answer" * 4)
    assert told == {"prompt_tokens": 18, "completion_tokens": 6, "total_tokens": 24}
