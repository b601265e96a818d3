"""The sizes that a plan computes of a `config.json` are those of the model that transformers makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from build_scripts.sizing import model_shape
from build_scripts.sizing.numbers import context_length
from build_scripts.sizing.traits import TRAITS
from tests.build_scripts.sizing.meta import count
from triton_repo.contract.errors import BuildError

# Sizes where those of transformers are of no model, or where the ones of a family differ from layer to layer.
OWN: dict[str, dict[str, Any]] = {
    "hunyuan_v1_dense": {"head_dim": 128},
    "ministral": {"head_dim": 128, "num_key_value_heads": 8},
    "nemotron": {"num_key_value_heads": 8, "head_dim": 128},
    "falcon": {"alibi": False, "bias": True},
}
LAYERS = 6


def config_of(model_type: str) -> dict[str, Any] | None:
    """`config.json` of a few layers; None of a model that transformers does not know."""
    if model_type not in CONFIG_MAPPING:
        return None
    given = dict(OWN.get(model_type, {}))
    known = CONFIG_MAPPING[model_type](**given).to_dict()
    if model_type != "nemotron_h":
        names = [name for name in ("num_hidden_layers", "n_layer", "n_layers") if isinstance(known.get(name), int)]
        given |= dict.fromkeys(names, LAYERS)
    values: dict[str, Any] = CONFIG_MAPPING[model_type](**given).to_dict()
    return values


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # GPT BigCode's
@pytest.mark.parametrize("model_type", sorted(TRAITS))
def test_every_family_has_the_parameters_and_the_cache_that_transformers_gives_it(model_type: str) -> None:
    config = config_of(model_type)
    if config is None:
        pytest.skip(f"transformers does not know {model_type}")
    counted = count(config)
    assert counted is not None
    shape = model_shape(config, model_type)
    assert shape.parameters == counted.parameters
    if counted.kv_values_per_token is not None:
        assert shape.kv_values_per_token == counted.kv_values_per_token


@pytest.mark.parametrize(
    ("key", "length"),
    [("n_positions", 1024), ("max_seq_len", 2048), ("seq_length", 2048), ("max_sequence_length", 2048), ("n_ctx", 512)],
)
def test_a_context_length_is_found_under_every_name_that_families_give_it(key: str, length: int) -> None:
    assert context_length({key: length, "vocab_size": 5}) == length
    assert context_length({key: length, "max_position_embeddings": 9}) == 9
    assert context_length({"max_position_embeddings": None}) is None


SLIDING: dict[str, Any] = {
    "model_type": "gpt_oss", "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
    "num_hidden_layers": 4, "intermediate_size": 64, "num_local_experts": 4, "vocab_size": 100, "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}  # fmt: skip


def test_the_first_qwen_counts_both_projections_of_its_block_as_one_size() -> None:
    """Qwen-7B has 7,721,324,544 parameters."""
    config = {
        "model_type": "qwen", "hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 32,
        "intermediate_size": 22016, "vocab_size": 151936, "tie_word_embeddings": False,
    }  # fmt: skip
    assert model_shape(config, "m").parameters == 7_721_324_544


def test_a_layer_with_a_window_counts_as_one_that_keeps_every_token() -> None:
    assert model_shape(SLIDING, "m").kv_values_per_token == 4 * (2 * 2 * 32)


def test_a_low_rank_cache_is_one_vector_and_one_rotary_key_for_all_heads() -> None:
    config = CONFIG_MAPPING["deepseek_v3"]().to_dict()
    assert model_shape(config, "m").kv_values_per_token == 61 * (512 + 64)


def test_a_hybrid_model_keeps_a_state_of_its_recurrent_layers_whatever_the_length() -> None:
    shape = model_shape(CONFIG_MAPPING["qwen3_next"]().to_dict(), "m")
    growing = [layer for layer in shape.layers if layer.cache.values_per_token]
    assert (len(growing), len(shape.layers)) == (12, 48)
    assert all(bool(layer.cache.values_per_token) != bool(layer.cache.state_values) for layer in shape.layers)


def test_the_blocks_of_a_searched_model_have_sizes_of_their_own_or_are_left_out() -> None:
    """Llama 3.3 Nemotron Super 49B has 49,867,145,216 parameters as NVIDIA publishes it, by the same rules."""
    whole = {"attention": {"n_heads_in_group": 8, "no_op": False}, "ffn": {"ffn_mult": 5.25, "no_op": False}}
    narrow = {"attention": {"no_op": True}, "ffn": {"ffn_mult": 0.5, "no_op": False}}
    config = {
        "model_type": "nemotron-nas", "hidden_size": 8192, "num_attention_heads": 64, "num_key_value_heads": None,
        "intermediate_size": None, "num_hidden_layers": 2, "vocab_size": 128256, "tie_word_embeddings": False,
        "block_configs": [whole, narrow],
    }  # fmt: skip
    shape = model_shape(config, "m")
    first = 8192 * 128 * (2 * 64 + 2 * 8) + 3 * 8192 * 28672 + 2 * 8192
    second = 3 * 8192 * 2816 + 8192
    assert shape.parameters == 2 * 128256 * 8192 + 8192 + first + second
    assert (shape.kv_values_per_token, shape.num_kv_heads, shape.intermediate_size) == (2 * 8 * 128, 8, 256)


NO_OP = {"no_op": True}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"layer_types": ["full_attention", "chunked_attention"]}, "chunked_attention are not counted"),
        ({"hybrid_override_pattern": "*X"}, "'X' are not counted"),
        ({"compress_ratios": [4, 4]}, "compress_ratios: layers of this kind are not counted"),
        ({"hidden_size": None}, "needs one of hidden_size, n_embd, d_model, a whole number ≥ 1"),
        ({"num_hidden_layers": 1 << 39}, "num_hidden_layers = 549755813888; must be ≤ 4096"),
        ({"mlp_only_layers": 5}, "mlp_only_layers = 5; must be a list of layers"),
        ({"block_configs": [{"attention": NO_OP, "ffn": NO_OP}]}, "block_configs: no layer has attention"),
        (
            {"block_configs": [{"attention": {"n_heads_in_group": 8}, "ffn": NO_OP}]},
            "block_configs: n_heads_in_group = 8; must divide the 4 attention heads",
        ),
    ],
)
def test_what_is_not_known_is_not_guessed(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BuildError, match=complaint):
        model_shape({**SLIDING, **change}, "m")
