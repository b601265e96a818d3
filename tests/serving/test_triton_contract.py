"""A client written for NVIDIA's ensemble works unchanged on the Triton underneath."""

from __future__ import annotations

import json
import shutil
import subprocess
import time

import pytest
from tritonclient.utils import InferenceServerException

from tests.conftest import Stack
from tests.serving.triton_client import row, rows, scalars, triton_stream
from triton_repo.contract.errors import ContextLengthExceeded, InvalidRequest, from_wire
from triton_repo.contract.tensors import CHANNEL_LEASE_S

STOCK = {"text_input": "What is Triton?", "max_tokens": 12, "bad_words": "", "stop_words": "", "pad_id": 2}


def curl(url: str, body: dict[str, object]) -> str:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")
    argv = [program, "--silent", "--show-error", "--no-buffer", "--max-time", "60", url, "-d", json.dumps(body)]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def test_generate_takes_the_stock_request(stack: Stack) -> None:
    answer = json.loads(curl(f"{stack.triton_http}/v2/models/demo/generate", STOCK))
    assert answer["text_output"]
    assert answer["finish_reason"] == "length"
    assert answer["token_counts"][2] == 12


def test_generate_stream_sends_deltas_that_join_to_the_whole_answer(stack: Stack) -> None:
    body = curl(f"{stack.triton_http}/v2/models/demo/generate_stream", {**STOCK, "max_tokens": 40, "stream": True})
    events = [json.loads(line.removeprefix("data:")) for line in body.splitlines() if line.startswith("data:")]
    whole = json.loads(curl(f"{stack.triton_http}/v2/models/demo/generate", {**STOCK, "max_tokens": 40}))
    assert "".join(event["text_output"] for event in events) == whole["text_output"]
    assert [event["finish_reason"] for event in events[:-1]] == [""] * (len(events) - 1)
    assert events[-1]["finish_reason"] == whole["finish_reason"]


def test_generate_takes_the_names_of_nvidias_llm_api(stack: Stack) -> None:
    url = f"{stack.triton_http}/v2/models/demo/generate"
    asked = {"text_input": "What is Triton?", "sampling_param_max_tokens": 5, "sampling_param_temperature": 0.5}
    assert json.loads(curl(url, asked))["token_counts"][2] == 5
    assert "sampling_param_stop: not available" in json.loads(curl(url, {**asked, "sampling_param_stop": "."}))["error"]


def test_stop_words_end_the_generation(stack: Stack) -> None:
    body = {"text_input": "x", "stop_words": ["."], "max_tokens": 400}
    answer = json.loads(curl(f"{stack.triton_http}/v2/models/replay/generate", body))
    assert answer["finish_reason"] == "stop"
    assert answer["text_output"].count(".") == 1
    assert answer["text_output"].endswith(".")


def test_the_length_of_each_token_is_listed_for_a_request_that_asks(stack: Stack) -> None:
    url = f"{stack.triton_http}/v2/models/replay/generate"
    asked = {"text_input": "x", "max_tokens": 20}
    text, listed = json.loads(curl(url, {**asked, "token_lengths": True}))["text_output"]
    lengths = [token.pop("text_length") for token in json.loads(listed)]
    assert len(lengths) == 20
    assert sum(lengths) == len(text)
    assert json.loads(curl(url, asked))["text_output"] == text
    assert "token_lengths = 7" in json.loads(curl(url, {**asked, "token_lengths": 7}))["error"]


def test_special_tokens_are_part_of_the_text_for_a_request_that_asks(stack: Stack) -> None:
    url = f"{stack.triton_http}/v2/models/demo/generate"
    asked = {"text_input": "<|im_start|>", "max_tokens": 4, "ignore_eos": True, "exclude_input_in_output": False}
    assert not json.loads(curl(url, asked))["text_output"].startswith("<|im_start|>")
    assert json.loads(curl(url, {**asked, "keep_special": True}))["text_output"].startswith("<|im_start|>")
    assert "keep_special = 7" in json.loads(curl(url, {**asked, "keep_special": 7}))["error"]


