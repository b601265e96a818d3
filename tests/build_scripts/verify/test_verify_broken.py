"""Whatever is wrong in a shard shows in the logits, and is named: layer, tensor, rank."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from build_scripts.verify.compare import verify_shards
from build_scripts.verify.result import Fault, Verification
from build_scripts.weights.huggingface import open_huggingface
from tests.build_scripts.checkpoints import LLAMA3_SCALING, make_checkpoint
from tests.build_scripts.tensorrt_llm.sharding.test_sharding import shard
from triton_repo.contract.errors import BuildError

Tensors = dict[str, torch.Tensor]
TP = 4  # × pp 2: layers 0-2 on ranks 0-3, layers 3-4 on ranks 4-7
Q, KV = 12, 6  # rows of q and of k on one rank: 2 of 8 heads, 1 of 2, of 6 values each


def change(shards: Path, rank: int, edit: Callable[[Tensors], object]) -> None:
    path = shards / f"rank{rank}.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def swap_rows(name: str, first: int, second: int) -> Callable[[Tensors], None]:
    def edit(tensors: Tensors) -> None:
        tensors[name][[first, second]] = tensors[name][[second, first]]

    return edit


def swap_columns(name: str, first: int, second: int) -> Callable[[Tensors], None]:
    def edit(tensors: Tensors) -> None:
        tensors[name][:, [first, second]] = tensors[name][:, [second, first]]

    return edit


def exchange(first: str, second: str) -> Callable[[Tensors], None]:
    """Tensors whose names begin so."""

    def edit(tensors: Tensors) -> None:
        for name in [name for name in tensors if name.startswith(first)]:
            other = name.replace(first, second)
            tensors[name], tensors[other] = tensors[other], tensors[name]

    return edit


def fill(name: str, value: float) -> Callable[[Tensors], object]:
    return lambda tensors: tensors[name].fill_(value)


def put(name: str, place: tuple[int, ...], value: float) -> Callable[[Tensors], None]:
    def edit(tensors: Tensors) -> None:
        tensors[name][place] = value

    return edit


def one_down(name: str) -> Callable[[Tensors], None]:
    def edit(tensors: Tensors) -> None:
        tensors[name] = tensors[name].roll(1, 0)

    return edit


def shards_of(directory: Path, family: str = "llama", **config: Any) -> tuple[Path, Path]:
    checkpoint = make_checkpoint(directory / "checkpoint", family, **config)
    shard(checkpoint, directory / "shards", TP, 2)
    return checkpoint, directory / "shards"


@pytest.fixture(scope="module")
def proved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A Llama with every kind of bias, 2 kv heads and 101 tokens, on 4 × 2 ranks. Not to be changed."""
    rope = {**LLAMA3_SCALING, "rope_theta": 10000.0}
    biases: dict[str, Any] = {"attention_bias": True, "mlp_bias": True}
    return shards_of(tmp_path_factory.mktemp("whole"), rope_parameters=rope, **biases)


