"""Every architecture with values and shapes that no model has: the file opens, or one sentence says what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
import pytest

from build_scripts.weights.gguf.checkpoint import open_gguf
from build_scripts.weights.gguf.families.known import FAMILIES
from tests.build_scripts.weights.gguf.gguf_checkpoints import add_byte_level, byte_level_tokens
from tests.build_scripts.weights.nemo.test_nemo_hostile import calls_at_most
from triton_repo.contract.errors import BuildError

MAX_CALLS = 300_000
LARGEST = (1 << 31) - 1
Shapes = Mapping[str, tuple[int, ...]]
SMALLEST: Final[Shapes] = {"token_embd.weight": (len(byte_level_tokens()), 64), "blk.0.attn_output.weight": (64, 64)}
VALUES: Final[Mapping[str, Any]] = {
    "block_count": 1,
    "context_length": 256,
    "embedding_length": 64,
    "feed_forward_length": 96,
    "attention.head_count": 8,
    "attention.head_count_kv": 8,
    "attention.key_length": 8,
    "attention.key_length_swa": 8,
    "attention.value_length": 8,
    "attention.kv_lora_rank": 16,
    "attention.layer_norm_epsilon": 1e-5,
    "attention.layer_norm_rms_epsilon": 1e-5,
    "attention.sliding_window": 32,
    "expert_used_count": 2,
    "expert_feed_forward_length": 32,
    "expert_shared_feed_forward_length": 32,
    "logit_scale": 1.0,
}
OWN: Final[Mapping[str, Mapping[str, Any]]] = {"deepseek2": {"rope.dimension_count": 4}}
ODD: Final[Mapping[str, tuple[Any, ...]]] = {
    "block_count": (0, 2, 4096, LARGEST, [1] * 5000),
    "nextn_predict_layers": (1, LARGEST),
    "attention.head_count": (0, 1, 65, LARGEST),
    "attention.head_count_kv": (0, LARGEST, [2, 8]),
    "attention.key_length": (0, 1, LARGEST),
    "attention.value_length": (1,),
    "rope.dimension_count": (0, 64, LARGEST),
    "rope.freq_base": (0.0, 1.0, float("nan")),
    "embedding_length": (0, LARGEST),
    "feed_forward_length": (0, [96, 0]),
    "expert_count": (2, 4097),
    "expert_shared_feed_forward_length": (None,),
    "leading_dense_block_count": (LARGEST,),
    "attention.sliding_window_pattern": (0, LARGEST, [True] * 2),
    "attention.shared_kv_layers": (LARGEST,),
}
# Parts that a family makes others of, in shapes that they never have.
TENSORS: Final[Mapping[str, Shapes]] = {
    "a flat shared expert": {"blk.0.ffn_gate_shexp.weight": (8,), "blk.0.ffn_up_shexp.weight": (8,)},
    "half of a shared expert": {"blk.0.ffn_gate_shexp.weight": (8, 8)},
    "the other half": {"blk.0.ffn_up_shexp.weight": (8, 8)},
    "half of the experts": {"blk.0.ffn_gate_exps.weight": (2, 8, 8)},
    "keys without values": {"blk.0.attn_k_b.weight": (8, 8, 8)},
    "values in many dimensions": {"blk.0.attn_qkv.weight": (24, 2, 2, 2)},
    "a table of rope": {"rope_freqs.weight": (4,)},
}


NOTHING: Final[Mapping[str, Any]] = {}


def write(path: Path, architecture: str, values: Mapping[str, Any] = NOTHING, shapes: Shapes = NOTHING) -> Path:
    """A file of `architecture` with the fewest tensors, and those of `shapes`; a value of None leaves out the key."""
    writer = gguf.GGUFWriter(path, architecture)
    own = {f"{architecture}.{key}": value for key, value in {**VALUES, **OWN.get(architecture, {}), **values}.items()}
    for key, value in {**own, **{f"xielu.{name}": [1.0] for name in ("alpha_p", "alpha_n", "beta", "eps")}}.items():
        if isinstance(value, list):
            writer.add_array(key, value)
        elif value is not None:
            writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    add_byte_level(writer)
    for name, shape in {**SMALLEST, **shapes}.items():
        writer.add_tensor(name, np.ones(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def outcome(path: Path) -> str:
    """What is wrong with the file, or nothing; any other error than a BuildError escapes."""
    try:
        with calls_at_most(MAX_CALLS):
            open_gguf(path, "x")
    except BuildError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("architecture", sorted(FAMILIES))
def test_odd_values_and_shapes_open_or_are_rejected_by_file(tmp_path: Path, architecture: str) -> None:
    path = tmp_path / "x.gguf"
    assert outcome(write(path, architecture)) == ""
    said = [outcome(write(path, architecture, {key: value})) for key, values in ODD.items() for value in values]
    for count in (0, 2):
        said += [outcome(write(path, architecture, {"expert_count": count}, shapes)) for shapes in TENSORS.values()]
    assert all("x.gguf" in one and len(one) < 500 for one in said if one)


@pytest.mark.parametrize("architecture", sorted(FAMILIES))
@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("block_count", LARGEST, "must be ≤ 4096"),
        ("nextn_predict_layers", 1, "must be < block_count, 1"),
        ("nextn_predict_layers", LARGEST, "must be < block_count, 1"),
    ],
)
def test_a_number_of_layers_that_cannot_be_is_rejected_by_its_key(
    tmp_path: Path, architecture: str, key: str, value: int, rule: str
) -> None:
    said = outcome(write(tmp_path / "x.gguf", architecture, {key: value}))
    assert f"{architecture}.{key} = {value}; {rule}" in said


@pytest.mark.parametrize("architecture", ["glm4", "phi3", "minimax-m2", "deepseek2", "llama"])
def test_more_rotated_than_a_head_has_is_rejected(tmp_path: Path, architecture: str) -> None:
    said = outcome(write(tmp_path / "x.gguf", architecture, {"rope.dimension_count": 64}))
    assert f"{architecture}.rope.dimension_count = 64; must be" in said
    assert "8, the size of a" in said


@pytest.mark.parametrize(
    ("architecture", "shapes", "missing"),
    [
        ("granitemoe", TENSORS["half of a shared expert"], "blk.0.ffn_up_shexp.weight"),
        ("granitemoe", TENSORS["the other half"], "blk.0.ffn_gate_shexp.weight"),
        ("gpt-oss", TENSORS["half of the experts"], "blk.0.ffn_up_exps.weight"),
        ("deepseek2", TENSORS["keys without values"], "blk.0.attn_v_b.weight"),
    ],
)
def test_half_of_what_belongs_together_is_rejected(
    tmp_path: Path, architecture: str, shapes: Shapes, missing: str
) -> None:
    assert f"{missing} is missing; " in outcome(write(tmp_path / "x.gguf", architecture, {"expert_count": 2}, shapes))
