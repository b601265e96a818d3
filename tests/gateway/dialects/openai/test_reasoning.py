"""Reasoning: how much is asked for, what the chat template is told of it, and what the client sees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.gateway.bodies import CHAT, chat, post, refusal
from tests.gateway.scripted_backend import CARD, ScriptedBackend, delta
from tests.gateway.server import serving
from triton_repo.contract.model_card import ReasoningCard

SWITCHED = ReasoningCard("qwen3", "enable_thinking", tail="A", tail_on="A", tail_off="A<think>\n\n</think>\n\n")
OPENED = ReasoningCard("deepseek_r1", tail="A<think>\n")
EITHER = ReasoningCard("deepseek_v3", "thinking", tail="A</think>", tail_on="A<think>", tail_off="A</think>")
LEVELS = ReasoningCard("openai_gptoss", reads_effort=True)
CARDS = {
    "switched": replace(CARD, reasoning=SWITCHED, guides=("json_schema",), tool_parser="hermes"),
    "opened": replace(CARD, reasoning=OPENED, guides=("json_schema",)),
    "either": replace(CARD, reasoning=EITHER),
    "levels": replace(CARD, reasoning=LEVELS),
    "demo": CARD,
    "newer": replace(CARD, reasoning=ReasoningCard("of another version")),
}
ANSWER = "<think>\nso\n</think>\n\nYes."
BACKEND = ScriptedBackend((delta(ANSWER[:9]), delta(ANSWER[9:], "stop", 9)), cards=CARDS)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving(BACKEND) as gateway, httpx.Client(base_url=gateway.url) as client:
        yield client


def message(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    response = post(client, CHAT, chat(**fields))
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()["choices"][0]["message"]
    return answer


def told(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    """The arguments of the chat template."""
    message(client, **fields)
    arguments: dict[str, Any] = json.loads(BACKEND.generations[-1].prompt.json)["template_arguments"]  # type: ignore[union-attr]
    return arguments


def test_reasoning_has_both_names_that_clients_look_for_whole_and_streamed(client: httpx.Client) -> None:
    whole = message(client, model="switched")
    assert (whole["content"], whole["reasoning_content"], whole["reasoning"]) == ("Yes.", "so", "so")
    events = post(client, CHAT, chat(model="switched", stream=True)).text.split("\n\n")[:-2]
    deltas = [json.loads(event.removeprefix("data: "))["choices"][0]["delta"] for event in events]
    for name, text in (("content", "Yes."), ("reasoning_content", "so"), ("reasoning", "so")):
        assert "".join(delta.get(name) or "" for delta in deltas) == text


def test_reasoning_that_a_client_does_not_want_to_see_is_left_out_or_left_in_the_text(client: httpx.Client) -> None:
    hidden = message(client, model="switched", include_reasoning=False)
    assert (hidden["content"], "reasoning" in hidden, "reasoning_content" in hidden) == ("Yes.", False, False)
    events = post(client, CHAT, chat(model="switched", stream=True, include_reasoning=False)).text
    assert "reasoning" not in events
    assert message(client, model="switched", separate_reasoning=False)["content"] == ANSWER


def test_an_effort_is_what_the_template_reads(client: httpx.Client) -> None:
    assert told(client, model="switched", reasoning_effort="none") == {"enable_thinking": False}
    assert told(client, model="switched", reasoning_effort="high") == {"enable_thinking": True}
    assert told(client, model="either", reasoning_effort="low") == {"thinking": True}
    assert told(client, model="levels", reasoning_effort="medium") == {"reasoning_effort": "medium"}
    assert told(client, model="levels", reasoning_effort="max") == {"reasoning_effort": "high"}
    assert told(client, model="levels", reasoning_effort="none") == {"reasoning_effort": "low"}
    assert told(client, model="switched") == {}
    own = {"enable_thinking": True, "more": 1}
    assert told(client, model="switched", reasoning_effort="none", chat_template_kwargs=own) == own


def test_the_switch_of_another_family_is_that_of_the_template(client: httpx.Client) -> None:
    thinking, enabled = {"thinking": False}, {"enable_thinking": True}
    assert told(client, model="switched", chat_template_kwargs=thinking) == {**thinking, "enable_thinking": False}
    assert told(client, model="either", chat_template_kwargs=enabled) == {**enabled, "thinking": True}
    both = {"thinking": True, "enable_thinking": False}
    assert told(client, model="switched", chat_template_kwargs=both) == both
    assert told(client, model="demo", chat_template_kwargs=thinking) == thinking


def test_an_effort_without_effect_is_named(client: httpx.Client) -> None:
    for model, effort, ignored in (
        ("demo", "low", "reasoning_effort"),
        ("opened", "high", "reasoning_effort"),
        ("demo", "none", None),
        ("switched", "low", None),
    ):
        response = post(client, CHAT, chat(model=model, reasoning_effort=effort))
        assert response.headers.get("x-ignored-parameters") == ignored
    error = refusal(post(client, CHAT, chat(model="opened", reasoning_effort="none")))
    assert (error["param"], error["code"]) == ("reasoning_effort", "unsupported_parameter")
    assert refusal(post(client, CHAT, chat(reasoning_effort="utmost")))["param"] == "reasoning_effort"


@pytest.mark.parametrize(
    ("model", "kwargs", "is_open"),
    [
        ("opened", None, True),
        ("switched", None, False),
        ("switched", {"enable_thinking": False}, False),
        ("either", None, False),
        ("either", {"thinking": True}, True),
        ("either", {"thinking": False}, False),
    ],
)
def test_an_answer_begins_within_the_reasoning_where_its_prompt_ends_there(
    client: httpx.Client, model: str, kwargs: dict[str, bool] | None, is_open: bool
) -> None:
    message(client, model=model, chat_template_kwargs=kwargs)
    parsing = BACKEND.generations[-1].parsing
    assert parsing is not None
    assert parsing.reasoning_is_open is is_open


def test_an_answer_with_a_form_of_its_own_does_not_reason(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BACKEND, "script", (delta("{}", "stop"),))
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    assert told(client, model="switched", response_format=form) == {"enable_thinking": False}
    assert told(client, model="opened", response_format=form) == {}
    assert BACKEND.generations[-1].parsing is None


def test_a_budget_is_rejected_by_name(client: httpx.Client) -> None:
    error = refusal(post(client, CHAT, chat(model="switched", thinking_token_budget=5)))
    assert (error["param"], error["code"]) == ("thinking_token_budget", "unsupported_parameter")


def test_a_parser_of_a_newer_version_leaves_reasoning_in_the_text(client: httpx.Client) -> None:
    assert message(client, model="newer")["content"] == ANSWER
