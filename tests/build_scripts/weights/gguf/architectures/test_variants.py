"""The same architecture in other files: older conversions, fused parts, further layers, quantized experts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from build_scripts.source.convert import convert
from build_scripts.weights.opening import open_checkpoint
from tests.build_scripts.weights.gguf.architectures.cases import CASES
from tests.build_scripts.weights.gguf.architectures.layout import Arrays
from tests.build_scripts.weights.gguf.architectures.models import difference, model_of
from tests.build_scripts.weights.gguf.architectures.values import LATENT
from tests.build_scripts.weights.gguf.architectures.writing import write
from triton_repo.contract.errors import BuildError


def made(directory: Path, case: str, change: Callable[[Arrays], Arrays] = dict, **keys: Any) -> tuple[Any, Path]:
    """The model of the case, and its file with other tensors and keys."""
    from dataclasses import replace

    model = model_of(case)
    model.save_pretrained(directory / "original")
    case_with_keys = replace(CASES[case], keys={**CASES[case].keys, **keys})
    write(directory / "x.gguf", directory / "original", case_with_keys, change)
    return model, directory / "x.gguf"


def whole_keys_and_values(arrays: Arrays) -> Arrays:
    found = dict(arrays)
    for name in [name for name in arrays if name.endswith("attn_k_b.weight")]:
        heads = np.concatenate([arrays[name].swapaxes(1, 2), arrays[name.replace("k_b", "v_b")]], axis=1)
        found[name.replace("k_b", "kv_b")] = np.ascontiguousarray(heads.reshape(-1, heads.shape[2]))
    return found


def without_halves(arrays: Arrays) -> Arrays:
    whole = whole_keys_and_values(arrays)
    return {name: array for name, array in whole.items() if "_k_b" not in name and "_v_b" not in name}


@pytest.mark.parametrize("change", [whole_keys_and_values, without_halves])
def test_latent_attention_is_read_whole_or_in_halves(tmp_path: Path, change: Callable[[Arrays], Arrays]) -> None:
    """llama.cpp first kept kv_b, for some months both, and since then k_b and v_b."""
    older = {
        "attention.head_count_kv": 8,
        "attention.key_length": LATENT["qk_nope_head_dim"] + LATENT["qk_rope_head_dim"],
        "attention.value_length": LATENT["v_head_dim"],
        "attention.key_length_mla": 0,
        "attention.value_length_mla": 0,
    }
    model, path = made(tmp_path, "deepseek v3", change, **older)
    assert difference(model, path) < 1e-4


def fused(arrays: Arrays) -> Arrays:
    found = {}
    for name, array in arrays.items():
        if ".attn_q." in name:
            parts = [arrays[name.replace("attn_q", part)] for part in ("attn_q", "attn_k", "attn_v")]
            found[name.replace("attn_q", "attn_qkv")] = np.concatenate(parts)
        elif ".attn_k." not in name and ".attn_v." not in name:
            found[name] = array
    return found


@pytest.mark.parametrize("case", ["chatglm", "phi2", "granite"])
def test_queries_keys_and_values_may_be_one_tensor(tmp_path: Path, case: str) -> None:
    model, path = made(tmp_path, case, fused)
    assert difference(model, path) < 1e-4


def with_a_further_layer(arrays: Arrays) -> Arrays:
    further = {name.replace("blk.5.", "blk.6."): array for name, array in arrays.items() if name.startswith("blk.5.")}
    return {**arrays, **further, "blk.6.nextn.eh_proj.weight": np.zeros((64, 128), np.float32)}


def test_layers_that_predict_further_tokens_are_left_out(tmp_path: Path) -> None:
    model, path = made(tmp_path, "glm4moe", with_a_further_layer, block_count=7, nextn_predict_layers=1)
    assert difference(model, path) < 1e-4


def test_experts_may_be_quantized(tmp_path: Path) -> None:
    """As gpt-oss is, whose values half precision holds exactly."""
    model = model_of("gpt-oss")
    model.save_pretrained(tmp_path / "original")
    kinds = {"ffn_up_exps.weight": "Q8_0", "ffn_gate_exps.weight": "F32", "ffn_down_exps.weight": "Q8_0"}
    write(tmp_path / "x.gguf", tmp_path / "original", CASES["gpt-oss"], quantized=kinds)
    with torch.no_grad():
        for layer in model.model.layers:
            experts = layer.mlp.experts
            experts.down_proj.copy_(rounded(experts.down_proj.transpose(1, 2)).transpose(1, 2))
            up = rounded(experts.gate_up_proj[..., 1::2].transpose(1, 2)).transpose(1, 2)
            experts.gate_up_proj[..., 1::2] = up
    assert difference(model, tmp_path / "x.gguf") < 1e-4


def rounded(weight: torch.Tensor) -> torch.Tensor:
    kind = gguf.GGMLQuantizationType.Q8_0
    return torch.from_numpy(gguf.dequantize(gguf.quantize(weight.contiguous().numpy(), kind), kind))


def scaled(arrays: Arrays) -> Arrays:
    """As NVFP4 is kept: what the values of a weight, or of each expert, are to be multiplied by."""
    scales = {
        "blk.1.ffn_down.scale": ("blk.1.ffn_down.weight", np.array([4.0], np.float32)),
        "blk.2.attn_q.weight.scale": ("blk.2.attn_q.weight", np.array([0.5], np.float32)),
    }
    if "blk.3.ffn_up_exps.weight" in arrays:
        experts = np.array([2.0, 4.0, 0.5, 8.0], np.float32)
        scales = {"blk.3.ffn_up_exps.scale": ("blk.3.ffn_up_exps.weight", experts)}
    found = dict(arrays)
    for name, (weight, factors) in scales.items():
        found[weight] = arrays[weight] / factors.reshape(-1, *[1] * (arrays[weight].ndim - 1))
        found |= {name: factors, name.replace(".scale", ".input_scale"): factors}
    return found


@pytest.mark.parametrize("case", ["qwen2vl", "qwen3moe"])
def test_scales_beside_the_weights_are_applied(tmp_path: Path, case: str) -> None:
    model, path = made(tmp_path, case, scaled)
    assert difference(model, path) < 1e-4


def test_a_scale_of_nothing_is_rejected(tmp_path: Path) -> None:
    _, path = made(tmp_path, "qwen2vl", lambda arrays: {**arrays, "blk.1.gate.scale": np.ones(1, np.float32)})
    with pytest.raises(BuildError, match=r"blk.1.gate.scale: there is no blk.1.gate.weight"):
        open_checkpoint(path, "x")


@pytest.mark.parametrize(
    ("scales", "complaint"),
    [
        ({"blk.1.ffn_down.scale": 64}, r"blk.1.ffn_down.weight: 64 scales; must be 1, as it has no experts"),
        ({"blk.1.ffn_down.scale": 1, "blk.1.ffn_down.weight.scale": 1}, r"blk.1.ffn_down.weight has another scale"),
    ],
)
def test_scales_that_a_matrix_cannot_have_are_rejected(tmp_path: Path, scales: dict[str, int], complaint: str) -> None:
    more = {name: np.full(count, 2, np.float32) for name, count in scales.items()}
    _, path = made(tmp_path, "qwen2vl", lambda arrays: {**arrays, **more})
    with pytest.raises(BuildError, match=complaint):
        open_checkpoint(path, "x")


def with_encoders(arrays: Arrays) -> Arrays:
    """As Ollama keeps a model that sees, in one file."""
    names = ("v.blk.0.attn_q.weight", "mm.mm_input_projection.weight", "a.position_embd.weight", "mtp.fc.weight")
    return {**arrays, **{name: np.zeros((8, 8), np.float32) for name in names}}


def test_encoders_in_the_same_file_are_left_out(tmp_path: Path) -> None:
    model, path = made(tmp_path, "gemma3", with_encoders)
    assert difference(model, path) < 1e-4


def without(part: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {name: array for name, array in arrays.items() if name != part}


@pytest.mark.parametrize(
    ("case", "part"),
    [
        ("deepseek v3", "blk.3.attn_v_b.weight"),
        ("deepseek v3", "blk.4.ffn_up_exps.weight"),
        ("gpt-oss", "blk.2.ffn_up_exps.weight"),
        ("glm4moe", "blk.2.ffn_gate_inp.weight"),
    ],
)
def test_a_missing_part_is_named(tmp_path: Path, case: str, part: str) -> None:
    _, path = made(tmp_path, case, without(part))
    with pytest.raises(BuildError, match=f"{part} is missing; every layer of its kind has it"):
        open_checkpoint(path, "x")


@pytest.mark.parametrize(
    ("architecture", "reason"),
    [
        ("klingon", "= 'klingon'; known: afmoe, apertus, arcee,"),
        ("mamba2", "= 'mamba2'; it keeps a state that is not the keys and values of attention"),
        ("lfm2", "= 'lfm2'; it keeps a state"),
        ("clip", "= 'clip'; it is the encoder of images of another model"),
        ("bert", "= 'bert'; it writes no text"),
    ],
)
def test_an_architecture_that_is_not_read_is_rejected_by_its_name(
    tmp_path: Path, architecture: str, reason: str
) -> None:
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", architecture)
    writer.add_tensor("token_embd.weight", np.zeros((8, 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(BuildError) as rejected:
        convert("hf", str(tmp_path / "x.gguf"), tmp_path / "hf")
    assert reason in str(rejected.value)
