"""`--plan` looks at adapters and at the draft: refused in seconds, counted, and never read."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from build_scripts.architectures import Decoder, Rope
from build_scripts.architectures.values import Norms
from build_scripts.tensorrt_llm.sharding.adapter_cache import AdapterBounds, adapter_cache_bytes
from build_scripts.tensorrt_llm.sharding.parallelism import Parallelism
from tests.build_scripts.adapters import write_adapter
from tests.build_scripts.conftest import Workshop
from tests.build_scripts.test_command import run
from tests.triton_repo.engine.runtimes.drafts import write_draft

RUNTIME = "tensorrt_llm"
PYTORCH = '[build]\nflow = "pytorch"\nmax_num_tokens = 2048\n'
ADAPTER = '[build.lora.adapters]\nfrench = "tiny/french"\n'
DRAFT = '[speculative]\nmode = "draft"\ndraft_model = "tiny/draft"\n'
# Of the size of Llama 3.1 8B.
DECODER = Decoder(
    "LlamaForCausalLM", "llama", "bfloat16", 32, 4096, 14336, 32, 8, 128, 128256, 131072, Norms(1e-5), Rope(500000.0)
)
QKV = ("attn_q", "attn_k", "attn_v")


def plan(workshop: Workshop, *flags: str) -> dict[str, Any]:
    done = run("tiny.toml", "--plan", "--json", *flags, cwd=workshop.root)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def refusal(workshop: Workshop, text: str, *flags: str) -> str:
    workshop.write_spec(text, runtime=RUNTIME)
    done = run("tiny.toml", "--plan", *flags, cwd=workshop.root)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (None, "must be a directory with adapter_config.json and adapter_model.safetensors; it lacks "),
        ({"r": 65}, "its r = 65; must be in 1 … 64, build.lora.max_rank"),
        ({"target_modules": ["o_proj"]}, "adapts attn_dense too, which must be in build.lora.target_modules"),
        ({"r": 1}, "its r = 1, and lora_A has a higher rank"),
    ],
)
def test_a_plan_refuses_an_adapter_as_the_build_would(
    workshop: Workshop, config: dict[str, Any] | None, complaint: str
) -> None:
    if config is not None:
        write_adapter(workshop.root / "tiny" / "french", **config)
    said = refusal(workshop, ADAPTER)
    assert said.startswith('error: tiny.toml: build.lora.adapters.french = "tiny/french"; ')
    assert complaint in said


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("adapter_config.json", '{"r": 2, "r": 4}', "adapter_config.json: not valid JSON: 'r' occurs twice"),
        ("adapter_config.json", '{"a": ' * 99_999, "adapter_config.json: nested too deeply"),
        ("adapter_model.safetensors", "cut", "adapter_model.safetensors: "),
    ],
)
def test_a_broken_adapter_is_one_sentence_that_names_the_file(
    workshop: Workshop, file: str, content: str, complaint: str
) -> None:
    (write_adapter(workshop.root / "tiny" / "french") / file).write_text(content)
    assert complaint in refusal(workshop, ADAPTER)


def test_a_plan_counts_the_adapters_and_leaves_less_for_the_cache(workshop: Workshop) -> None:
    write_adapter(workshop.root / "tiny" / "french")
    workshop.write_spec(PYTORCH, runtime=RUNTIME)
    without = plan(workshop, "--gpu", "l4-24gb")
    workshop.write_spec(PYTORCH + ADAPTER, runtime=RUNTIME)
    adapted = plan(workshop, "--gpu", "l4-24gb")
    assert (without["adapters"], without["ranks"][0]["adapter_bytes"]) == ([], 0)
    assert adapted["adapters"] == [{"name": "french", "rank": 2, "weight_bytes": 16}]
    # 64 ranks × 2 layers × 3 modules of two slots each are 768 slots of 192 values, in pages of 64 × 256 / 192 slots.
    assert adapted["ranks"][0]["adapter_bytes"] == 9 * 86 * 192 * 2
    assert adapted["kv_tokens"] < without["kv_tokens"]
    said = run("tiny.toml", "--plan", cwd=workshop.root).stdout
    assert "Adapter french: rank 2, 16 bytes" in said


@pytest.mark.parametrize(
    ("bounds", "tp", "expected"),
    [
        # 2 × 16 ranks × 32 layers × 3 modules = 3072, each of 8192 values and so two slots of 5120; a page has
        # 8 ranks × 32 layers × (2 + 1 + 1) slots = 1024.
        (AdapterBounds(2, 16, QKV, resident=True), 1, 6 * 1024 * 5120 * 2),
        # q alone is room for k and v too.
        (AdapterBounds(2, 16, ("attn_q",), resident=True), 1, 6 * 1024 * 5120 * 2),
        # 4096 + 2048 and 4096 + 512 on each of two ranks.
        (AdapterBounds(2, 16, QKV, resident=True), 2, 6 * 1024 * 4608 * 2),
        (AdapterBounds(2, 16, QKV, resident=False), 1, 20_000_000),
    ],
)
def test_the_cache_of_adapters_is_counted_as_tensorrt_llm_counts_it(
    bounds: AdapterBounds, tp: int, expected: int
) -> None:
    assert adapter_cache_bytes(DECODER, Parallelism(tp, 1), 0, bounds, 2, 1_000_000_000) == expected


@pytest.mark.parametrize(
    ("flags", "config", "complaint"),
    [
        ((), {"vocab_size": 100}, "must have the model's vocabulary: 320 tokens, not 100"),
        (
            ("--tp", "4"),
            {"num_attention_heads": 6},
            "build.tensor_parallel = 4 must divide the 6 attention heads of th",
        ),
    ],
)
def test_a_plan_refuses_a_draft_as_the_build_would(
    workshop: Workshop, flags: tuple[str, ...], config: dict[str, Any], complaint: str
) -> None:
    draft = workshop.root / "tiny" / "draft"
    write_draft(workshop.checkpoint, draft, num_layers=1)
    values = json.loads((draft / "config.json").read_text())
    (draft / "config.json").write_text(json.dumps({**values, **config}))
    said = refusal(workshop, PYTORCH + DRAFT, *flags)
    assert said.startswith('error: tiny.toml: speculative.draft_model = "tiny/draft"; ')
    assert complaint in said


def test_a_plan_with_a_draft_reads_no_weights_of_it(workshop: Workshop) -> None:
    draft = workshop.root / "tiny" / "draft"
    write_draft(workshop.checkpoint, draft, num_layers=1)
    (draft / "model.safetensors").unlink()
    workshop.write_spec(PYTORCH + DRAFT, runtime=RUNTIME)
    assert plan(workshop)["draft_model"] == "tiny/draft"


def test_weights_of_another_rank_than_the_configuration_says_are_refused(workshop: Workshop) -> None:
    directory = write_adapter(workshop.root / "tiny" / "french")
    save_file({"q.lora_B": np.zeros((8, 3), np.float16)}, directory / "adapter_model.safetensors")
    assert "its r = 2, and q.lora_B has a higher rank" in refusal(workshop, ADAPTER)
