"""Parameters that are refused by name, ignored aloud, or carried to the engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gateway.answers.backend import PromptIds, PromptText
from tests.gateway.bodies import CHAT, COMPLETIONS, HELLO, chat, completion, post, refusal
from tests.gateway.scripted_backend import CARD, ScriptedBackend
from tests.gateway.server import serving
from triton_repo.contract.model_card import ModelCard

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_UNSUPPORTED = (
    *("temperature", "top_k", "repetition_penalty", "stop_token_ids"),
    *("priority", "cache_salt", "logprobs"),
)
GREEDY_ONLY = ModelCard(512, "greedy", 0, True, "a test", unsupported=_UNSUPPORTED)
BASE = ModelCard(512, "base", 0, False, "a test")
BACKEND = ScriptedBackend(
    cards={"demo": CARD, "biased": replace(CARD, logit_bias=True), "greedy": GREEDY_ONLY, "base": BASE}
)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving(BACKEND) as gateway, httpx.Client(base_url=gateway.url) as client:
        yield client


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logit_bias", {"5": 1}),
        ("modalities", ["text", "audio"]),
        ("audio", {}),
        ("web_search_options", {}),
        ("suffix", "x"),
        ("grammar", 'root ::= "a"'),
        ("min_length", 60),
        ("num_beams", 4),
        ("no_repeat_ngram_size", 3),
        ("mirostat", 2),
        ("max_new_tokens", 3),
        ("n_predict", 3),
        ("repeat_penalty", 5.0),
        ("stop_sequences", [" a"]),
        ("extra_body", {"max_tokens": 2}),
        ("logprob_token_ids", [1, 2]),
        ("return_token_offsets", True),
        ("return_hidden_states", True),
        ("watermarking", True),
        ("reasoning_budget_tokens", 5),
    ],
)
def test_a_known_parameter_that_does_not_work_here_is_refused_by_name(
    client: httpx.Client, name: str, value: Any
) -> None:
    for path, body in ((CHAT, chat), (COMPLETIONS, completion)):
        error = refusal(post(client, path, body(**{name: value})))
        assert (error["param"], error["code"]) == (name, "unsupported_parameter")


def sent_chat() -> dict[str, Any]:
    chat: dict[str, Any] = json.loads(BACKEND.generations[-1].prompt.json)  # type: ignore[union-attr]
    return chat


@pytest.mark.parametrize("fields", [{"prefix": True}, {"partial": True}, {}])
def test_an_answer_that_a_client_has_begun_is_continued(client: httpx.Client, fields: dict[str, bool]) -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", **fields}]
    more: dict[str, Any] = {} if fields else {"continue_final_message": True, "add_generation_prompt": False}
    assert post(client, CHAT, chat(messages=messages, **more)).status_code == 200
    assert sent_chat()["continue_final_message"] is True
    assert sent_chat()["messages"][-1] == {"role": "assistant", "content": "b"}


def test_only_the_last_message_can_be_continued_and_no_new_one_begun_with_it(client: httpx.Client) -> None:
    begun = {"role": "assistant", "content": "b", "prefix": True}
    assert refusal(post(client, CHAT, chat(messages=[begun, HELLO])))["param"] == "messages"
    both = chat(continue_final_message=True, add_generation_prompt=True)
    assert refusal(post(client, CHAT, both))["param"] == "continue_final_message"
    assert post(client, CHAT, chat(add_generation_prompt=False)).status_code == 200
    assert sent_chat()["add_generation_prompt"] is False


def test_special_tokens_are_part_of_the_text_of_those_who_ask_for_them(client: httpx.Client) -> None:
    for asked, kept in ((False, True), (True, False), (None, False)):
        body = completion(skip_special_tokens=asked, spaces_between_special_tokens=False)
        assert post(client, COMPLETIONS, body).status_code == 200
        assert BACKEND.generations[-1].keep_special is kept


@pytest.mark.parametrize(("given", "max_tokens", "kept"), [(5, 8, 5), (-1, 8, 504), (-1, None, 511), (0, 8, None)])
def test_a_prompt_may_be_cut_to_its_last_tokens(
    client: httpx.Client, given: int, max_tokens: int | None, kept: int | None
) -> None:
    body = completion(prompt=[1] * 500, truncate_prompt_tokens=given, max_tokens=max_tokens)
    assert post(client, COMPLETIONS, body).status_code == 200
    assert BACKEND.generations[-1].num_last == kept
    if kept:
        long = completion(prompt=[1] * 5000, truncate_prompt_tokens=given, max_tokens=max_tokens)
        assert post(client, COMPLETIONS, long).status_code == 200


def test_the_side_of_a_cut_asks_for_nothing_where_nothing_is_cut(client: httpx.Client) -> None:
    for given in (None, 0):
        response = post(client, CHAT, chat(truncation_side="right", truncate_prompt_tokens=given))
        assert (response.status_code, response.headers.get("x-ignored-parameters")) == (200, None)
    error = refusal(post(client, CHAT, chat(truncation_side="right", truncate_prompt_tokens=5)))
    assert (error["param"], error["code"]) == ("truncation_side", "unsupported_parameter")


@pytest.mark.parametrize(("options", "counted"), [({}, True), ({"include_usage": False}, False)])
def test_counts_in_every_chunk_are_left_out_where_usage_is_not_wanted(
    client: httpx.Client, options: dict[str, bool], counted: bool
) -> None:
    for path, body in ((CHAT, chat), (COMPLETIONS, completion)):
        asked = body(stream=True, stream_options={"continuous_usage_stats": True, **options})
        chunks = [json.loads(line[6:]) for line in post(client, path, asked).text.split("\n\n") if '"id"' in line]
        assert {chunk.get("usage") is not None for chunk in chunks} == {counted}


def test_values_that_ask_for_nothing_pass_and_are_not_named(client: httpx.Client) -> None:
    neutral = {
        "tools": [],
        "tool_choice": "auto",
        "response_format": {"type": "text"},
        "logprobs": False,
        "echo": False,
    }
    response = post(client, CHAT, chat(**neutral, best_of=1, logit_bias={}, suffix=None, truncation_side="left"))
    assert response.status_code == 200
    assert "x-ignored-parameters" not in response.headers


def test_what_has_no_effect_is_named_in_a_header(client: httpx.Client) -> None:
    guess = {"type": "content", "content": "x"}
    body = chat(
        user="me", store=True, metadata={}, verbosity="low", colour=1, stream=True, nothing=None, prediction=guess
    )
    response = post(client, CHAT, body)
    assert response.headers["x-ignored-parameters"] == "colour, prediction, store, verbosity"


def test_what_has_no_effect_within_an_object_is_named_too(client: httpx.Client) -> None:
    for name, value in {"response_format": {"type": "text", "a": 1}, "structured_outputs": {"a": 2}}.items():
        assert post(client, CHAT, chat(**{name: value})).headers["x-ignored-parameters"] == f"{name}.a"


def test_a_client_may_prefer_an_error_to_a_parameter_without_effect(client: httpx.Client) -> None:
    strict = {"prefer": 'respond-async, Handling="strict"; x=1, handling=lenient', "content-type": "application/json"}
    response = client.post(CHAT, content=chat(verbosity="low", store=True), headers=strict)
    error = refusal(response)
    assert (error["param"], error["code"]) == ("store", "unsupported_parameter")
    assert error["message"].startswith("store, verbosity: no effect here")
    for path, body in ((CHAT, chat), (COMPLETIONS, completion)):
        asks_for_nothing = body(user="a", metadata={"a": "b"}, safety_identifier="c", prompt_cache_key="d", store=False)
        response = client.post(path, content=asks_for_nothing, headers=strict)
        assert (response.status_code, response.headers["preference-applied"]) == (200, "handling=strict")
    lenient = {**strict, "prefer": "handling=lenient"}
    response = client.post(CHAT, content=chat(store=True), headers=lenient)
    assert response.headers["preference-applied"] == "handling=lenient"
    assert response.headers["x-ignored-parameters"] == "store"


def test_the_header_is_bounded_and_holds_no_strange_characters(client: httpx.Client) -> None:
    fields = {f"field_{number:03}": 1 for number in range(500)} | {"a\r\nset-cookie: x": 1, "é": 1, "x" * 65: 1}
    names = post(client, CHAT, chat(**fields)).headers["x-ignored-parameters"].split(", ")
    assert names == sorted(fields)[1:33]


def test_what_an_engine_cannot_do_is_refused_by_name_and_left_out_when_it_asks_for_nothing(
    client: httpx.Client,
) -> None:
    error = refusal(post(client, CHAT, chat(model="greedy", top_k=5)))
    assert (error["param"], error["code"]) == ("top_k", "unsupported_parameter")
    warm = refusal(post(client, CHAT, chat(model="greedy", temperature=0.5)))
    assert (warm["param"], warm["code"]) == ("temperature", "unsupported_parameter")
    neutral = chat(model="greedy", temperature=0, top_k=-1, repetition_penalty=1.0, stop_token_ids=[])
    assert post(client, CHAT, neutral).status_code == 200
    sampling = BACKEND.generations[-1].sampling
    assert (sampling.top_k, sampling.repetition_penalty, sampling.stop_token_ids) == (None, None, None)


def test_a_priority_and_a_salt_of_the_cache_reach_an_engine_that_has_them(client: httpx.Client) -> None:
    for path, body in ((CHAT, chat), (COMPLETIONS, completion)):
        assert post(client, path, body(priority=1.0, cache_salt="tenant-7")).status_code == 200
        sampling = BACKEND.generations[-1].sampling
        assert (sampling.priority, sampling.cache_salt) == (1, "tenant-7")
        for name, values in (("priority", [1.5, -0.1, "high", True]), ("cache_salt", ["", "a b", "ü", "a" * 129, 7])):
            assert [refusal(post(client, path, body(**{name: value})))["param"] for value in values] == [name] * len(
                values
            )


def test_an_integer_is_a_priority_as_vllm_has_it(client: httpx.Client) -> None:
    priorities = []
    for number in (-1000, -2, -1, 0, 1, 2, 1000):
        assert post(client, CHAT, chat(priority=number)).status_code == 200
        priorities.append(BACKEND.generations[-1].sampling.priority or 0)
    assert priorities == sorted(priorities, reverse=True), "lower numbers go first"
    assert priorities[3] == 0.5, "0 is the default"
    assert all(0 < priority < 1 for priority in priorities)


def test_a_salt_that_an_engine_does_not_have_is_refused_by_name(client: httpx.Client) -> None:
    error = refusal(post(client, CHAT, chat(model="greedy", cache_salt="tenant-7")))
    assert (error["param"], error["code"]) == ("cache_salt", "unsupported_parameter")


def test_a_priority_that_an_engine_does_not_have_decides_before_the_engine(client: httpx.Client) -> None:
    for number in (0.75, -3, 0):
        assert post(client, CHAT, chat(model="greedy", priority=number)).status_code == 200
        assert BACKEND.generations[-1].sampling.priority is None


def test_a_base_model_cannot_chat(client: httpx.Client) -> None:
    assert refusal(post(client, CHAT, chat(model="base")))["param"] == "messages"
    assert post(client, COMPLETIONS, completion(model="base")).status_code == 200


def test_an_unknown_model_is_not_found(client: httpx.Client) -> None:
    error = refusal(post(client, CHAT, chat(model="../demo")), 404)
    assert (error["param"], error["code"]) == ("model", "model_not_found")


def test_prompts_times_n_is_one_budget(client: httpx.Client) -> None:
    assert refusal(post(client, COMPLETIONS, completion(prompt=["a"] * 65, n=2)))["param"] == "n"


def test_the_engine_gets_what_was_asked(client: httpx.Client) -> None:
    history = [
        {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
        {**HELLO, "name": "Ada"},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None, "audio": None},
        {"role": "tool", "tool_call_id": "call_1", "content": "42", "name": "add"},
    ]
    body = chat(messages=history, max_tokens=5, max_completion_tokens=6, chat_template_kwargs={"thinking": False})
    assert post(client, CHAT, body).status_code == 200
    generation = BACKEND.generations[-1]
    assert json.loads(generation.prompt.json) == {  # type: ignore[union-attr]
        "messages": [
            {"role": "system", "content": "Be brief."},  # the name that templates know
            {"role": "user", "content": "Hello", "name": "Ada"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "42", "tool_call_id": "call_1", "name": "add"},
        ],
        "tools": None,
        "template_arguments": {"thinking": False},
    }
    assert (generation.sampling.max_tokens, generation.stream) == (6, False)


def test_token_id_prompts_reach_the_engine_as_they_are(client: httpx.Client) -> None:
    assert post(client, COMPLETIONS, completion(prompt=[[1, 2], [3]])).status_code == 200
    assert [generation.prompt for generation in BACKEND.generations[-2:]] == [PromptIds.of([1, 2]), PromptIds.of([3])]


def test_the_name_that_a_parameter_has_here_is_told(client: httpx.Client) -> None:
    message = refusal(post(client, CHAT, chat(repeat_penalty=1.1)))["message"]
    assert message == "repeat_penalty: this server does not support this parameter, use repetition_penalty"


def test_the_best_of_as_many_as_are_asked_for_is_all_of_them(client: httpx.Client) -> None:
    assert post(client, COMPLETIONS, completion(best_of=2, n=2)).status_code == 200
    assert refusal(post(client, COMPLETIONS, completion(best_of=1, n=2)))["param"] == "best_of"
    assert refusal(post(client, CHAT, chat(best_of=3, n=2)))["param"] == "best_of", "OpenAI's chats have no best_of"


def test_more_answers_are_ranked_by_the_logprobs_that_their_engine_has(client: httpx.Client) -> None:
    assert refusal(post(client, COMPLETIONS, completion(best_of=3, stream=True)))["param"] == "best_of"
    error = refusal(post(client, COMPLETIONS, completion(model="greedy", best_of=3)))
    assert (error["param"], error["code"]) == ("best_of", "unsupported_parameter")


def test_special_tokens_can_be_left_out_of_a_completion(client: httpx.Client) -> None:
    assert post(client, COMPLETIONS, completion(add_special_tokens=False)).status_code == 200
    assert BACKEND.generations[-1].prompt == PromptText("Hello", add_special_tokens=False)
    assert refusal(post(client, CHAT, chat(add_special_tokens=True)))["param"] == "add_special_tokens"
    assert post(client, CHAT, chat(add_special_tokens=False)).status_code == 200


def test_a_top_p_of_0_leaves_the_likeliest_token_alone(client: httpx.Client) -> None:
    assert post(client, CHAT, chat(top_p=0, temperature=1)).status_code == 200
    sampling = BACKEND.generations[-1].sampling
    assert (sampling.top_p, sampling.top_k) == (None, 1)


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"content": None, "refusal": "I will not."}, "I will not."),
        ({"content": [{"type": "refusal", "refusal": "I will not."}]}, "I will not."),
        ({"content": [{"type": "output_text", "text": "Yes"}]}, "Yes"),
        ({"content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Yes"}]}, "Yes"),
        ({"content": None}, ""),
        ({"content": "Yes", "tool_calls": [], "prefix": False}, "Yes"),
        ({}, ""),
    ],
)
def test_an_earlier_answer_says_what_it_said(client: httpx.Client, message: dict[str, Any], content: str) -> None:
    history = [HELLO, {"role": "assistant", **message}, HELLO]
    assert post(client, CHAT, chat(messages=history)).status_code == 200
    prompt = json.loads(BACKEND.generations[-1].prompt.json)  # type: ignore[union-attr]
    assert prompt["messages"][1] == {"role": "assistant", "content": content}


@pytest.mark.parametrize(
    ("fields", "max_tokens"),
    [
        ({"max_tokens": 5}, 5),
        ({"max_tokens": -1}, None),
        ({"max_tokens": 5, "max_completion_tokens": 6}, 6),
        ({"max_tokens": 5, "max_completion_tokens": -1}, None),
        ({"max_tokens": 5, "max_completion_tokens": None}, 5),
        ({"max_tokens": -1, "max_completion_tokens": 7.0}, 7),
    ],
)
def test_the_newer_name_of_max_tokens_wins(client: httpx.Client, fields: dict[str, Any], max_tokens: int) -> None:
    assert post(client, CHAT, chat(**fields)).status_code == 200
    assert BACKEND.generations[-1].sampling.max_tokens == max_tokens


@pytest.mark.parametrize(("name", "neutral", "wrong"), [("mirostat", 0.0, False), ("num_beams", 1.0, True)])
def test_a_number_asks_for_nothing_in_either_spelling(
    client: httpx.Client, name: str, neutral: float, wrong: bool
) -> None:
    assert post(client, CHAT, chat(**{name: neutral})).status_code == 200
    assert refusal(post(client, CHAT, chat(**{name: wrong})))["param"] == name


def test_a_prompt_is_echoed_with_an_answer_or_alone(client: httpx.Client) -> None:
    for fields, echo, max_tokens in (
        ({"echo": True}, "all", None),
        ({"echo": True, "max_tokens": 0}, "prompt", 1),
        ({"echo": False, "max_tokens": 3}, "", 3),
    ):
        assert post(client, COMPLETIONS, completion(**fields)).status_code == 200
        assert (BACKEND.generations[-1].echo, BACKEND.generations[-1].sampling.max_tokens) == (echo, max_tokens)
    assert refusal(post(client, COMPLETIONS, completion(max_tokens=0)))["param"] == "max_tokens"
    assert refusal(post(client, CHAT, chat(echo=True)))["message"] == "echo: only a completion takes this parameter"
    error = refusal(post(client, COMPLETIONS, completion(echo=True, logprobs=0)))
    assert (error["param"], error["code"]) == ("echo", "unsupported_parameter")


def test_token_ids_are_a_prompt_under_either_name(client: httpx.Client) -> None:
    body = json.dumps({"model": "demo", "prompt_token_ids": [1, 2]}).encode()
    assert post(client, COMPLETIONS, body).status_code == 200
    assert BACKEND.generations[-1].prompt == PromptIds.of([1, 2])
    assert refusal(post(client, COMPLETIONS, completion(prompt_token_ids=[1, 2])))["param"] == "prompt_token_ids"
    for wrong in ([], [-1], ["a"], 5):
        body = json.dumps({"model": "demo", "prompt_token_ids": wrong}).encode()
        assert refusal(post(client, COMPLETIONS, body))["param"] == "prompt"


def test_the_logits_of_tokens_are_changed_where_the_engine_can(client: httpx.Client) -> None:
    for path, body in ((CHAT, chat), (COMPLETIONS, completion)):
        assert post(client, path, body(model="biased", logit_bias={"50256": -100, "7": 1.5})).status_code == 200
        assert BACKEND.generations[-1].sampling.logit_bias == {"50256": -100, "7": 1.5}
        for wrong in ({"7": 101}, {"seven": 1}, [7], {str(id): 1 for id in range(1025)}):
            error = refusal(post(client, path, body(model="biased", logit_bias=wrong)))
            assert error["param"] == "logit_bias"
        of_models = [client.get(f"/v1/models/{model}/capabilities").json() for model in ("demo", "biased")]
        rejected, honoured = (of_model["endpoints"][path]["logit_bias"] for of_model in of_models)
        assert (rejected["status"], rejected["accepts"]) == ("rejected", [{}])
        assert honoured["status"] != "rejected"