def test_a_chat_goes_through_the_checkpoints_template(stack: Stack) -> None:
    chat = json.dumps({"messages": [{"role": "user", "content": "What is Conch?"}]})
    answer = json.loads(curl(f"{stack.triton_http}/v2/models/demo/generate", {"chat": chat, "temperature": 0.0}))
    assert answer["finish_reason"] == "stop"
    assert "Triton" in answer["text_output"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"text_input": "x", "temperature": 7}, "temperature"),
        ({"text_input": "x", "max_tokens": 0}, "max_tokens"),
        ({"text_input": "x", "max_tokens": 10**6}, "max_tokens"),
        ({"text_input": "x", "min_p": 3}, "min_p"),
        ({"text_input": "x", "bad_words": ["no"]}, "bad_words"),
        ({"text_input": "x", "add_special_tokens": "no"}, "add_special_tokens"),
        ({"chat": "{}", "add_special_tokens": True}, "add_special_tokens"),
        ({"stop_words": ["x"], "max_tokens": 5}, "text_input"),
        ({"chat": "{"}, "JSON"),
    ],
)
def test_a_bad_request_gets_one_sentence_and_the_next_is_served(
    stack: Stack, body: dict[str, object], message: str
) -> None:
    url = f"{stack.triton_http}/v2/models/demo/generate"
    answer = json.loads(curl(url, body))
    assert message in answer["error"]
    assert "Traceback" not in answer["error"]
    assert json.loads(curl(url, STOCK))["text_output"]


def test_several_deltas_of_one_stream_arrive_in_order(stack: Stack) -> None:
    with triton_stream(stack.triton_grpc) as stream:
        for name in ("a", "b", "c"):
            inputs = [row("text_input", "BYTES", [b"x"]), row("stream", "BOOL", [True])]
            stream.send("replay", [*inputs, row("max_tokens", "INT32", [60])], name, ignore_eos=True)
        counts: dict[str, list[int]] = {"a": [], "b": [], "c": []}
        finals = 0
        while finals < 3:
            answer = stream.next()
            assert not isinstance(answer, InferenceServerException)
            response = answer.get_response()
            counts[response.id].append(int(answer.as_numpy("token_counts")[0, 2]))
            finals += response.parameters["triton_final_response"].bool_param
    assert all(series == sorted(set(series)) and series[-1] == 60 for series in counts.values())


def test_a_stop_request_with_the_same_id_ends_the_generation(stack: Stack) -> None:
    with triton_stream(stack.triton_grpc) as stream, triton_stream(stack.triton_grpc) as control:
        inputs = [row("text_input", "BYTES", [b"x"]), row("stream", "BOOL", [True])]
        stream.send("replay", inputs, "to-be-stopped", ignore_eos=True)
        answers = stream.until_final()
        next(answers)
        control.send("replay_engine", [row("stop", "BOOL", [True])], "to-be-stopped")
        assert list(control.until_final()) == []
        *_, last = answers
    assert scalars(last, "finish_reason")["finish_reason"][0] == b"cancelled"


def test_a_direct_stream_to_the_engine_that_is_cut_frees_the_engine(stack: Stack) -> None:
    from tests.serving.test_cancellation import nothing_is_left

    ids = [row("input_ids", "INT32", [5, 6]), row("stream", "BOOL", [True])]
    with triton_stream(stack.triton_grpc) as stream:
        stream.send("replay_engine", ids, "direct", ignore_eos=True)
        stream.next()
    nothing_is_left(stack, "replay")


def test_on_a_channel_one_message_carries_the_deltas_of_many_requests(stack: Stack) -> None:
    names = [f"rider-{number}" for number in range(8)]
    with triton_stream(stack.triton_grpc) as stream:
        stream.send("replay", [row("prompt_token_ids", "INT32", [0])], "channel-of-a-test", subscribe=True)
        for name in names:
            inputs = [row("text_input", "BYTES", [b"x"]), row("stream", "BOOL", [True])]
            inputs.append(row("max_tokens", "INT32", [60]))
            stream.send("replay", inputs, name, ignore_eos=True, channel="channel-of-a-test")
        texts, reasons = dict.fromkeys(names, ""), dict.fromkeys(names, "")
        messages, ends = 0, 0
        while ends < len(names) or not all(reasons.values()):  # an end may overtake the last deltas
            answer = stream.next()
            assert not isinstance(answer, InferenceServerException)
            response = answer.get_response()
            ends += response.parameters["triton_final_response"].bool_param
            if not response.outputs:
                continue
            messages += 1
            assert response.id == "channel-of-a-test"
            deltas = scalars(answer, "request_ids", "text_output", "finish_reason")
            for name, text, reason in zip(*deltas.values(), strict=True):
                assert not reasons[name.decode()], "nothing follows the end"
                texts[name.decode()] += text.decode()
                reasons[name.decode()] = reason.decode()
    assert set(reasons.values()) == {"length"}
    assert len(set(texts.values())) == 1
    assert messages < len(names) * 60 / 2, "several deltas in each"


