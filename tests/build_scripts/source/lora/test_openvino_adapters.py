"""Adapters on the CPU engine: each answers as the model with its weights merged in, beside all others."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from build_scripts.openvino.adapters import write_fitted
from build_scripts.sizing.matrix_products import matrix_products
from build_scripts.source.lora.peft import read_peft
from tests.build_scripts.conftest import Workshop
from tests.triton_repo.engine.runtimes.deltas import drain, ids_of
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import BuildError, EngineFailed, EngineUnavailable, SpecError
from triton_repo.contract.sampling import Guide, Sampling
from triton_repo.engine.runtimes.openvino.pipeline import with_own_cache
from triton_repo.engine.runtimes.openvino.runtime import OpenVinoRuntime
from triton_repo.engine.runtimes.runtime import Generation, TokenDelta

Weights = dict[str, NDArray[np.float32]]

PROMPT = [40 + 7 * number % 200 for number in range(50)]
LENGTH = 24
END, AB = 1, [66, 67]  # the ids of </s>, and of "ab"
SHAPES = {
    "self_attn.q_proj": (128, 128),
    "self_attn.v_proj": (64, 128),
    "mlp.gate_proj": (256, 128),
    "mlp.down_proj": (128, 256),
}


def write_peft(directory: Path, seed: int, layers: Sequence[str], ranks: Mapping[str, int], **config: Any) -> Weights:
    """An adapter with random matrices of these ranks (others have rank 4). Returns its tensors by name."""
    random = np.random.default_rng(seed)
    tensors: Weights = {}
    for layer in layers:
        rank = next((rank for end, rank in ranks.items() if layer.endswith(end)), 4)
        out, inner = SHAPES[layer.split(".", 3)[3]]
        name = f"base_model.model.{layer}"
        tensors[f"{name}.lora_A.weight"] = random.normal(0, 0.3, (rank, inner)).astype(np.float32)
        tensors[f"{name}.lora_B.weight"] = random.normal(0, 0.3, (out, rank)).astype(np.float32)
    directory.mkdir(parents=True)
    save_file(tensors, directory / "adapter_model.safetensors")
    values = {
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": sorted({n.split(".")[-1] for n in layers}),
    }
    (directory / "adapter_config.json").write_text(json.dumps({**values, **config}), encoding="utf-8")
    return tensors


def all_layers(*ends: str) -> list[str]:
    return [f"model.layers.{number}.{end}" for number in range(2) for end in ends]


def merged_answer(checkpoint: Path, tensors: Weights, scales: Mapping[str, float], prompt: Sequence[int]) -> list[int]:
    """What transformers answers once `scale · B A` is added to each weight; `scales` by the end of a layer's name."""
    import torch
    import transformers

    model: Any = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    weights = dict(model.named_parameters())
    for name in [name for name in tensors if ".lora_A." in name]:
        layer = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        scale = next(scale for end, scale in scales.items() if layer.endswith(end))
        change = scale * tensors[name.replace("lora_A", "lora_B")] @ tensors[name]
        weights[f"{layer}.weight"].data += torch.from_numpy(change)
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(LENGTH):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def open_runtime(directory: Path, **settings: Any) -> OpenVinoRuntime:
    return OpenVinoRuntime(directory / "model", EngineConfig.load(directory).model_copy(update=settings))


def generation(key: int, adapter: str | None, prompt: Sequence[int] = PROMPT, **sampling: Any) -> Generation:
    given = Sampling.model_validate({"temperature": 0.0, "lora_name": adapter, **sampling})
    return Generation(key, prompt, LENGTH, (), given)


SPEC = """[build.lora.adapters]
plain = "tiny/plain"
odd = "tiny/odd"
"""
ODD = {"use_rslora": True, "rank_pattern": {"down_proj": 6}, "alpha_pattern": {r"^model.layers.0.mlp.gate_proj": 3}}


