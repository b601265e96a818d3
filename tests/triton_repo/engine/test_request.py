"""What reaches the engine model is checked there, whatever front end it came through."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.triton_repo.engines_under_test import engine_config
from triton_repo.contract.errors import ContextLengthExceeded, InvalidRequest, UnsupportedParameter, to_wire
from triton_repo.contract.sampling import NEUTRAL, Sampling
from triton_repo.contract.tensors import SAMPLING_PARAMETERS
from triton_repo.engine.request import parse_request

CONFIG = engine_config(max_seq_len=100, vocab_size=50, eos_token_ids=(2, 3), sampling=Sampling(temperature=0.5))


def test_an_empty_request_takes_the_engines_defaults_and_the_room_that_is_left() -> None:
    request = parse_request({"input_ids": [5, 6, 7]}, {}, CONFIG)
    assert request.max_tokens == 97
    assert request.sampling.temperature == 0.5
    assert request.end_ids == (2, 3)
    assert request.stream is False


def test_a_prompt_that_tensorrt_llm_would_not_take_whole_is_rejected() -> None:
    whole = engine_config(max_seq_len=100, max_num_tokens=8, enable_chunked_context=False, tensorrt_llm={})
    assert len(parse_request({"input_ids": [5] * 8}, {}, whole).input_ids) == 8
    with pytest.raises(ContextLengthExceeded, match="prompt: 9 tokens; this engine reads a prompt in one iteration"):
        parse_request({"input_ids": [5] * 9}, {}, whole)


def test_padding_behind_a_prompt_is_no_part_of_it() -> None:
    assert parse_request({"input_ids": [5, 6, -1, -1]}, {}, CONFIG).input_ids == [5, 6]
    with pytest.raises(InvalidRequest, match="token id -1"):
        parse_request({"input_ids": [5, -1, 6]}, {}, CONFIG)
    with pytest.raises(InvalidRequest, match="at least one token"):
        parse_request({"input_ids": [-1]}, {}, CONFIG)


def test_what_the_step_before_rejected_is_rejected_with_its_error() -> None:
    rejection = to_wire(ContextLengthExceeded("too long", "messages"))
    with pytest.raises(ContextLengthExceeded, match=r"^too long$") as rejected:
        parse_request({"input_ids": [-1], "rejection": [rejection.encode()]}, {}, CONFIG)
    assert rejected.value.param == "messages"
    assert parse_request({"input_ids": [5], "rejection": [b""]}, {}, CONFIG).input_ids == [5]


def test_what_is_given_wins_over_the_engines_defaults() -> None:
    tensors: dict[str, Any] = {
        "input_ids": [5],
        "temperature": [0.25],
        "max_tokens": [9],
        "stream": [True],
        "end_id": [7],
    }
    request = parse_request(tensors, {"min_p": 0.5, "stop_token_ids": "[8, 9]"}, CONFIG)
    assert (request.sampling.temperature, request.max_tokens, request.stream) == (0.25, 9, True)
    assert request.sampling.min_p == 0.5
    assert request.end_ids == (7, 8, 9)


def test_an_end_id_of_minus_one_is_none_at_all() -> None:
    assert parse_request({"input_ids": [5], "end_id": [-1]}, {}, CONFIG).end_ids == ()


def test_ignore_eos_leaves_only_the_stop_token_ids() -> None:
    request = parse_request({"input_ids": [5]}, {"ignore_eos": True, "stop_token_ids": "[8]"}, CONFIG)
    assert request.end_ids == (8,)


def test_names_of_older_stock_ensembles_are_accepted() -> None:
    sampling = parse_request({"input_ids": [5], "random_seed": [7], "min_length": [3]}, {}, CONFIG).sampling
    assert (sampling.seed, sampling.min_tokens) == (7, 3)
    with pytest.raises(InvalidRequest, match="random_seed: another name of seed") as caught:
        parse_request({"input_ids": [5], "random_seed": [7], "seed": [7]}, {}, CONFIG)
    assert caught.value.param == "random_seed"


@pytest.mark.parametrize(("top_k", "kept"), [([], 1), ([0], 1), ([-1], 1), ([1], 1), ([40], 40), ([-2], None)])
def test_a_top_p_of_0_leaves_top_k_alone_as_in_tensorrt_llm(top_k: list[int], kept: int | None) -> None:
    tensors: dict[str, list[Any]] = {"input_ids": [5], "top_p": [0.0], **({"top_k": top_k} if top_k else {})}
    if kept is None:
        with pytest.raises(InvalidRequest, match="top_k = -2"):
            parse_request(tensors, {}, CONFIG)
        return
    sampling = parse_request(tensors, {}, CONFIG).sampling
    assert (sampling.top_p, sampling.top_k) == (1.0, kept)


def test_names_of_nvidias_llm_api_are_accepted_as_parameters() -> None:
    given = {"sampling_param_max_tokens": 7, "sampling_param_temperature": 0.5, "sampling_param_top_k": 3}
    parsed = parse_request({"input_ids": [5]}, given, CONFIG)
    assert (parsed.max_tokens, parsed.sampling.temperature, parsed.sampling.top_k) == (7, 0.5, 3)


def test_a_guide_may_be_a_tensor_or_a_parameter() -> None:
    tensors = {"guided_decoding_guide_type": [b"regex"], "guided_decoding_guide": [b"(yes|no)"]}
    parameters = {name: value.decode() for name, [value] in tensors.items()}
    config = engine_config(unsupported=("guided_decoding_guide_type",))
    prompt: dict[str, Any] = {"input_ids": [5]}
    with pytest.raises(UnsupportedParameter, match="guided_decoding_guide_type"):
        parse_request(prompt | tensors, {}, config)
    with pytest.raises(UnsupportedParameter, match="guided_decoding_guide_type"):
        parse_request(prompt, parameters, config)


def test_any_end_token_of_the_model_ends_an_answer_with_a_guide() -> None:
    config = engine_config(runtime="openvino", vocab_size=50, eos_token_ids=(2, 3))
    tensors: dict[str, Any] = {"input_ids": [5], "end_id": [3], "guided_decoding_guide_type": [b"json"]}
    assert parse_request(tensors, {"stop_token_ids": "[8]"}, config).end_ids == (3, 8, 2)


@pytest.mark.parametrize(("stream", "echo"), [(False, True), (True, False)])
def test_only_a_whole_answer_begins_with_the_prompt(stream: bool, echo: bool) -> None:
    tensors: dict[str, Any] = {"input_ids": [5], "exclude_input_in_output": [False], "stream": [stream]}
    assert parse_request(tensors, {}, CONFIG).echo == ("all" if echo else "")
    assert parse_request({**tensors, "exclude_input_in_output": [True]}, {}, CONFIG).echo == ""
    assert parse_request({"input_ids": [5], "stream": [stream]}, {}, CONFIG).echo == ""


def test_a_stream_begins_with_the_prompt_by_a_parameter() -> None:
    for given in ("all", "prompt"):
        assert parse_request({"input_ids": [5], "stream": [True]}, {"echo": given}, CONFIG).echo == given
    with pytest.raises(InvalidRequest, match='echo = True: "all" or "prompt" is required'):
        parse_request({"input_ids": [5]}, {"echo": True}, CONFIG)


def test_logprobs_of_a_prompt_are_rejected_by_an_engine_that_has_none() -> None:
    with pytest.raises(UnsupportedParameter, match="no logprobs of prompts"):
        parse_request({"input_ids": [5]}, {"echo": "all", "logprobs": 0}, CONFIG)
    scoring = CONFIG.model_copy(update={"card": replace(CONFIG.card, max_prompt_logprobs=2)})
    of_first = parse_request({"input_ids": [5], "max_tokens": [1]}, {"echo": "all", "logprobs": 2}, scoring)
    assert of_first.prompt_logprobs is not None
    with pytest.raises(UnsupportedParameter, match="at most 2 alternatives"):
        parse_request({"input_ids": [5]}, {"echo": "all", "logprobs": 3}, scoring)


def test_the_logprobs_of_a_prompt_may_be_asked_for_alone_and_are_bounded_in_number() -> None:
    card = replace(CONFIG.card, max_prompt_logprobs=20)
    scoring = CONFIG.model_copy(update={"card": card, "max_seq_len": 9_000, "max_num_tokens": 9_000})
    assert parse_request({"input_ids": [5]}, {"prompt_logprobs": 3}, scoring).prompt_logprobs == 3
    both = {"prompt_logprobs": 1, "logprobs": 0, "echo": "all"}
    assert parse_request({"input_ids": [5]}, both, scoring).prompt_logprobs == 1
    assert parse_request({"input_ids": [5] * 8_000}, {"prompt_logprobs": 7}, scoring).prompt_logprobs == 7
    with pytest.raises(InvalidRequest, match=r"prompt_logprobs = 8: the 8000 tokens .* at most 65536") as rejected:
        parse_request({"input_ids": [5] * 8_000}, {"prompt_logprobs": 8}, scoring)
    assert rejected.value.param == "prompt_logprobs"
    with pytest.raises(UnsupportedParameter, match="prompt_logprobs: this engine has no logprobs of prompts"):
        parse_request({"input_ids": [5]}, {"prompt_logprobs": 0}, CONFIG)


def test_an_answer_that_begins_with_the_prompt_has_no_logprobs() -> None:
    with pytest.raises(UnsupportedParameter, match="exclude_input_in_output = false") as caught:
        parse_request({"input_ids": [5], "exclude_input_in_output": [False]}, {"logprobs": 0}, CONFIG)
    assert caught.value.param == "exclude_input_in_output"


def test_parameters_that_conch_does_not_know_are_left_alone() -> None:
    assert parse_request({"input_ids": [5]}, {"sequence_id": 0, "foo": "bar"}, CONFIG).max_tokens == 99


@pytest.mark.parametrize(
    ("tensors", "parameters", "param"),
    [
        ({"temperature": [-0.1]}, {}, "temperature"),
        ({"temperature": [float("nan")]}, {}, "temperature"),
        ({"temperature": [float("inf")]}, {}, "temperature"),
        ({"top_p": [-0.1]}, {}, "top_p"),
        ({"top_p": [1.5]}, {}, "top_p"),
        ({"top_k": [-2]}, {}, "top_k"),
        ({"max_tokens": [0]}, {}, "max_tokens"),
        ({"max_tokens": [-1]}, {}, "max_tokens"),
        ({"min_tokens": [11], "max_tokens": [10]}, {}, "min_tokens"),
        ({"repetition_penalty": [0.0]}, {}, "repetition_penalty"),
        ({"frequency_penalty": [2.5]}, {}, "frequency_penalty"),
        ({}, {"min_p": 2}, "min_p"),
        ({}, {"min_p": "0.5"}, "min_p"),
        ({}, {"ignore_eos": 1}, "ignore_eos"),
        ({}, {"stop_token_ids": "[1,"}, "stop_token_ids"),
        ({}, {"stop_token_ids": '["a"]'}, "stop_token_ids"),
        ({}, {"stop_token_ids": "7"}, "stop_token_ids"),
        ({}, {"stop_token_ids": "[50]"}, "stop_token_ids"),
        ({}, {"stop_token_ids": "[2000000000]"}, "stop_token_ids"),
        ({}, {"sampling_param_max_tokens": 0}, "max_tokens"),
        ({}, {"sampling_param_stop": "."}, "sampling_param_stop"),
        ({"max_tokens": [5]}, {"sampling_param_max_tokens": 5}, "sampling_param_max_tokens"),
        ({"end_id": [50]}, {}, "end_id"),
        ({"end_id": [-2]}, {}, "end_id"),
        ({"stop_sequences": [b"5"]}, {}, "stop_sequences"),
        ({"stop_sequences": [b"[5]"]}, {}, "stop_sequences"),
        ({"stop_sequences": [b'[["a"]]']}, {}, "stop_sequences"),
        ({"stop_sequences": [b"[[5]"]}, {}, "stop_sequences"),
        ({"stop_sequences": [b"\xff"]}, {}, "stop_sequences"),
    ],
)
def test_a_value_that_is_not_allowed_is_rejected_by_name(
    tensors: dict[str, Any], parameters: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest, match=param) as caught:
        parse_request({"input_ids": [5], **tensors}, parameters, CONFIG)
    assert caught.value.param == param


@pytest.mark.parametrize("ids", [[], [-1], [50], [5, 2**31 - 1]])
def test_a_prompt_that_is_empty_or_not_of_the_vocabulary_is_rejected(ids: list[int]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_request({"input_ids": ids}, {}, CONFIG)
    assert caught.value.param == "prompt"


def test_a_limit_beyond_the_context_is_clipped_where_the_request_says_so() -> None:
    clips = {"clip_max_tokens": True}
    assert parse_request({"input_ids": [5] * 60, "max_tokens": [32000]}, clips, CONFIG).max_tokens == 40
    assert parse_request({"input_ids": [5] * 60, "max_tokens": [9]}, clips, CONFIG).max_tokens == 9
    with pytest.raises(ContextLengthExceeded):
        parse_request({"input_ids": [5] * 100, "max_tokens": [9]}, clips, CONFIG)


@pytest.mark.parametrize(("prompt_tokens", "max_tokens", "param"), [(100, 1, "prompt"), (60, 41, "max_tokens")])
def test_what_does_not_fit_into_the_context_is_rejected(prompt_tokens: int, max_tokens: int, param: str) -> None:
    with pytest.raises(ContextLengthExceeded, match="100") as caught:
        parse_request({"input_ids": [5] * prompt_tokens, "max_tokens": [max_tokens]}, {}, CONFIG)
    assert caught.value.param == param


def test_a_prompt_and_max_tokens_that_fill_the_context_are_taken() -> None:
    assert parse_request({"input_ids": [5] * 60, "max_tokens": [40]}, {}, CONFIG).max_tokens == 40


def test_what_the_runtime_cannot_do_is_rejected_by_name() -> None:
    config = engine_config(unsupported=("min_p",))
    with pytest.raises(UnsupportedParameter, match="min_p"):
        parse_request({"input_ids": [5]}, {"min_p": 0.1}, config)


@pytest.mark.parametrize("field", sorted(NEUTRAL))
def test_a_value_that_asks_for_nothing_is_taken_by_an_engine_without_that_field(field: str) -> None:
    config = engine_config(unsupported=tuple(NEUTRAL))
    for value in NEUTRAL[field]:
        if field in SAMPLING_PARAMETERS:
            sent = "[]" if field == "stop_token_ids" else value
            sampling = parse_request({"input_ids": [5]}, {field: sent}, config).sampling
        else:
            sampling = parse_request({"input_ids": [5], field: [value]}, {}, config).sampling
        assert getattr(sampling, field) is None


@pytest.mark.parametrize(
    ("defaults", "tensors", "max_tokens", "min_tokens"),
    [
        (Sampling(max_tokens=64), {}, 40, None),
        (Sampling(max_tokens=8), {}, 8, None),
        (Sampling(max_tokens=8), {"min_tokens": [12]}, 12, 12),
        (Sampling(max_tokens=8, min_tokens=4), {}, 8, 4),
        (Sampling(min_tokens=64), {}, 40, 40),
        (Sampling(min_tokens=8), {"max_tokens": [3]}, 3, 3),
    ],
)
def test_lengths_that_are_the_engines_defaults_fit_every_prompt(
    defaults: Sampling, tensors: dict[str, Any], max_tokens: int, min_tokens: int | None
) -> None:
    config = engine_config(max_seq_len=100, sampling=defaults)
    request = parse_request({"input_ids": [5] * 60, **tensors}, {}, config)
    assert (request.max_tokens, request.sampling.min_tokens) == (max_tokens, min_tokens)


def test_stop_sequences_are_lists_of_token_ids_and_empty_ones_are_ignored() -> None:
    request = parse_request({"input_ids": [5], "stop_sequences": [b"[[7, 8], [], [9]]"]}, {}, CONFIG)
    assert request.stop_sequences == ((7, 8), (9,))
