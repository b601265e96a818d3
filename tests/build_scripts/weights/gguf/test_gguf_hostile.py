"""GGUF files that say what cannot be: one sentence with file and key, soon; nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf.gguf_writer import GGUFValue

from tests.build_scripts.checkpoints import make_checkpoint
from tests.build_scripts.weights.gguf.gguf_checkpoints import add_byte_level, make_gguf
from tests.build_scripts.weights.gguf.test_gguf import SMALL
from tests.build_scripts.weights.nemo.test_nemo_hostile import refusal

Change = Callable[[gguf.GGUFWriter], None]
UINT32, STRING = gguf.GGUFValueType.UINT32, gguf.GGUFValueType.STRING
FLOAT32, FLOAT64 = gguf.GGUFValueType.FLOAT32, gguf.GGUFValueType.FLOAT64


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("llama") / "checkpoint", **SMALL)


def value(key: str, new: Any, kind: gguf.GGUFValueType = UINT32) -> Change:
    """Another value; None removes it."""

    def change(writer: gguf.GGUFWriter) -> None:
        writer.kv_data[0].pop(key, None)
        if new is not None:
            writer.kv_data[0][key] = GGUFValue(new, kind)

    return change


def tensor(name: str, *shape: int) -> Change:
    """One more."""
    return lambda writer: writer.add_tensor(name, np.ones(shape, np.float32))


def both(first: Change, second: Change) -> Change:
    def change(writer: gguf.GGUFWriter) -> None:
        first(writer)
        second(writer)

    return change


def table(*factors: float) -> Change:
    """Of rope scaling."""
    return lambda writer: writer.add_tensor("rope_freqs.weight", np.array(factors, np.float32))


HOSTILE: dict[str, tuple[Change, str]] = {
    "no architecture": (value("general.architecture", None), "general.architecture = missing; must be text"),
    "another architecture": (
        value("general.architecture", "clip", STRING),
        "general.architecture = 'clip'; it is the encoder of images of another model",
    ),
    "an adapter": (value("general.type", "adapter", STRING), "general.type = 'adapter'; it is an adapter (LoRA)"),
    "no model": (value("general.type", "imatrix", STRING), "it is what a model was quantized by, and no model"),
    "an architecture of a number": (value("general.architecture", 1), "general.architecture = 1; must be text"),
    "no layers": (value("llama.block_count", 0), "llama.block_count = 0; must be a whole number ≥ 1"),
    "fewer layers than there are": (value("llama.block_count", 2), "no place in LlamaForCausalLM for blk.2."),
    "more layers than there are": (value("llama.block_count", 4096), "blk.3.attn_norm.weight is missing"),
    "more layers than any model": (value("llama.block_count", (1 << 31) - 1), "must be ≤ 4096"),
    "a number for each of too many layers": (
        both(value("llama.block_count", None), lambda writer: writer.add_array("llama.block_count", [3] * 5000)),
        "llama.block_count = [3, 3,",
    ),
    "parts that are no number": (
        lambda writer: writer.add_array("split.count", [1]),
        "split.count = [1]; its name must end in",
    ),
    "a layer with a digit that is none of ASCII": (
        both(value("llama.block_count", 4096), tensor("blk.1\u0660.attn_q.bias", 64)),
        "no place in LlamaForCausalLM for blk.1",
    ),
    "a rope of one frequency": (
        both(value("llama.rope.freq_base", 1.0, FLOAT32), table(2, 3, 4, 8)),
        "no rope scaling of Llama 3's kind gives these 4 factors",
    ),
    "a rope of the smallest base": (value("llama.rope.freq_base", 5e-324, FLOAT64), "freq_base = 5e-324; must be"),
    "no heads": (value("llama.attention.head_count", None), "llama.attention.head_count = missing"),
    "heads that do not divide": (value("llama.attention.head_count", 7), "must be 7 heads of an even size"),
    "a huge head": (value("llama.attention.key_length", 1 << 30), "llama.attention.value_length"),
    "half a head rotated": (value("llama.rope.dimension_count", 2), "llama.rope.dimension_count = 2; must be 8"),
    "no epsilon": (value("llama.attention.layer_norm_rms_epsilon", None), "layer_norm_rms_epsilon = missing"),
    "an epsilon that is no number": (
        value("llama.attention.layer_norm_rms_epsilon", float("nan"), FLOAT32),
        "layer_norm_rms_epsilon = nan; must be a number > 0",
    ),
    "no context length": (value("llama.context_length", "many", STRING), "llama.context_length = 'many'; must be a"),
    "another width": (value("llama.embedding_length", 32), "config.json asks"),
    "more experts than tensors": (
        value("llama.expert_count", 1 << 10),
        "no place in MixtralForCausalLM for blk.0.ffn_",
    ),
    "more experts than any model": (value("llama.expert_count", 4097), "llama.expert_count = 4097; must be ≤ 4096"),
    "a rope of a kind unknown": (value("llama.rope.scaling.type", "spiral", STRING), "allowed: none, linear, yarn"),
    "a rope without its factor": (value("llama.rope.scaling.type", "linear", STRING), "scale_linear = missing"),
    "a table of the wrong size": (table(1, 2, 8), "rope_freqs.weight: 3 factors; must be 4"),
    "a table that is no table": (tensor("rope_freqs.weight", 2, 2), "rope_freqs.weight: shape [2, 2]"),
    "a table of zeros": (table(0, 0, 0, 0), "no rope scaling of Llama 3's kind gives these 4 factors"),
    "a table of nothing known": (table(1, 9, 2, 7), "no rope scaling of Llama 3's kind gives these 4 factors"),
    "a tensor too many": (tensor("blk.0.spare.weight", 2, 2), "no place in LlamaForCausalLM for blk.0.spare.weight"),
    "a layer with another number": (tensor("blk.03.ffn_up.weight", 2, 2), "no place in LlamaForCausalLM for blk.03"),
    "a bias of one layer": (tensor("blk.0.attn_q.bias", 64), "blk.1.attn_q.bias is missing"),
    "a sampling of text": (value("general.sampling.temp", "hot", STRING), "general.sampling.temp = 'hot'; must be"),
    "no tokens": (value("tokenizer.ggml.tokens", None), "tokenizer.ggml.tokens = missing"),
    "a template that is no text": (value("tokenizer.chat_template", 1), "tokenizer.chat_template = 1; must be text"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_file_that_contradicts_itself_is_rejected_by_its_key(
    tmp_path: Path, llama: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    change, complaint = HOSTILE[case]
    path = make_gguf(tmp_path / "x.gguf", llama, changes=change)
    said = refusal(path, monkeypatch)
    assert complaint in said
    assert "x.gguf" in said
    assert len(said) < 500


def test_an_embedding_that_is_none_is_rejected(tmp_path: Path, llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(writer: gguf.GGUFWriter) -> None:
        add = writer.add_tensor
        monkeypatch.setattr(
            writer, "add_tensor", lambda name, *args, **named: add(name.replace("token_embd", "embd"), *args, **named)
        )

    assert "no token_embd.weight of two dimensions" in refusal(
        make_gguf(tmp_path / "x.gguf", llama, changes=rename), monkeypatch
    )


def test_more_tokens_than_rows_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = make_checkpoint(tmp_path / "original", **{**SMALL, "vocab_size": 100})
    said = refusal(make_gguf(tmp_path / "x.gguf", small), monkeypatch)
    assert "266 tokens; the embedding has 100 rows" in said


def test_values_that_are_not_finite_reach_the_export_which_names_them(tmp_path: Path, llama: Path) -> None:
    """A scale of infinity: no warning and no crash on the way."""
    from build_scripts.weights.opening import open_checkpoint

    path = make_gguf(tmp_path / "x.gguf", llama, "Q8_0")
    view = open_checkpoint(path, "x")
    weight = view.weights["model.layers.0.self_attn.v_proj.weight"]
    content = bytearray(path.read_bytes())
    at = content.index(gguf.quantize(weight.read().numpy(), gguf.GGMLQuantizationType.Q8_0).tobytes()[:34])
    content[at : at + 2] = np.array([np.inf], np.float16).tobytes()
    path.write_bytes(content)
    assert not torch.isfinite(view.weights["model.layers.0.self_attn.v_proj.weight"].read()).all()


def test_a_file_that_shrinks_while_it_is_read_is_rejected(tmp_path: Path, llama: Path) -> None:
    from build_scripts.weights.opening import open_checkpoint
    from triton_repo.contract.errors import BuildError

    path = make_gguf(tmp_path / "x.gguf", llama, "Q4_0")
    view = open_checkpoint(path, "x")
    last = list(view.weights.values())[-1]
    path.write_bytes(path.read_bytes()[:-100_000])
    with pytest.raises(BuildError, match=r"x\.gguf \(.*truncated"):
        last.read()


def test_a_tokenizer_of_another_kind_is_rejected_by_name(
    tmp_path: Path, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def klingon(writer: gguf.GGUFWriter) -> None:
        add_byte_level(writer, pre="klingon")

    path = make_gguf(tmp_path / "x.gguf", llama, tokenizer=klingon)
    assert "tokenizer.ggml.pre = 'klingon'; known: a.x-4.0" in refusal(path, monkeypatch)
