"""The bytes on the wire, exactly."""

from __future__ import annotations

import json

import pytest

from gateway.answers.events import Event, Finish, Reasoning, Text, ToolCallDelta, Usage, fold
from gateway.answers.tokens import Token
from gateway.dialects.dialect import Head
from gateway.dialects.openai.chat import ChatEncoder
from gateway.dialects.openai.completions import CompletionEncoder
from gateway.dialects.openai.form import ChatForm, CompletionForm
from gateway.dialects.openai.ranking import Ranking
from triton_repo.contract.errors import ContextLengthExceeded

HEAD = Head("ID", 1700000000, "demo", "fp_1")

CHAT_ROLE = (
    b'data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":1700000000,"model":"demo",'
    b'"system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"role":"assistant","content":""},'
    b'"logprobs":null,"finish_reason":null}]}\n\n'
)
CHAT_TEXT = (
    b'data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":1700000000,"model":"demo",'
    b'"system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":"a \\"conch\\"\\n\xf0\x9f\x90\x9a"},'
    b'"logprobs":null,"finish_reason":null}]}\n\n'
)
CHAT_FINISH = (
    b'data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":1700000000,"model":"demo",'
    b'"system_fingerprint":"fp_1","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}]}\n\n'
)
CHAT_TEXT_WITH_USAGE = (
    b'data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":1700000000,"model":"demo",'
    b'"system_fingerprint":"fp_1","choices":[{"index":1,"delta":{"content":"x"},'
    b'"logprobs":null,"finish_reason":null}],"usage":null}\n\n'
)
CHAT_USAGE = (
    b'data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":1700000000,"model":"demo",'
    b'"system_fingerprint":"fp_1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,'
    b'"prompt_tokens_details":{"cached_tokens":1}}}\n\n'
)
COMPLETION_TEXT_AND_FINISH = (
    b'data: {"id":"cmpl-ID","object":"text_completion","created":1700000000,"choices":[{"text":"x","index":0,'
    b'"logprobs":null,"finish_reason":null}],"model":"demo","system_fingerprint":"fp_1"}\n\n'
    b'data: {"id":"cmpl-ID","object":"text_completion","created":1700000000,"choices":[{"text":"","index":0,'
    b'"logprobs":null,"finish_reason":"stop"}],"model":"demo","system_fingerprint":"fp_1"}\n\n'
)
ERROR = (
    b'data: {"error":{"message":"too long","type":"invalid_request_error","param":"messages",'
    b'"code":"context_length_exceeded"}}\n\n'
)


DONE = b"data: [DONE]\n\n"


def chat(num_choices: int = 1, include_usage: bool = False) -> ChatEncoder:
    return ChatEncoder(HEAD, ChatForm(num_choices=num_choices, include_usage=include_usage))


def test_a_chat_stream_is_role_then_text_then_finish_then_done() -> None:
    encoder = chat()
    assert encoder.start() == CHAT_ROLE
    assert encoder.event(Text(0, 'a "conch"\n🐚')) == CHAT_TEXT
    assert encoder.event(Finish(0, "length")) == CHAT_FINISH
    assert encoder.event(Usage(3, 2)) == b""
    assert encoder.finish() == DONE


def test_usage_is_null_in_every_chunk_but_the_last() -> None:
    encoder = chat(num_choices=2, include_usage=True)
    assert encoder.start().count(b'"usage":null}\n\n') == 2
    assert encoder.event(Text(1, "x")) == CHAT_TEXT_WITH_USAGE
    assert encoder.event(Usage(3, 2, 1)) == CHAT_USAGE


def test_every_chunk_has_the_counts_at_its_time_if_that_is_asked_for() -> None:
    counts = iter([Usage(3, 1), Usage(3, 2)])
    encoder = CompletionEncoder(HEAD._replace(usage=lambda: next(counts)), CompletionForm(continuous_usage=True))
    stream = encoder.event(Text(0, "x")) + encoder.event(Finish(0, "stop"))
    chunks = [json.loads(line.removeprefix(b"data: ")) for line in stream.splitlines() if line]
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks] == [1, 2]
    assert encoder.event(Usage(3, 2)) == b"", "there is no chunk of the counts alone"


def test_a_stream_that_fails_ends_with_the_counts_so_far_and_the_error() -> None:
    head = HEAD._replace(usage=lambda: Usage(3, 2))
    for encoder in (
        ChatEncoder(head, ChatForm(include_usage=True)),
        CompletionEncoder(head, CompletionForm(include_usage=True)),
    ):
        usage, error, rest = encoder.fail(ContextLengthExceeded("too long", "messages")).split(b"\n\n")
        chunk = json.loads(usage.removeprefix(b"data: "))
        assert (chunk["choices"], chunk["usage"]["total_tokens"]) == ([], 5)
        assert (error + b"\n\n", rest) == (ERROR, b"")