@pytest.fixture
def answers(built_workshop: Workshop) -> dict[str | None, list[int]]:
    """Writes two adapters. Returns the answer with each, and without one."""
    workshop = built_workshop
    plain = write_peft(workshop.root / "tiny/plain", 1, all_layers("self_attn.q_proj", "self_attn.v_proj"), {})
    odd = write_peft(
        workshop.root / "tiny/odd", 2, all_layers("mlp.gate_proj", "mlp.down_proj"), {"down_proj": 6}, **ODD
    )
    scales = {"layers.0.mlp.gate_proj": 3 / 2, "gate_proj": 8 / 2, "down_proj": 8 / math.sqrt(6)}
    return {
        None: merged_answer(workshop.checkpoint, {}, {}, PROMPT),
        "plain": merged_answer(workshop.checkpoint, plain, {"proj": 2.0}, PROMPT),
        "odd": merged_answer(workshop.checkpoint, odd, scales, PROMPT),
    }


def test_requests_of_all_adapters_at_once_get_the_answers_of_merged_weights(
    built_workshop: Workshop, answers: dict[str | None, list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert len({tuple(answer) for answer in answers.values()}) == 3
    engine = built_workshop.build(SPEC + "[serve]\nmax_tokens_in_paged_kv_cache = 800\n")
    assert "model: reused, and not exported again" in capsys.readouterr().err
    runtime = open_runtime(engine.directory)
    adapters = [None, "plain", "odd"] * 3
    deltas: list[TokenDelta] = []
    for key, adapter in enumerate(adapters):
        runtime.submit(generation(key, adapter, logprobs=0))
        deltas += runtime.step()
    runtime.submit(generation(100, "plain"))
    deltas += runtime.step()
    runtime.cancel(100)
    deltas += drain(runtime)
    assert [ids_of(deltas, key) for key in range(len(adapters))] == [answers[adapter] for adapter in adapters]
    assert all(len(delta.logprobs) == len(delta.token_ids) for delta in deltas if delta.key < 100)
    assert (runtime.load().kv_cache_utilization, runtime.load().kv_cache_blocks) == (0, 3 * (800 // 3 // 32))
    check_guides(runtime, answers)
    check_faults(runtime, answers)
    check_another(runtime, engine.directory, answers)
    config = EngineConfig.load(engine.directory)
    assert config.card.adapters == ("odd", "plain")
    assert config.memory is not None
    assert config.memory.weight_bytes > 3 * (engine.directory / "model" / "openvino_model.bin").stat().st_size


def check_guides(runtime: OpenVinoRuntime, answers: Mapping[str | None, Sequence[int]]) -> None:
    """A guide is followed with each adapter, and those beside it are answered as without it."""
    runtime.prepare(Guide("regex", "(ab)+"))
    guided: dict[str, Any] = {"guided_decoding_guide_type": "regex", "guided_decoding_guide": "(ab)+"}
    for key, adapter in enumerate(answers):
        runtime.submit(replace(generation(key, adapter, **guided), end_ids=(END,)))
        runtime.submit(generation(10 + key, adapter))
    deltas = drain(runtime)
    for key in range(3):
        ids = [id for id in ids_of(deltas, key) if id != END]
        assert ids == ids_of(deltas, key)[: len(ids)] == AB * (len(ids) // 2)
    assert [ids_of(deltas, 10 + key) for key in range(3)] == list(answers.values())


def check_faults(runtime: OpenVinoRuntime, answers: Mapping[str | None, Sequence[int]]) -> None:
    """A request that makes a step of its pipeline fail is the only one that fails, whatever adapters others have."""
    for key, adapter in enumerate(answers):
        runtime.submit(generation(key, adapter))
    deltas = [delta for _ in range(4) for delta in runtime.step()]
    broken: dict[str, Any] = {"guided_decoding_guide_type": "regex", "guided_decoding_guide": "("}
    runtime.submit(generation(10, "plain", **broken))
    deltas += drain(runtime)
    assert [delta.key for delta in deltas if delta.error] == [10]
    assert [ids_of(deltas, key) for key in range(3)] == list(answers.values())


def check_another(runtime: OpenVinoRuntime, engine: Path, answers: Mapping[str | None, Sequence[int]]) -> None:
    """One that comes while others are answered is as one that was there from the start, until it goes."""
    for key, adapter in enumerate(answers):
        runtime.submit(generation(key, adapter))
    deltas = [delta for _ in range(4) for delta in runtime.step()]
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(runtime.open_adapter, "late", engine / "adapters/plain")
        while not opening.done():
            deltas += runtime.step()
    with pytest.raises(EngineUnavailable, match="the adapter late was unloaded"):
        runtime.submit(generation(10, "late"))
    opening.result()()
    runtime.submit(generation(10, "late"))
    deltas += drain(runtime)
    assert [ids_of(deltas, key) for key in (*range(3), 10)] == [*answers.values(), answers["plain"]]
    runtime.close_adapter("late")
    with pytest.raises(EngineUnavailable, match="the adapter late was unloaded"):
        runtime.submit(generation(10, "late"))
    with pytest.raises(EngineFailed, match="the engine cannot open the adapter none"):
        runtime.open_adapter("none", engine / "none")


def test_memory_is_reserved_for_adapters_that_come_later(
    built_workshop: Workshop, answers: dict[str | None, list[int]]
) -> None:
    few = EngineConfig.load(built_workshop.build(SPEC).directory)
    room = "[build.lora]\nmax_loras = 4\nmax_rank = 8\n"
    many = EngineConfig.load(built_workshop.build(room + SPEC).directory)
    assert (few.card.max_adapters, many.card.max_adapters, many.card.adapters) == (2, 4, ("odd", "plain"))
    assert few.memory is not None
    assert many.memory is not None
    of_model = (built_workshop.engine / "model" / "openvino_model.bin").stat().st_size
    layers = matrix_products(built_workshop.engine / "model/openvino_model.xml")
    largest = 4 * 8 * sum(out + inner for out, inner in layers.values())
    assert many.memory.weight_bytes - few.memory.weight_bytes == 2 * (of_model + largest)
    assert with_own_cache(many).max_tokens_in_paged_kv_cache <= many.max_tokens_in_paged_kv_cache // 5


@pytest.mark.parametrize(
    ("lora", "complaint"),
    [
        ("[build.lora]\nmax_rank = 8\n", "must name adapters, or have max_loras"),
        ('[build.lora]\nmax_loras = 1\n[build.lora.adapters]\na = "a"\nb = "b"\n', "max_loras = 1: must be ≥ 2"),
        ("[build.lora]\nmax_loras = 0\n", r"build\.lora\.max_loras = 0; must be ≥ 1"),
    ],
)
def test_room_that_there_cannot_be_is_rejected(workshop: Workshop, lora: str, complaint: str) -> None:
    with pytest.raises(SpecError, match=complaint):
        workshop.build(lora)


def test_a_cache_without_room_for_a_whole_request_with_each_adapter_is_rejected(workshop: Workshop) -> None:
    for name in ("plain", "odd"):
        write_peft(workshop.root / "tiny" / name, 1, all_layers("self_attn.q_proj"), {})
    with pytest.raises(SpecError, match=r"must be ≥ build.max_seq_len for the model and each adapter \(768\)"):
        workshop.build(SPEC + "[serve]\nmax_tokens_in_paged_kv_cache = 700\n")


@pytest.mark.parametrize(
    ("layer", "complaint"),
    [
        (
            "model.layers.7.self_attn.q_proj",
            r"its layer model\.layers\.7\.self_attn\.q_proj is no linear",
        ),
        (
            "model.layers.0.self_attn.k_proj",
            r"its layer .*k_proj is for one of 128 × 128 \(out × in\); this .* 64 × 128",
        ),
    ],
)
def test_an_adapter_of_another_model_is_rejected(
    built: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: str, complaint: str
) -> None:
    monkeypatch.setitem(SHAPES, "self_attn.k_proj", (128, 128))
    write_peft(tmp_path / "wrong", 1, [layer], {})
    with pytest.raises(BuildError, match=complaint):
        write_fitted(read_peft(tmp_path / "wrong"), built.engine / "model", tmp_path / "fitted")


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"use_dora": True}, "its use_dora = true cannot be served; must be absent"),
        ({"modules_to_save": ["lm_head"]}, r'its modules_to_save = \["lm_head"\] cannot be served'),
        ({"bias": "lora_only"}, 'its bias = "lora_only" cannot be served; allowed: "none"'),
        ({"lora_bias": True}, "its lora_bias = true cannot be served"),
        ({"peft_type": "LOHA"}, 'its peft_type = "LOHA" cannot be served; allowed: "LORA"'),
        ({"init_lora_weights": "pissa"}, 'its init_lora_weights = "pissa" cannot be served'),
        ({"trainable_token_indices": [5]}, r"its trainable_token_indices = \[5\] cannot be served"),
        ({"alora_invocation_tokens": [5]}, "its alora_invocation_tokens"),
        ({"layer_replication": [[0, 2]]}, "its layer_replication"),
        ({"target_parameters": ["mlp.experts.gate_up_proj"]}, "its target_parameters"),
        ({"something_new": {"a": 1}}, r'its something_new = \{"a": 1\} cannot be served; must be absent'),
        ({"r": 8}, r"has lora_A \[4, 128\] and lora_B \[128, 4\]; its configuration says rank 8"),
        ({"r": True}, "its r = true; must be a whole number"),
        ({"lora_alpha": "8"}, 'its lora_alpha = "8"; must be a number'),
        ({"use_rslora": 1}, "its use_rslora = 1; must be true or false"),
        ({"rank_pattern": {"(a+)+b": 4}}, r"its rank_pattern has the key \"\(a\+\)\+b\"; must be a name"),
        ({"rank_pattern": {"(ab|ab)" * 48 + "x": 4}}, "; must be a name, or a pattern with at most 2 groups"),
        ({"lora_alpha": 10**400}, "its lora_alpha = 10+[.]{3}; must be a number"),
        ({"alpha_pattern": {"q_proj": math.inf}}, "its alpha_pattern.q_proj = Infinity; must be a number"),
        ({"target_modules": ["v_proj"]}, "its layer model.layers.0.self_attn.q_proj is not among its target_modules"),
    ],
)
def test_what_would_be_computed_otherwise_is_rejected_by_its_key(
    workshop: Workshop, config: dict[str, Any], complaint: str
) -> None:
    write_peft(workshop.root / "wrong", 1, ["model.layers.0.self_attn.q_proj"], {}, **config)
    with pytest.raises(SpecError, match=complaint) as rejected:
        workshop.build('[build.lora.adapters]\nwrong = "wrong"\n')
    assert str(rejected.value).startswith(f'{workshop.spec}: build.lora.adapters.wrong = "wrong"; ')


@pytest.mark.parametrize(("value", "alpha", "side"), [(math.nan, 8, "A"), (math.inf, 8, "B"), (2.0, 1e300, "B")])
def test_a_value_that_is_no_finite_number_is_rejected_by_its_tensor(
    built: Workshop, tmp_path: Path, value: float, alpha: float, side: str
) -> None:
    tensors = write_peft(tmp_path / "wrong", 1, ["model.layers.0.self_attn.q_proj"], {}, lora_alpha=alpha)
    name = f"base_model.model.model.layers.0.self_attn.q_proj.lora_{side}.weight"
    tensors[name][0, 0] = value
    save_file(tensors, tmp_path / "wrong/adapter_model.safetensors")
    with pytest.raises(BuildError, match=rf"its tensor {name} .*has values that are no finite numbers"):
        write_fitted(read_peft(tmp_path / "wrong"), built.engine / "model", tmp_path / "fitted")


def test_two_names_of_one_layer_are_rejected(tmp_path: Path) -> None:
    layer = "model.layers.0.self_attn.q_proj"
    tensors = write_peft(tmp_path / "wrong", 1, [layer], {}, target_modules=".*")
    parts = {name.replace(layer, f"{layer}/ov_ext::linear"): tensor for name, tensor in tensors.items()}
    save_file({**tensors, **parts}, tmp_path / "wrong/adapter_model.safetensors")
    with pytest.raises(BuildError, match=r"q_proj/ov_ext::linear\.lora_A\.weight cannot be served"):
        read_peft(tmp_path / "wrong")


def test_an_embedding_is_no_layer_that_can_be_adapted(workshop: Workshop) -> None:
    write_peft(workshop.root / "wrong", 1, ["model.layers.0.self_attn.q_proj"], {})
    matrices = {
        "base_model.model.model.embed_tokens.lora_embedding_A": np.zeros((4, 320), np.float32),
        "base_model.model.model.embed_tokens.lora_embedding_B": np.zeros((128, 4), np.float32),
    }
    save_file(matrices, workshop.root / "wrong/adapter_model.safetensors")
    with pytest.raises(
        SpecError, match=r"its tensor base_model\.model\.model\.embed_tokens\.lora_embedding_A cannot be"
    ):
        workshop.build('[build.lora.adapters]\nwrong = "wrong"\n')
