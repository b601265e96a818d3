"""The smallest model that the pipeline takes: it makes nothing of its input, and so costs nothing.

A pipeline on it compiles a grammar and follows it exactly as one on a real model does.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import numpy as np
import openvino

_HEAD_SIZE: Final = 16  # the least that the CPU plugin's attention is tried with


def smallest_model(vocab_size: int, last_ids: Collection[int] = ()) -> openvino.Model:
    """A decoder with a cache of keys and values, like any that optimum-intel exports.

    All its logits are 0, but those of `last_ids`, which are less: the model takes them where it may take no other.
    """
    opset = openvino.opset15
    ids, mask, positions = (
        _input(name, openvino.Type.i64, 2) for name in ("input_ids", "attention_mask", "position_ids")
    )
    beams = _input("beam_idx", openvino.Type.i32, 1)
    number = opset.add(opset.convert(ids, "f32"), opset.convert(positions, "f32"))
    hidden = opset.matmul(opset.unsqueeze(number, _ints(2)), _zeros(1, _HEAD_SIZE), False, False)
    empty = opset.concat([opset.gather(opset.shape_of(ids), _ints([0]), _ints(0)), _ints([1, 0, _HEAD_SIZE])], 0)
    start = opset.broadcast(opset.constant(np.float32(0)), empty)
    key, key_sink = _cached(_head(hidden), start, beams, "past_key_values.0.keypresent.0.key")
    value, value_sink = _cached(_head(hidden), start, beams, "past_key_values.0.valuepresent.0.value")
    masked = opset.unsqueeze(opset.convert(mask, "f32"), _ints([1, 2]))
    attention = opset.scaled_dot_product_attention(_head(hidden), key, value, masked)
    flat = opset.reshape(opset.transpose(attention, _ints([0, 2, 1, 3])), _ints([0, 0, _HEAD_SIZE]), True)
    bias = np.zeros((1, 1, vocab_size), np.float32)
    bias[..., list(last_ids)] = -1
    logits = opset.add(opset.matmul(flat, _zeros(_HEAD_SIZE, vocab_size), False, False), opset.constant(bias))
    logits.output(0).get_tensor().set_names({"logits"})
    inputs = [ids, mask, positions, beams]
    return openvino.Model([opset.result(logits)], [key_sink, value_sink], inputs, "smallest")


def _input(name: str, dtype: openvino.Type, rank: int) -> Any:
    parameter = openvino.opset15.parameter([-1] * rank, dtype, name=name)
    parameter.output(0).get_tensor().set_names({name})
    return parameter


def _head(hidden: Any) -> Any:
    """[batch, tokens, size] -> [batch, 1, tokens, size], as a projection of its own: the pipeline looks for three."""
    opset = openvino.opset15
    projected = opset.add(hidden, _zeros(1, 1, _HEAD_SIZE))
    return opset.transpose(opset.reshape(projected, _ints([0, -1, 1, _HEAD_SIZE]), True), _ints([0, 2, 1, 3]))


def _cached(new: Any, start: Any, beams: Any, name: str) -> tuple[Any, Any]:
    opset = openvino.opset15
    shape = openvino.PartialShape([-1, 1, -1, _HEAD_SIZE])
    past = opset.gather(opset.read_value(start, name, openvino.Type.f32, shape), beams, _ints(0))
    whole = opset.concat([past, new], 2)
    return whole, opset.assign(whole, name)


def _ints(values: int | list[int]) -> Any:
    return openvino.opset15.constant(np.array(values, np.int64))


def _zeros(*shape: int) -> Any:
    return openvino.opset15.constant(np.zeros(shape, np.float32))