@pytest.mark.parametrize("channel", ["", "channel-of-rows"])
def test_rows_of_one_request_are_answered_and_refused_each_by_itself(stack: Stack, channel: str) -> None:
    prompts, limits = [b"short", b"a rather longer prompt", b"no room", b""], [20, 40, 10**6, 5]
    names = [b"short", b"long", b"greedy", b"empty"]
    with triton_stream(stack.triton_grpc) as stream:
        if channel:
            stream.send("replay", [row("prompt_token_ids", "INT32", [0])], channel, subscribe=True)
        inputs = [rows("row_ids", "BYTES", [[name] for name in names])]
        inputs.append(rows("text_input", "BYTES", [[prompt] for prompt in prompts]))
        inputs.append(rows("stream", "BOOL", [[True], [False], [True], [True]]))
        inputs.append(rows("max_tokens", "INT32", [[limit] for limit in limits]))
        stream.send("replay", inputs, "four rows", ignore_eos=True, channel=channel)
        counts, reasons = dict.fromkeys(names, 0), dict.fromkeys(names, b"")
        ended = False
        while not ended or not all(reasons.values()):
            answer = stream.next()
            assert not isinstance(answer, InferenceServerException)
            response = answer.get_response()
            ended |= response.id == "four rows" and response.parameters["triton_final_response"].bool_param
            if not response.outputs:
                continue
            ids, ends, totals = scalars(answer, "request_ids", "finish_reason", "token_counts").values()
            for name, reason, count in zip(ids, ends, totals[2::3], strict=True):
                assert not reasons[name], "nothing follows the end"
                counts[name], reasons[name] = int(count), reason
    assert counts == {b"short": 20, b"long": 40, b"greedy": 0, b"empty": 0}
    assert (reasons[b"short"], reasons[b"long"]) == (b"length", b"length")
    refusals = [from_wire(reasons[name].decode()) for name in (b"greedy", b"empty")]
    assert [(type(refusal), refusal and refusal.param) for refusal in refusals] == [
        (ContextLengthExceeded, "max_tokens"),
        (InvalidRequest, "prompt"),
    ]


def test_a_channel_that_nobody_renews_takes_its_requests_with_it(stack: Stack) -> None:
    from tests.serving.test_cancellation import nothing_is_left

    with triton_stream(stack.triton_grpc) as stream:
        stream.send("replay", [row("prompt_token_ids", "INT32", [0])], "channel-of-the-dead", subscribe=True)
        inputs = [row("text_input", "BYTES", [b"x"]), row("stream", "BOOL", [True])]
        stream.send("replay", inputs, "orphan", ignore_eos=True, channel="channel-of-the-dead")
        stream.next()
    cancelled = {"model": "replay", "outcome": "cancelled"}
    before = stack.engine_metric("conch_engine_requests_ended_total", **cancelled)
    deadline = time.monotonic() + 3 * CHANNEL_LEASE_S
    while stack.engine_metric("conch_engine_requests_ended_total", **cancelled) == before:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    nothing_is_left(stack, "replay")


@pytest.mark.parametrize("subscribe", [True, False])
def test_a_stop_or_a_subscription_without_an_id_is_refused(stack: Stack, subscribe: bool) -> None:
    with triton_stream(stack.triton_grpc) as stream:
        stream.send("replay_engine", [row("stop", "BOOL", [not subscribe])], subscribe=subscribe)
        assert "request id" in str(stream.next())
