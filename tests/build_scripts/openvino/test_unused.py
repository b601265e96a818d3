"""Which weights a model must not be built without."""

from __future__ import annotations

import pytest

from build_scripts.openvino.unused import changes_a_part

MODULES = {
    *("", "model", "model.embed_tokens", "model.norm", "lm_head", "model.layers", "model.layers.0"),
    *("model.decoder", "model.embed_positions"),
    *("model.layers.0.self_attn", "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.experts"),
}


@pytest.mark.parametrize(
    "name",
    [
        "lm_head.bias",
        "model.norm.bias",
        "model.embed_tokens.scales",
        "model.layers.0.self_attn.q_proj.weight_scale",
        "model.layers.0.self_attn.q_proj.lora_A.weight",
        "model.layers.0.self_attn.q_norm.weight",
        "model.layers.0.self_attn.sinks",
        "model.layers.0.mlp.experts.0.w1.weight_scale_inv",
        "model.layers.0.pre_feedforward_layernorm.weight",
    ],
)
def test_what_belongs_to_a_part_of_the_model_changes_it(name: str) -> None:
    assert changes_a_part(name, MODULES)


@pytest.mark.parametrize(
    "name",
    [
        "v_head.summary.weight",
        "score.weight",
        "mtp.layers.0.self_attn.q_proj.weight",
        "model.mtp_layers.0.token_layernorm.weight",
        "model.layers.1.embed_tokens.weight",
        "model.layers.1.self_attn.q_proj.weight",
        "vision_tower.encoder.layers.0.mlp.fc1.weight",
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        "model.layers.0.self_attn.inv_freq",
        "model.embed_positions.weights",
        "model.decoder.version",
        "model.layers.0.self_attn.q_proj.k_scale",
        "model.layers.0.self_attn.kv_scale",
        "transformer.h.0.attn.masked_bias",
        "transformer.h.0.attn.bias",
    ],
)
def test_what_stands_beside_the_model_or_is_computed_does_not(name: str) -> None:
    assert not changes_a_part(name, MODULES)
