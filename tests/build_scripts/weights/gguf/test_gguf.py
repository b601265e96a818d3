"""GGUF files that the `gguf` package writes come back as the HuggingFace checkpoints that they were made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from build_scripts.architectures import check_weights, decoder_of
from build_scripts.source.convert import convert
from build_scripts.weights.gguf.families.layouts import half_split, transposed
from build_scripts.weights.gguf.header import read_header
from build_scripts.weights.gguf.quantized import known_types
from build_scripts.weights.gguf.reading import lazy
from build_scripts.weights.opening import open_checkpoint
from build_scripts.weights.view import LazyTensor
from tests.build_scripts.checkpoints import make_checkpoint
from tests.build_scripts.weights.gguf.gguf_checkpoints import arrays_of, byte_level_tokens, make_gguf, permute
from tests.build_scripts.weights.gguf.raw_gguf import Raw, Tensor

SMALL: dict[str, Any] = {
    "num_hidden_layers": 3,
    "hidden_size": 64,
    "intermediate_size": 96,
    "vocab_size": len(byte_level_tokens()),
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, tied": ("llama", {"tie_word_embeddings": True, "num_key_value_heads": 8}),
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "qwen2": ("qwen2", {}),
    "qwen2, tied": ("qwen2", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "qwen3, wide heads": ("qwen3", {"head_dim": 12}),
}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("llama") / "checkpoint", **SMALL)


def written(path: Path) -> dict[str, torch.Tensor]:
    """The weights of the checkpoint, written out as HuggingFace has it, beside it."""
    convert("hf", str(path), path.parent / "hf")
    return load_file(path.parent / "hf" / "model.safetensors")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_comes_back_bit_by_bit(tmp_path: Path, family: str) -> None:
    name, config = FAMILIES[family]
    original = make_checkpoint(tmp_path / "original", name, **SMALL, **config)
    path = make_gguf(tmp_path / "model.gguf", original)
    found, expected = written(path), load_file(original / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    view = open_checkpoint(path, "x")
    decoder = decoder_of(view.config, "x")
    check_weights(decoder, view.weights, "x")
    assert decoder == decoder_of(json.loads((original / "config.json").read_text(encoding="utf-8")), "x")


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"])
def test_weights_are_what_the_gguf_package_makes_of_them(tmp_path: Path, llama: Path, kind: str) -> None:
    found = written(make_gguf(tmp_path / "model.gguf", llama, kind))
    _, arrays = arrays_of(llama)
    quantization = gguf.GGMLQuantizationType[kind]
    for ours, theirs in (("down_proj", "ffn_down"), ("v_proj", "attn_v"), ("o_proj", "attn_output")):
        name = next(name for name in found if f"layers.1.{'mlp' if 'down' in ours else 'self_attn'}.{ours}" in name)
        values = gguf.dequantize(gguf.quantize(arrays[f"blk.1.{theirs}.weight"], quantization), quantization)
        assert torch.equal(found[name].float(), torch.from_numpy(values))


@pytest.mark.parametrize("kind", [each.name for each in known_types().values()])
def test_any_rows_of_any_type_are_those_that_the_package_dequantizes(tmp_path: Path, kind: str) -> None:
    """Of random bytes: every pattern of bits is a value, if a strange one."""
    rows, columns = 7, 512
    quantization = gguf.GGMLQuantizationType[kind]
    width = columns // gguf.GGML_QUANT_SIZES[quantization][0] * gguf.GGML_QUANT_SIZES[quantization][1]
    stored = np.random.default_rng(7).integers(0, 256, (rows, width), np.uint8)
    raw = Raw(tensors=[Tensor(dims=(columns, rows), type=int(quantization))], data=stored.tobytes())
    (tmp_path / "x.gguf").write_bytes(raw.to_bytes())
    tensor = lazy(read_header(tmp_path / "x.gguf").tensors["a.weight"], "weight")
    with np.errstate(all="ignore"):
        expected = torch.from_numpy(gguf.dequantize(stored, quantization).astype(np.float32)).reshape(rows, columns)
    for start, stop in ((0, rows), (2, 5), (6, 7), (3, 3)):
        found = tensor.read_rows(start, stop).float()
        assert torch.equal(found.nan_to_num(), expected[start:stop].nan_to_num())


@pytest.mark.parametrize(("start", "stop"), [(0, 48), (5, 6), (7, 31), (40, 48), (12, 12)])
def test_any_rows_of_a_permuted_or_transposed_matrix_are_those_of_the_whole(start: int, stop: int) -> None:
    whole = torch.arange(48 * 6, dtype=torch.float32).reshape(48, 6)

    def stored(values: torch.Tensor) -> LazyTensor:
        return LazyTensor("a", "float32", tuple(values.shape), "x", lambda first, last: values[first:last].clone())

    assert torch.equal(half_split(stored(permute(whole, 4)), 4).read_rows(start, stop), whole[start:stop])
    assert torch.equal(transposed(stored(whole.T)).read_rows(start, stop), whole[start:stop])
