"""Inputs of NVIDIA's ensemble: all exist, their neutral values are accepted, any other is rejected by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from triton_repo.contract.errors import UnsupportedParameter
from triton_repo.contract.steps import ENSEMBLE_INPUTS
from triton_repo.contract.stock_inputs import STOCK_INPUTS, StockInput, check_stock_input

# triton_backend/all_models/inflight_batcher_llm/ensemble/config.pbtxt of TensorRT-LLM 1.2.1, and `random_seed` and
# `min_length`, which 0.19 has instead of `seed` and `min_tokens`.
STOCK_ENSEMBLE = {
    "text_input": "BYTES",
    "decoder_text_input": "BYTES",
    "max_tokens": "INT32",
    "num_return_sequences": "INT32",
    "bad_words": "BYTES",
    "stop_words": "BYTES",
    "exclude_input_in_output": "BOOL",
    "end_id": "INT32",
    "pad_id": "INT32",
    "top_k": "INT32",
    "top_p": "FP32",
    "temperature": "FP32",
    "length_penalty": "FP32",
    "repetition_penalty": "FP32",
    "min_tokens": "INT32",
    "min_length": "INT32",
    "presence_penalty": "FP32",
    "frequency_penalty": "FP32",
    "seed": "UINT64",
    "random_seed": "UINT64",
    "return_log_probs": "BOOL",
    "return_context_logits": "BOOL",
    "return_generation_logits": "BOOL",
    "return_perf_metrics": "BOOL",
    "return_num_input_tokens": "BOOL",
    "return_num_output_tokens": "BOOL",
    "beam_width": "INT32",
    "stream": "BOOL",
    "prompt_embedding_table": "FP16",
    "prompt_table_extra_id": "UINT64",
    "prompt_vocab_size": "INT32",
    "embedding_bias_words": "BYTES",
    "embedding_bias_weights": "FP32",
    "lora_task_id": "UINT64",
    "lora_weights": "FP16",
    "lora_config": "INT32",
    "guided_decoding_guide_type": "BYTES",
    "guided_decoding_guide": "BYTES",
}
DTYPES = {"BYTES": "O", "BOOL": "?", "INT32": "i4", "UINT64": "u8", "FP16": "f2", "FP32": "f4"}
WITH_A_NEUTRAL_VALUE = [stock for stock in STOCK_INPUTS if stock.neutral is not None]


def values(stock: StockInput, *elements: object) -> Any:
    return np.array(elements, dtype=DTYPES[stock.tensor.datatype]).tolist()


def test_every_input_of_the_stock_ensemble_exists_with_its_type() -> None:
    ours = {tensor.name: tensor.datatype for tensor in ENSEMBLE_INPUTS}
    assert {name: ours.get(name) for name in STOCK_ENSEMBLE} == STOCK_ENSEMBLE


@pytest.mark.parametrize("stock", WITH_A_NEUTRAL_VALUE, ids=lambda stock: stock.tensor.name)
def test_the_neutral_value_is_accepted_and_another_is_rejected_by_name(stock: StockInput) -> None:
    check_stock_input(stock.tensor.name, values(stock, stock.neutral))
    check_stock_input(stock.tensor.name, values(stock))
    other = {"BYTES": b"x", "BOOL": True}.get(stock.tensor.datatype, 2)
    with pytest.raises(UnsupportedParameter, match=rf"^{stock.tensor.name}: .+; the only value accepted is") as caught:
        check_stock_input(stock.tensor.name, values(stock, stock.neutral, other))
    assert caught.value.param == stock.tensor.name


@pytest.mark.parametrize("name", ["pad_id", "length_penalty", "temperature", "no_such_input"])
def test_any_value_of_an_input_without_effect_is_accepted(name: str) -> None:
    check_stock_input(name, [7])
