"""Decisions by OpenAI's own client: probabilities of options, from the logprobs of their labels."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx
import openai
import pytest

from gateway.answers.backend import Delta, Generation, PromptIds
from tests.gateway.scripted_backend import CARD, ScriptedBackend
from tests.gateway.server import Running

ODDS = {"A": 0.5, "B": 0.3, "C": 0.2}
PREDICATE: Any = {"type": "predicate", "name": "angry", "instructions": "The customer is angry."}
CHOICE: Any = {
    "type": "choice",
    "instructions": [{"type": "input_text", "text": "Which team?"}, {"type": "input_json", "data": {"a": 1}}],
    "choices": [{"value": True, "description": "Yes."}, {"value": "True"}, {"value": "billing"}],
}
SCORE: Any = {"type": "score", "instructions": "How bad?", "levels": [{"label": "low"}, {"label": "high"}]}


@dataclass
class Scoring(ScriptedBackend):
    """The last token of a prompt, a byte, has the probability that `ODDS` gives it."""

    async def generate(
        self, generation: Generation, ended: Callable[[], None] = lambda: None, /
    ) -> AsyncGenerator[Delta, None]:
        self.generations.append(generation)
        assert isinstance(generation.prompt, PromptIds)
        text = bytes([*array("i", generation.prompt.packed)]).decode()
        entries: list[dict[str, Any]] = [
            {"token": letter, "logprob": math.log(ODDS.get(letter, 0.1)), "bytes": None, "top_logprobs": [],
             "text_length": len(letter)}
            for letter in text
        ]  # fmt: skip
        ended()
        yield Delta(text, "length", len(text), -1, 0, json.dumps(entries))


@pytest.fixture(scope="module")
def backend() -> Scoring:
    able = replace(CARD, max_seq_len=4096, max_prompt_logprobs=0)
    return Scoring(cards={"demo": able, "long": replace(able, max_seq_len=2**16), "unable": CARD})


def test_each_question_has_the_probabilities_of_its_options(client: openai.OpenAI, backend: Scoring) -> None:
    decision = client.decisions.create(model="demo", input="Help!", questions=[PREDICATE, CHOICE, SCORE])
    predicate, choice, score = (answer.to_dict() for answer in decision.answers)
    assert predicate == {"type": "predicate", "name": "angry", "probability": pytest.approx(0.625)}
    assert (choice["choice"], choice["confidence"], choice["name"]) == (True, pytest.approx(0.5), None)
    shares: Any = choice["probabilities"]
    assert [one["value"] for one in shares] == [True, "True", "billing"]
    assert [one["probability"] for one in shares] == [pytest.approx(share) for share in (0.5, 0.3, 0.2)]
    assert score["score"] == pytest.approx(0.375)
    levels: Any = score["probabilities"]
    assert [(one["value"], one["label"]) for one in levels] == [(0, "low"), (1, "high")]
    assert decision.model == "demo"
    assert decision.usage.input_tokens > 0
    assert len(backend.generations) == 7


def test_the_model_reads_the_input_the_question_and_its_options(client: openai.OpenAI, backend: Scoring) -> None:
    items: Any = [{"role": "developer", "content": "Judge."}, {"role": "user", "content": "Help!"}]
    client.decisions.create(model="demo", input=items, questions=[CHOICE])
    prompt = bytes([*array("i", backend.generations[-1].prompt.packed)])  # type: ignore[union-attr]
    messages = json.loads(prompt[:-1])["messages"]
    assert [message["role"] for message in messages] == ["system", "user"]
    assert messages[1]["content"].startswith('Help!\n\nWhich team?\n{"a":1}\nA. True: Yes.\nB. True\nC. billing\n')
    assert prompt.endswith(b"C")


def test_a_user_may_send_json(client: openai.OpenAI, backend: Scoring) -> None:
    parts: Any = [{"type": "input_text", "text": "An order: "}, {"type": "input_json", "data": [{"id": 1}]}]
    client.decisions.create(model="demo", input=[{"role": "user", "content": parts}], questions=[PREDICATE])
    prompt = bytes([*array("i", backend.generations[-1].prompt.packed)])  # type: ignore[union-attr]
    assert json.loads(prompt[:-1])["messages"][0]["content"].startswith('An order: [{"id":1}]\n\nThe customer')


def test_an_input_that_is_too_long_is_read_once(client: openai.OpenAI, backend: Scoring) -> None:
    backend.prompts.clear()
    with pytest.raises(openai.BadRequestError, match="maximum context length is 4096 tokens") as raised:
        client.decisions.create(model="demo", input="x" * 5000, questions=[PREDICATE] * 60)
    assert (raised.value.code, raised.value.param) == ("context_length_exceeded", "input")
    assert len(backend.prompts) == 1


def test_an_input_is_not_read_more_often_than_all_prompts_of_a_request_may_have_tokens(
    client: openai.OpenAI, backend: Scoring
) -> None:
    num_generations = len(backend.generations)
    with pytest.raises(openai.BadRequestError, match="may have 1048576 tokens; ask fewer at once") as raised:
        client.decisions.create(model="long", input="x" * 2**15, questions=[PREDICATE] * 64)
    assert raised.value.param == "questions"
    assert len(backend.generations) == num_generations


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": "unable"}, "model"),
        ({"input": []}, "input"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_json", "data": 1}]}]}, "input"),
        ({"input": [{"role": "system", "content": [{"type": "input_json", "data": {}}]}]}, "input"),
        ({"questions": []}, "questions"),
        ({"questions": [PREDICATE] * 65}, "questions"),
        ({"questions": [{**CHOICE, "choices": [{"value": "a"}] * 2}]}, "questions"),
        ({"questions": [{**PREDICATE, "instructions": [{"type": "input_image"}]}]}, "questions"),
        ({"questions": [{"type": "essay", "instructions": "Why?"}]}, "questions"),
    ],
)
def test_what_cannot_be_decided_is_rejected_by_name(gateway: Running, fields: dict[str, Any], param: str) -> None:
    body = {"model": "demo", "input": "Help!", "questions": [PREDICATE], **fields}
    answer = httpx.post(f"{gateway.url}/v1/decisions", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