def test_the_stop_string_that_ended_a_choice_is_told() -> None:
    whole = fold([Text(0, "x"), Finish(0, "stop", "END"), Finish(1, "stop"), Usage(3, 2)])
    for encoder in (chat(), CompletionEncoder(HEAD, CompletionForm())):
        chunk = json.loads(encoder.event(Finish(0, "stop", "END")).removeprefix(b"data: "))
        assert chunk["choices"][0]["stop_reason"] == "END"
        ended, other = json.loads(encoder.whole(whole))["choices"]
        assert (ended["stop_reason"], other.get("stop_reason")) == ("END", None)


def test_the_likeliest_answers_by_token_are_kept_of_each_prompt() -> None:
    def entry(logprob: float) -> Token:
        return Token(json.dumps({"token": "x", "logprob": logprob, "bytes": [], "top_logprobs": []}).encode(), 0)

    of_two_prompts: list[list[float]] = [[-1.0], [-0.5, -0.5, -0.5], [], [-3.0], [-2.0, -2.0], [-0.1]]
    events: list[Event] = []
    for index, logprobs in enumerate(of_two_prompts):
        events += [Text(index, f"{index}", [*map(entry, logprobs)]), Finish(index, "stop")]
    encoder = CompletionEncoder(
        HEAD, CompletionForm(num_choices=6, choices_per_prompt=3, list_logprobs=False, ranking=Ranking(3, 2))
    )
    choices = json.loads(encoder.whole(fold([*events, Usage(3, 2)])))["choices"]
    assert [(choice["index"], choice["text"]) for choice in choices] == [(0, "1"), (1, "0"), (2, "5"), (3, "4")]
    assert {choice["logprobs"] for choice in choices} == {None}


def test_a_completion_stream_has_no_role_and_ends_with_an_empty_text() -> None:
    encoder = CompletionEncoder(HEAD, CompletionForm())
    assert encoder.start() == b""
    assert encoder.event(Text(0, "x")) + encoder.event(Finish(0, "stop")) == COMPLETION_TEXT_AND_FINISH


def test_a_completion_with_usage_has_it_behind_all_other_keys() -> None:
    encoder = CompletionEncoder(HEAD, CompletionForm(include_usage=True))
    assert encoder.event(Text(0, "x")).endswith(b'"model":"demo","system_fingerprint":"fp_1","usage":null}\n\n')
    counts = b'"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
    assert encoder.event(Usage(3, 2)).endswith(b'"choices":[],"model":"demo","system_fingerprint":"fp_1",' + counts)


def test_text_without_characters_and_tokens_is_no_event() -> None:
    assert chat().event(Text(0, "")) == b""
    assert chat().event(Text(0, "", [])) == b""


def test_an_error_is_an_event_of_its_own() -> None:
    assert chat().fail(ContextLengthExceeded("too long", "messages")) == ERROR


def test_text_that_looks_like_the_frame_stays_text() -> None:
    event = chat().event(Text(0, "\n\ndata: [DONE]\n\n\x00text\x00"))
    assert event.count(b"\n") == 2
    assert b'{"content":"\\n\\ndata: [DONE]\\n\\n\\u0000text\\u0000"}' in event


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_no_reader_of_lines_finds_one_inside_an_event(separator: str) -> None:
    text = f"one{separator}two é"
    for encoder in (chat(), CompletionEncoder(HEAD, CompletionForm())):
        event = encoder.event(Text(0, text)).decode()
        assert event.splitlines() == [event.rstrip("\n"), ""]
        choice = json.loads(event.removeprefix("data: "))["choices"][0]
        assert choice.get("text", choice.get("delta", {}).get("content")) == text


EVENTS: list[Event] = [
    Reasoning(0, "Let me "),
    Reasoning(0, "think."),
    Text(0, "I will "),
    Text(0, "look."),
    ToolCallDelta(0, 0, "", "call_1", "search"),
    ToolCallDelta(0, 0, '{"q": '),
    ToolCallDelta(0, 0, '"conch"}'),
    ToolCallDelta(0, 1, "{}", "call_2", "time"),
    Finish(0, "tool_calls"),
    Usage(3, 9),
]


def test_reasoning_and_tool_calls_of_a_stream_add_up_to_those_of_the_whole_chat() -> None:
    encoder = chat()
    whole = json.loads(encoder.whole(fold(EVENTS)))["choices"][0]
    assert whole["finish_reason"] == "tool_calls"
    assert whole["message"] == {
        "role": "assistant",
        "content": "I will look.",
        "refusal": None,
        "reasoning_content": "Let me think.",
        "reasoning": "Let me think.",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "search", "arguments": '{"q": "conch"}'}},
            {"id": "call_2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
        ],
    }
    events = [encoder.event(event) for event in EVENTS[:-1]]
    deltas = [json.loads(event.removeprefix(b"data: "))["choices"][0]["delta"] for event in events]
    for name in ("reasoning_content", "reasoning"):
        assert "".join(delta.get(name, "") for delta in deltas) == "Let me think."
    assert "".join(delta.get("content", "") for delta in deltas) == "I will look."
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert [call["index"] for call in calls] == [0, 0, 0, 1]
    assert "".join(call["function"]["arguments"] for call in calls if call["index"] == 0) == '{"q": "conch"}'
    assert {call.get("id") for call in calls} == {"call_1", "call_2", None}