@pytest.fixture
def whole(proved: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """To be broken."""
    checkpoint, shards = proved
    return checkpoint, Path(shutil.copytree(shards, tmp_path / "shards"))


def verify(checkpoint: Path, shards: Path) -> Verification:
    return verify_shards(shards, open_huggingface(checkpoint, "tiny"))


def fault_of(checkpoint: Path, shards: Path) -> Fault:
    found = verify(checkpoint, shards)
    assert not found.passed
    assert found.fault is not None
    return found.fault


LAYER = "transformer.layers"
# What is broken -> rank, how; layer, tensor and rows that must be named.
BROKEN: dict[str, tuple[int, Callable[[Tensors], object], int | None, str, tuple[int, ...]]] = {
    "two rows of q": (1, swap_rows(f"{LAYER}.2.attention.qkv.weight", 3, 5), 2, "attention.qkv (q)", (3, 5)),
    "two rows of k": (3, swap_rows(f"{LAYER}.0.attention.qkv.weight", Q, Q + 1), 0, "attention.qkv (k)", (Q, Q + 1)),
    "v of the last layer": (
        6,
        swap_rows(f"{LAYER}.1.attention.qkv.weight", Q + KV, Q + KV + 2),
        4,
        "attention.qkv (v)",
        (Q + KV, Q + KV + 2),
    ),
    "q where k should be": (
        0,
        swap_rows(f"{LAYER}.1.attention.qkv.weight", 0, Q),
        1,
        "attention.qkv (q)",
        (0,),
    ),
    "a bias of qkv": (2, put(f"{LAYER}.1.attention.qkv.bias", (4,), 0.0), 1, "attention.qkv (q)", (4,)),
    "columns of dense": (3, swap_columns(f"{LAYER}.1.attention.dense.weight", 0, 7), 1, "attention.dense", ()),
    "the bias of dense": (0, fill(f"{LAYER}.0.attention.dense.bias", 0.0), 0, "attention.dense.bias", ()),
    "fc and gate exchanged": (5, exchange(f"{LAYER}.0.mlp.fc", f"{LAYER}.0.mlp.gate"), 3, "mlp.fc", ()),
    "a row of gate": (4, put(f"{LAYER}.1.mlp.gate.weight", (9,), 0.0), 4, "mlp.gate", (9,)),
    "columns of proj": (2, swap_columns(f"{LAYER}.2.mlp.proj.weight", 1, 2), 2, "mlp.proj", ()),
    "the bias of proj": (7, fill(f"{LAYER}.1.mlp.proj.bias", 1.0), 4, "mlp.proj.bias", ()),
    "a norm": (1, put(f"{LAYER}.1.post_layernorm.weight", (11,), 3.0), 1, "post_layernorm", (11,)),
    "layers exchanged": (0, exchange(f"{LAYER}.0.", f"{LAYER}.1."), 0, "input_layernorm", ()),
    "not a number": (6, put(f"{LAYER}.0.mlp.fc.weight", (2, 2), float("nan")), 3, "mlp.fc", (2,)),
    "the final norm": (5, put("transformer.ln_f.weight", (0,), 0.0), None, "transformer.ln_f.weight", ()),
    "a vocabulary shard off by one": (6, one_down("lm_head.weight"), None, "lm_head.weight", (0, 1, 2, 3)),
    "a row of the head": (4, put("lm_head.weight", (25,), 0.0), None, "lm_head.weight", (25,)),
    "the padding of the head": (7, put("lm_head.weight", (24, 3), 1.0), None, "lm_head.weight", (24,)),
    "an embedding that no prompt has": (
        2,
        put("transformer.vocab_embedding.weight", (58, 9), 0.5),
        None,
        "transformer.vocab_embedding.weight",
        (58,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_shard_fails_and_is_named(whole: tuple[Path, Path], broken: str) -> None:
    rank, edit, layer, tensor, rows = BROKEN[broken]
    checkpoint, shards = whole
    change(shards, rank, edit)
    fault = fault_of(checkpoint, shards)
    assert (fault.layer, fault.tp_ranks, fault.stage) == (layer, (rank % TP,), rank // TP)
    assert fault.files == (f"rank{rank}.safetensors",)
    assert fault.tensor.endswith(tensor)
    if rows:
        assert fault.rows == rows


@pytest.mark.parametrize("broken", ["the padding of the head", "an embedding that no prompt has"])
def test_what_the_prompts_do_not_reach_is_found_all_the_same(whole: tuple[Path, Path], broken: str) -> None:
    rank, edit, *_ = BROKEN[broken]
    change(whole[1], rank, edit)
    found = verify(*whole)
    assert found.max_abs_diff <= found.tolerance
    assert not found.passed
    assert found.failure().endswith("the logits of these prompts do not show it")


def test_what_the_broken_shards_are_made_from_is_whole(proved: tuple[Path, Path]) -> None:
    assert verify(*proved).passed


def test_kv_heads_that_are_copied_in_the_wrong_order_name_both_ranks(whole: tuple[Path, Path]) -> None:
    checkpoint, shards = whole
    name = f"{LAYER}.1.attention.qkv"
    first, second = (load_file(shards / f"rank{rank}.safetensors") for rank in (1, 2))  # of h0,h0,h1,h1

    def from_other(other: Tensors) -> Callable[[Tensors], None]:
        def edit(tensors: Tensors) -> None:
            for kind in ("weight", "bias"):
                tensors[f"{name}.{kind}"][Q:] = other[f"{name}.{kind}"][Q:]

        return edit

    change(shards, 1, from_other(second))
    change(shards, 2, from_other(first))
    fault = fault_of(checkpoint, shards)
    assert (fault.layer, fault.tp_ranks, fault.files) == (1, (1, 2), ("rank1.safetensors", "rank2.safetensors"))
    assert fault.tensor == f"{name} (k)"


def test_files_of_two_ranks_exchanged_are_named(whole: tuple[Path, Path]) -> None:
    checkpoint, shards = whole
    first, second = shards / "rank5.safetensors", shards / "rank7.safetensors"
    first.rename(shards / "aside")
    second.rename(first)
    (shards / "aside").rename(second)
    fault = fault_of(checkpoint, shards)
    assert (fault.layer, fault.tp_ranks) == (3, (1, 3))


@pytest.mark.parametrize("which", ["q", "k"])
def test_a_wrong_norm_of_heads_is_named(tmp_path: Path, which: str) -> None:
    checkpoint, shards = shards_of(tmp_path, "qwen3")
    change(shards, 6, put(f"{LAYER}.0.attention.{which}_layernorm.weight", (5,), 2.5))
    fault = fault_of(checkpoint, shards)
    assert (fault.layer, fault.tp_ranks, fault.rows) == (3, (2,), (5,))
    assert fault.tensor == f"{LAYER}.0.attention.{which}_layernorm"


def configure(shards: Path, **values: object) -> None:
    path = shards / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("values", "tensor", "file"),
    [
        ({"rotary_base": 20000.0}, "rotary_base or rotary_scaling of config.json", "config.json"),
        ({"rotary_scaling": None}, "rotary_base or rotary_scaling of config.json", "config.json"),
        ({"norm_epsilon": 0.1}, f"{LAYER}.0.input_layernorm", "rank0.safetensors"),
    ],
)
def test_a_wrong_configuration_shows_in_the_first_layer_on_every_rank(
    whole: tuple[Path, Path], values: dict[str, object], tensor: str, file: str
) -> None:
    checkpoint, shards = whole
    configure(shards, **values)
    fault = fault_of(checkpoint, shards)
    assert (fault.layer, fault.tp_ranks, fault.tensor, fault.files[0]) == (0, (0, 1, 2, 3), tensor, file)


def drop(name: str) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.pop(name)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (
            lambda shards: change(shards, 1, drop(f"{LAYER}.2.attention.qkv.bias")),
            r"rank1\.safetensors: transformer\.layers\.2\.attention\.qkv\.bias is missing",
        ),
        (
            lambda shards: change(shards, 2, lambda tensors: tensors.update(extra=torch.zeros(1))),
            r"rank2\.safetensors: extra is surplus",
        ),
        (
            lambda shards: change(shards, 4, lambda t: t.update({"lm_head.weight": t["lm_head.weight"][:-1]})),
            r"rank4\.safetensors: lm_head\.weight: F32 \[25, 48\]; must be F32 \[26, 48\]",
        ),
        (
            lambda shards: change(shards, 4, lambda t: t.update({"lm_head.weight": t["lm_head.weight"].half()})),
            r"rank4\.safetensors: lm_head\.weight: F16 \[26, 48\]; must be F32",
        ),
        (lambda shards: (shards / "rank3.safetensors").unlink(), r"rank3\.safetensors: missing"),
        (lambda shards: (shards / "rank3.safetensors").write_bytes(b"no"), r"rank3\.safetensors: "),
        (lambda shards: (shards / "config.json").unlink(), "no config.json: not a TensorRT-LLM checkpoint"),
        (lambda shards: configure(shards, num_hidden_layers=None), "num_hidden_layers"),
        (lambda shards: configure(shards, rotary_scaling={"rope_type": "yarn", "factor": 2.0}), "rope_type"),
        (lambda shards: configure(shards, quantization={"quant_algo": "FP8"}), "quant_algo"),
        (
            lambda shards: configure(shards, mapping={"world_size": 7, "tp_size": 4, "pp_size": 2}),
            "world_size = 7; must be tp_size × pp_size",
        ),
    ],
)
def test_shards_that_tensorrt_llm_would_not_load_are_refused_before_they_are_run(
    whole: tuple[Path, Path], spoil: Callable[[Path], object], complaint: str
) -> None:
    checkpoint, shards = whole
    spoil(shards)
    with pytest.raises(BuildError, match=complaint):
        verify(checkpoint, shards)


def test_shards_of_another_model_are_refused_with_what_tells_them_apart(
    whole: tuple[Path, Path], tmp_path: Path
) -> None:
    other = make_checkpoint(tmp_path / "other", num_hidden_layers=6)
    with pytest.raises(BuildError, match=r"config\.json: num_hidden_layers = 5; tiny has 6"):
        verify(other, whole[1])
