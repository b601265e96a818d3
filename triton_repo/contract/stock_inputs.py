"""Inputs of NVIDIA's stock ensemble for features that Conch does not have.

Its clients send many of them with every request, most with the value that asks for nothing: so each exists here, that
value is accepted, and any other is rejected by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from triton_repo.contract.errors import UnsupportedParameter
from triton_repo.contract.tensors import Tensor


@dataclass(frozen=True, slots=True)
class StockInput:
    """`neutral` is the value that asks for nothing; None if no value has an effect. `reason` says why others fail."""

    tensor: Tensor
    neutral: bool | int | bytes | None
    reason: str = ""


_NO_BEAM_SEARCH: Final = "beam search is not available"
_NO_PROMPT_TUNING: Final = "prompt tuning is not available"
_NO_BIAS: Final = "use the request parameter `logit_bias`, where the engine can"
_NO_LORA_UPLOAD: Final = "choose one of the engine's adapters with the request parameter `lora_name`"
_NO_LOGITS: Final = "logits are not returned"

STOCK_INPUTS: Final = (
    StockInput(Tensor("pad_id", "INT32"), None),
    StockInput(Tensor("length_penalty", "FP32"), None),  # an option of beam search
    StockInput(Tensor("beam_width", "INT32"), 1, _NO_BEAM_SEARCH),
    StockInput(Tensor("num_return_sequences", "INT32"), 1, "send one row per answer"),
    StockInput(Tensor("bad_words", "BYTES", (-1,)), b"", "excluding words is not available"),
    StockInput(Tensor("decoder_text_input", "BYTES"), b"", "the model has no encoder"),
    StockInput(Tensor("embedding_bias_words", "BYTES", (-1,)), b"", _NO_BIAS),
    StockInput(Tensor("embedding_bias_weights", "FP32", (-1,)), 0, _NO_BIAS),
    StockInput(Tensor("return_log_probs", "BOOL"), False, "use the request parameter `logprobs`"),
    StockInput(Tensor("return_context_logits", "BOOL"), False, _NO_LOGITS),
    StockInput(Tensor("return_generation_logits", "BOOL"), False, _NO_LOGITS),
    StockInput(Tensor("return_perf_metrics", "BOOL"), False, "metrics of single requests are not returned"),
    StockInput(Tensor("return_num_input_tokens", "BOOL"), False, "the output `token_counts` has it"),
    StockInput(Tensor("return_num_output_tokens", "BOOL"), False, "the output `token_counts` has it"),
    StockInput(Tensor("prompt_embedding_table", "FP16", (-1, -1)), 0, _NO_PROMPT_TUNING),
    StockInput(Tensor("prompt_table_extra_id", "UINT64"), 0, _NO_PROMPT_TUNING),
    StockInput(Tensor("prompt_vocab_size", "INT32"), 0, _NO_PROMPT_TUNING),
    StockInput(Tensor("lora_task_id", "UINT64"), 0, _NO_LORA_UPLOAD),
    StockInput(Tensor("lora_weights", "FP16", (-1, -1)), 0, _NO_LORA_UPLOAD),
    StockInput(Tensor("lora_config", "INT32", (-1, 3)), 0, _NO_LORA_UPLOAD),
)
STOCK_TENSORS: Final = tuple(stock.tensor for stock in STOCK_INPUTS)
_BY_NAME: Final[Mapping[str, StockInput]] = {stock.tensor.name: stock for stock in STOCK_INPUTS}


def check_stock_input(name: str, values: Any) -> None:
    """Check one input of a request; any other than those of `STOCK_INPUTS` is fine.

    Args:
        values: those of one row, as nested lists.

    Raises:
        UnsupportedParameter: it asks for something.
    """
    stock = _BY_NAME.get(name)
    if stock is None or stock.neutral is None or _all_equal(values, stock.neutral):
        return
    neutral = stock.neutral.decode() if isinstance(stock.neutral, bytes) else stock.neutral
    raise UnsupportedParameter(f"{name}: {stock.reason}; the only value accepted is {neutral!r}", name)


def _all_equal(values: Any, neutral: bool | int | bytes) -> bool:
    if isinstance(values, list):
        return all(_all_equal(value, neutral) for value in values)
    return bool(values == neutral)
