"""What a `config.json` says of a decoder, and what the weights must then be: transformers is the judge."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from build_scripts.architectures import NotCompiled, Rope, UnknownArchitecture, decoder_of
from tests.build_scripts.checkpoints import LLAMA3_SCALING, make_checkpoint
from triton_repo.contract.errors import BuildError

PLAIN: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 101,
}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}),
    ("llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    ("mistral", {"head_dim": 16}),
    ("qwen2", {"tie_word_embeddings": True}),
    ("qwen3", {"head_dim": 10}),
    ("mixtral", {}),
    ("qwen2_moe", {}),
    ("qwen3_moe", {"tie_word_embeddings": True}),
    ("gemma", {}),
    ("gemma2", {}),
    ("gemma3_text", {}),
    ("phi3", {}),
    ("nemotron", {"tie_word_embeddings": True}),
    ("granite", {"attention_bias": True, "mlp_bias": True}),
]


@pytest.mark.parametrize(("family", "config"), VARIANTS)
def test_the_weights_of_a_family_are_those_that_transformers_gives_it(
    tmp_path: Path, family: str, config: dict[str, Any]
) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", family, **config)
    decoder = decoder_of(json.loads((checkpoint / "config.json").read_text()), "tiny")
    stored = {name: tuple(tensor.shape) for name, tensor in load_file(checkpoint / "model.safetensors").items()}
    assert decoder.weight_shapes() == stored
    assert decoder.family == family
    assert decoder.parameters == sum(math.prod(shape) for shape in stored.values())


def test_rope_is_read_as_transformers_wrote_it_before_and_since_version_5() -> None:
    scaling = {key: value for key, value in LLAMA3_SCALING.items() if key != "rope_type"}
    expected = Rope(500000.0, LLAMA3_SCALING)
    notations: list[dict[str, Any]] = [
        {"rope_theta": 500000, "rope_scaling": LLAMA3_SCALING},
        {"rope_theta": 500000.0, "rope_scaling": {"type": "llama3", **scaling}},
        {"rope_parameters": {"rope_theta": 500000.0, **LLAMA3_SCALING}},
    ]
    assert [decoder_of({**PLAIN, **notation}, "x").rope for notation in notations] == [expected] * 3
    assert decoder_of({**PLAIN, "rope_scaling": {"rope_type": "default"}}, "x").rope == Rope(10000.0)


def test_an_architecture_is_found_among_others_of_odd_types() -> None:
    odd: dict[str, Any] = {**PLAIN, "architectures": [["x"], {}, "LlamaForCausalLM"]}
    assert decoder_of(odd, "x").family == "llama"


def test_a_sliding_window_counts_where_the_family_means_it() -> None:
    mistral = {**PLAIN, "architectures": ["MistralForCausalLM"]}
    assert decoder_of({**mistral, "sliding_window": 4096}, "x").sliding_window == 4096
    assert decoder_of({**mistral, "sliding_window": None}, "x").sliding_window is None
    qwen = {**PLAIN, "architectures": ["Qwen2ForCausalLM"], "sliding_window": 4096, "use_sliding_window": False}
    assert decoder_of(qwen, "x").sliding_window is None


GEMMA3: dict[str, Any] = {"architectures": ["Gemma3ForCausalLM"], "head_dim": 8, "sliding_window": 64}
PHI3_SILENT: dict[str, Any] = {"architectures": ["Phi3ForCausalLM"]}
PHI3: dict[str, Any] = {**PHI3_SILENT, "original_max_position_embeddings": 64}
LONGROPE: dict[str, Any] = {"type": "su", "short_factor": [1.0] * 3, "long_factor": [2.0] * 3}
NEMOTRON: dict[str, Any] = {"architectures": ["NemotronForCausalLM"], "head_dim": 8, "hidden_act": "relu2"}
FRACTIONS: list[Any] = ["0.5", 0, -1, 2, True, []]
LENGTHS: list[Any] = ["abc", -5, 0, []]
KINDS: list[Any] = [[], ["full_attention"], ["sliding_attention"] * 3, "x", {}]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"hidden_size": None}, "hidden_size = null; must be a whole number ≥ 1"),
    ({"num_hidden_layers": 2.0}, "num_hidden_layers = 2.0; must be a whole number ≥ 1"),
    ({"num_hidden_layers": 4097}, "num_hidden_layers = 4097; must be a whole number ≥ 1 and ≤ 4096"),
    ({"num_attention_heads": True}, "num_attention_heads = true; must be a whole number ≥ 1"),
    ({"vocab_size": 1 << 40}, "vocab_size = 1099511627776; must be a whole number ≥ 1"),
    ({"num_key_value_heads": 3}, "num_key_value_heads = 3; must divide num_attention_heads (8)"),
    ({"hidden_size": 50}, "hidden_size = 50; must be divisible by num_attention_heads (8)"),
    ({"rms_norm_eps": 0}, "rms_norm_eps = 0; must be a number > 0"),
    ({"rms_norm_eps": 1e-300}, "rms_norm_eps = 1e-300; must be a number > 0 that float32 can hold"),
    ({"rms_norm_eps": 1e300}, "rms_norm_eps = 1e+300; must be a number > 0 that float32 can hold"),
    ({"rms_norm_eps": 10**400}, "; must be a number > 0"),
    ({"rope_theta": 10**400}, "; must be a number > 0"),
    ({"rope_parameters": {"rope_theta": 10**400}}, "rope_theta must be a number > 0"),
    ({"torch_dtype": "float8"}, 'torch_dtype = "float8"; allowed: float32, float16, bfloat16'),
    ({"attention_bias": "no"}, 'attention_bias = "no"; must be true or false'),
    ({"rope_scaling": "yarn"}, 'rope_scaling = "yarn"; must be an object or null'),
    ({"rope_scaling": {"rope_type": "linear"}}, "; factor must be a number > 0 for rope_type linear"),
    *(({**NEMOTRON, "partial_rotary_factor": odd}, "factor must be a number > 0 and ≤ 1") for odd in FRACTIONS),
    *(({**NEMOTRON, "rope_percent": odd}, "rope_percent = ") for odd in FRACTIONS),
    ({**NEMOTRON, "head_dim": 2}, "must turn an even number ≥ 2 of a head's values (head_dim 2), and turns 1"),
    ({**NEMOTRON, "head_dim": 6}, "must turn an even number ≥ 2 of a head's values (head_dim 6), and turns 3"),
    (
        {**PHI3, "partial_rotary_factor": 1e-9},
        "must turn an even number ≥ 2 of a head's values (head_dim 6), and turns 0",
    ),
    *(
        ({**PHI3_SILENT, "rope_scaling": {**LONGROPE, "original_max_position_embeddings": odd}}, " = ")
        for odd in LENGTHS
    ),
    *(({**GEMMA3, "layer_types": odd}, "must be a list of num_hidden_layers (2) kinds") for odd in KINDS),
    *(
        ({"architectures": ["Gemma2ForCausalLM"], "layer_types": odd}, "must be a list of num_hidden_layers (2) kinds")
        for odd in KINDS
    ),
    ({"partial_rotary_factor": 2}, "partial_rotary_factor must be a number > 0 and ≤ 1"),
]


@pytest.mark.parametrize(("config", "complaint"), REFUSED)
def test_a_configuration_that_cannot_be_converted_is_refused_with_its_key(
    config: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(BuildError) as refused:
        decoder_of({**PLAIN, **config}, "org/model")
    assert str(refused.value).startswith("org/model: config.json: ")
    assert complaint in str(refused.value)


# What a compiled engine would compute otherwise than the checkpoint means it: a configuration -> its key and the rule.
NOT_COMPILED: list[tuple[dict[str, Any], str]] = [
    ({"hidden_act": "gelu"}, 'hidden_act = "gelu"; allowed: silu'),
    (
        {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
        "; rope_type yarn; allowed: default, linear, dynamic, llama3",
    ),
    ({"partial_rotary_factor": 0.5}, "partial_rotary_factor must be 1"),
    (
        {"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": True},
        "use_sliding_window = true; allowed: false",
    ),
    ({"architectures": ["Qwen3ForCausalLM"], "attention_bias": True}, "attention_bias = true; allowed: false"),
    ({"architectures": ["Qwen3ForCausalLM"], "num_key_value_heads": 8}, "must be fewer than num_attention_heads"),
    ({"architectures": ["Qwen3MoeForCausalLM"], "mlp_only_layers": [0]}, "mlp_only_layers = [0]; must be empty"),
    ({"architectures": ["Qwen3MoeForCausalLM"], "mlp_only_layers": 0}, "mlp_only_layers = 0; must be empty"),
    ({"architectures": ["Qwen3MoeForCausalLM"], "decoder_sparse_step": 2}, "decoder_sparse_step = 2; must be 1"),
    ({"architectures": ["Qwen2MoeForCausalLM"], "qkv_bias": False}, "qkv_bias = false; allowed: true"),
    ({**GEMMA3, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}, "; rope_type linear; allowed: default"),
    ({**GEMMA3, "final_logit_softcapping": 30.0}, "final_logit_softcapping = 30.0; must be null"),
    ({**GEMMA3, "use_bidirectional_attention": True}, "use_bidirectional_attention = true; allowed: false"),
    (
        {**GEMMA3, "layer_types": ["full_attention", "sliding_attention"]},
        "must repeat one pattern that ends with full_attention",
    ),
    ({"architectures": ["Gemma2ForCausalLM"], "layer_types": ["full_attention"] * 2}, "must alternate"),
    (
        {"architectures": ["Gemma2ForCausalLM"], "hidden_activation": "gelu"},
        'hidden_activation = "gelu"; allowed: ',
    ),
    ({**PHI3, "head_dim": 16}, "head_dim = 16; must be hidden_size / num_attention_heads"),
    ({**PHI3, "rope_scaling": {**LONGROPE, "attention_factor": 1.2}}, "attention_factor must be absent"),
    ({**PHI3, "rope_scaling": {"type": "linear", "factor": 2.0}}, "; rope_type linear; allowed: default, longrope"),
    ({"architectures": ["NemotronForCausalLM"], "hidden_act": "relu2", "mlp_bias": True}, "mlp_bias = true; allowed"),
    ({"architectures": ["NemotronForCausalLM"], "hidden_act": "silu"}, 'hidden_act = "silu"; allowed: relu2'),
]


@pytest.mark.parametrize(("config", "complaint"), NOT_COMPILED)
def test_what_a_compiled_engine_would_compute_otherwise_names_its_key_and_the_other_flow(
    config: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(NotCompiled) as refused:
        decoder_of({**PLAIN, **config}, "org/model")
    assert str(refused.value).startswith("org/model: config.json: ")
    assert complaint in str(refused.value)
    assert "with build.flow = pytorch" in str(refused.value)


@pytest.mark.parametrize("factors", [None, [1.0] * 4, [1.0, 0.0, 1.0]])
def test_the_factors_of_longrope_are_as_many_as_turned_pairs(factors: Any) -> None:
    with pytest.raises(BuildError, match="long_factor must be 3 numbers > 0"):
        decoder_of({**PLAIN, **PHI3, "rope_scaling": {**LONGROPE, "long_factor": factors}}, "x")


def test_longrope_is_read_under_the_names_that_phi_has_had_for_it() -> None:
    old = decoder_of({**PLAIN, **PHI3, "rope_theta": 5e4, "rope_scaling": LONGROPE}, "x").rope
    section = {**LONGROPE, "rope_type": "longrope", "rope_theta": 5e4, "original_max_position_embeddings": 64}
    new = decoder_of({**PLAIN, "architectures": ["Phi3ForCausalLM"], "rope_parameters": section}, "x").rope
    assert old == new
    assert old.scaling is not None
    assert old.scaling["original_max_position_embeddings"] == 64


def test_both_rotary_embeddings_of_gemma_3_are_read_as_before_and_since_version_5() -> None:
    nested = {"full_attention": {"rope_theta": 2e6}, "sliding_attention": {"rope_theta": 3e4}}
    notations: list[dict[str, Any]] = [{"rope_theta": 2e6, "rope_local_base_freq": 3e4}, {"rope_parameters": nested}]
    expected = Rope(2e6, local_theta=3e4)
    assert [decoder_of({**PLAIN, **GEMMA3, **notation}, "x").rope for notation in notations] == [expected] * 2
    assert decoder_of({**PLAIN, **GEMMA3}, "x").rope == Rope(1e6, local_theta=1e4)


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ([1], "must be an object or null"),
        ({"rope_theta": "abc"}, "rope_theta must be a number > 0"),
        ({"rope_theta": -5}, "rope_theta must be a number > 0"),
        ({"rope_theta": 0}, "rope_theta must be a number > 0"),
        ({"rope_type": "linear", "factor": 8}, "rope_type linear; allowed: default"),
        ({"rope_type": []}, "rope_type must be a string or null"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor must be 1"),
        ({"partial_rotary_factor": 0}, "partial_rotary_factor must be a number > 0 and ≤ 1"),
    ],
)
@pytest.mark.parametrize("kind", ["full_attention", "sliding_attention"])
def test_a_rotary_embedding_of_gemma_3_is_rejected_by_the_key_of_its_section(
    kind: str, section: Any, complaint: str
) -> None:
    with pytest.raises(BuildError) as refused:
        decoder_of({**PLAIN, **GEMMA3, "rope_parameters": {kind: section}}, "x")
    assert f"rope_parameters.{kind} = " in str(refused.value)
    assert complaint in str(refused.value)


def test_nemotron_turns_the_fraction_that_either_of_its_keys_says() -> None:
    def fraction(**values: Any) -> float:
        return decoder_of({**PLAIN, **NEMOTRON, **values}, "x").rope.fraction

    assert fraction() == fraction(rope_percent=None) == 0.5
    assert fraction(rope_percent=1) == fraction(partial_rotary_factor=1) == 1.0
    assert fraction(rope_percent=0.25) == 0.25
    assert fraction(partial_rotary_factor=0.25, rope_percent=0.5) == 0.25


def test_the_length_that_is_computed_right_is_the_window_or_the_first_context_of_longrope() -> None:
    assert decoder_of({**PLAIN, **GEMMA3}, "x").exact_length == (64, "sliding_window")
    phi = {**PLAIN, **PHI3, "rope_scaling": LONGROPE}
    assert decoder_of(phi, "x").exact_length == (64, "original_max_position_embeddings")
    assert decoder_of({**phi, "sliding_window": 32}, "x").exact_length == (32, "sliding_window")
    assert decoder_of(PLAIN, "x").exact_length is None


@pytest.mark.parametrize("names", [["FalconForCausalLM"], [], None, "LlamaForCausalLM"])
def test_an_architecture_of_no_family_is_a_refusal_of_its_own(names: Any) -> None:
    with pytest.raises(UnknownArchitecture, match="allowed: LlamaForCausalLM, MistralForCausalLM, Mixtral"):
        decoder_of({**PLAIN, "architectures": names}, "x")
