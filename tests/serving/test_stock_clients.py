"""Clients written for NVIDIA's TensorRT-LLM ensemble, against the real Triton with tritonclient.grpc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.conftest import Stack
from tests.serving.triton_client import rows, scalars, triton_stream

PROMPT = "What is Triton?"
# What NVIDIA's own gRPC client sends with every request, and what others add with values that ask for nothing.
ALWAYS: Mapping[str, Any] = {
    "text_input": np.array([[PROMPT]], dtype=object),
    "max_tokens": np.array([[12]], np.int32),
    "stream": np.array([[True]]),
    "beam_width": np.array([[1]], np.int32),
    "temperature": np.array([[1.0]], np.float32),
    "exclude_input_in_output": np.array([[False]]),
}
NEUTRAL: Mapping[str, Any] = {
    "num_return_sequences": np.array([[1]], np.int32),
    "random_seed": np.array([[7]], np.uint64),
    "length_penalty": np.array([[1.0]], np.float32),
    "return_log_probs": np.array([[False]]),
    "return_context_logits": np.array([[False]]),
    "return_generation_logits": np.array([[False]]),
    "return_perf_metrics": np.array([[False]]),
    "pad_id": np.array([[2]], np.int32),
    "bad_words": np.array([[""]], dtype=object),
    "embedding_bias_words": np.array([[""]], dtype=object),
    "embedding_bias_weights": np.array([[0.0]], np.float32),
    "lora_task_id": np.array([[0]], np.uint64),
}


def answers(stack: Stack, inputs: Mapping[str, Any], model: str = "demo") -> list[InferResult | Exception]:
    """One stream for one request, closed as soon as it was sent, as NVIDIA's client does it."""
    received: list[InferResult | Exception] = []
    client = InferenceServerClient(stack.triton_grpc)
    client.start_stream(callback=lambda result, error: received.append(error or result))
    tensors = []
    for name, array in inputs.items():
        tensor = InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    client.async_stream_infer(model, tensors, outputs=[InferRequestedOutput("text_output")], request_id="")
    client.stop_stream()
    client.close()
    return received


def text(stack: Stack, inputs: Mapping[str, Any], model: str = "demo") -> str:
    """The answer, read as NVIDIA's client reads it: the first element of `text_output` is bytes."""
    joined = ""
    for answer in answers(stack, inputs, model):
        assert not isinstance(answer, Exception), answer
        joined += answer.as_numpy("text_output")[0].decode()
    return joined


def error(stack: Stack, inputs: Mapping[str, Any]) -> str:
    [answer] = answers(stack, inputs)
    assert isinstance(answer, InferenceServerException)
    return str(answer)


def test_what_nvidias_client_sends_with_every_request_is_accepted(stack: Stack) -> None:
    assert text(stack, ALWAYS, "replay")


@pytest.mark.parametrize("name", NEUTRAL)
def test_an_input_that_asks_for_nothing_is_accepted(stack: Stack, name: str) -> None:
    assert text(stack, {**ALWAYS, name: NEUTRAL[name]}, "replay")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("beam_width", np.array([[4]], np.int32)),
        ("num_return_sequences", np.array([[2]], np.int32)),
        ("return_log_probs", np.array([[True]])),
        ("bad_words", np.array([["no"]], dtype=object)),
        ("embedding_bias_weights", np.array([[1.5]], np.float32)),
        ("lora_weights", np.ones((1, 2, 3), np.float16)),
        ("lora_config", np.ones((1, 2, 3), np.int32)),
        ("prompt_embedding_table", np.ones((1, 2, 3), np.float16)),
    ],
)
def test_an_input_that_asks_for_what_is_not_there_is_rejected_by_name(stack: Stack, name: str, value: Any) -> None:
    message = error(stack, {**ALWAYS, name: value})
    assert f"{name}: " in message
    assert f"[conch:UnsupportedParameter:{name}]" in message


def test_what_clients_of_llama_index_and_langchain_send_is_answered(stack: Stack) -> None:
    """Their `top_p` is 0 by default: the likeliest tokens of `top_k`."""
    theirs = {
        **ALWAYS,
        "top_k": np.array([[1]], np.int32),
        "top_p": np.array([[0]], np.float32),
        "length_penalty": np.array([[1]], np.float32),
        "repetition_penalty": np.array([[1]], np.float32),
        "random_seed": np.array([[0]], np.uint64),
    }
    greedy = {**ALWAYS, "temperature": np.array([[0]], np.float32)}
    assert text(stack, theirs) == text(stack, greedy)


def test_random_seed_is_seed(stack: Stack) -> None:
    hot = {**ALWAYS, "temperature": np.array([[1.5]], np.float32), "max_tokens": np.array([[24]], np.int32)}
    by_seed = text(stack, {**hot, "seed": np.array([[5]], np.uint64)})
    assert text(stack, {**hot, "random_seed": np.array([[5]], np.uint64)}) == by_seed
    assert text(stack, {**hot, "random_seed": np.array([[6]], np.uint64)}) != by_seed


def test_a_whole_answer_includes_the_prompt_if_the_client_wants_it(stack: Stack) -> None:
    whole = {**ALWAYS, "stream": np.array([[False]])}
    without = text(stack, {**whole, "exclude_input_in_output": np.array([[True]])}, "replay")
    assert text(stack, whole, "replay") == PROMPT + without
    assert text(stack, ALWAYS, "replay") == without, "a streamed answer never includes it"


def test_a_guide_may_be_a_tensor_as_in_the_stock_ensemble(stack: Stack) -> None:
    guide = {
        "guided_decoding_guide_type": np.array([["regex"]], dtype=object),
        "guided_decoding_guide": np.array([["(yes|no)"]], dtype=object),
    }
    assert text(stack, {**ALWAYS, **guide}) in {"yes", "no"}


def test_rows_without_ids_get_ids_that_end_in_their_number(stack: Stack) -> None:
    prompts = [rows("text_input", "BYTES", [[b"a"], [b"b"]]), rows("max_tokens", "INT32", [[3], [4]])]
    counts: dict[str, int] = {}
    for request_id in ("batch", ""):
        with triton_stream(stack.triton_grpc) as stream:
            stream.send("replay", prompts, request_id, ignore_eos=True)
            for answer in stream.until_final():
                ids, totals = scalars(answer, "request_ids", "token_counts").values()
                counts |= {id.decode(): int(count) for id, count in zip(ids, totals[2::3], strict=True)}
    assert counts.pop("batch/0") == 3
    assert counts.pop("batch/1") == 4
    assert sorted((id.rpartition("/")[2], count) for id, count in counts.items()) == [("0", 3), ("1", 4)]
