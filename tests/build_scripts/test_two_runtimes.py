"""One checkpoint, two runtimes: the plan for a GPU and the build for a CPU say the same of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from build_scripts.plan import BuildRequest, prepare_build
from build_scripts.preview import plan_json
from build_scripts.sizing.traits import TRAITS
from build_scripts.spec.engine_spec import EngineSpec
from tests.build_scripts.conftest import Workshop, write_tokenizer
from tests.build_scripts.sizing.meta import count
from tests.build_scripts.sizing.test_sizes import config_of
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import EngineDirectory

# Heads that TensorRT-LLM has, no window that is narrower than the context, and a context where transformers has none.
OWN: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": None},
    "glm4_moe": {"head_dim": 128},
    "bloom": {"seq_length": 2048, "n_head": 2},
}


def request(directory: Path, runtime: str, **build: Any) -> BuildRequest:
    values = {"name": "x", "model": str(directory), "runtime": runtime, "build": build}
    return BuildRequest(EngineSpec.model_validate(values), "flags", directory.parent, directory.parent / "built")


def gpu_plan(directory: Path) -> dict[str, Any]:
    with prepare_build(request(directory, "tensorrt_llm", flow="pytorch"), preview=True) as prepared:
        return plan_json(prepared)


def test_the_plan_for_a_gpu_says_of_a_checkpoint_what_the_built_cpu_engine_says(built: Workshop) -> None:
    planned, engine = gpu_plan(built.checkpoint), EngineDirectory(built.engine)
    config, manifest = EngineConfig.load(engine.path), built.manifest
    assert planned["max_seq_len"] == config.max_seq_len
    assert tuple(planned["eos_token_ids"]) == config.eos_token_ids == manifest.facts.eos_token_ids
    assert planned["chat_template_sha256"] == hashlib.sha256(engine.chat_template.read_bytes()).hexdigest()
    assert planned["architecture"] == manifest.facts.architecture
    assert planned["kv_bytes_per_token"] == 2 * (manifest.facts.kv_values_per_token or 0)


def test_the_engines_of_both_runtimes_have_the_same_context_end_tokens_and_template(
    built: Workshop, workshop: Workshop
) -> None:
    """Also an end token that only the tokenizer names."""
    cpu, gpu = EngineDirectory(built.engine), EngineDirectory(workshop.build(runtime="tensorrt_llm").directory)
    ours, theirs = (EngineConfig.load(engine.path) for engine in (gpu, cpu))
    assert (ours.max_seq_len, ours.eos_token_ids) == (theirs.max_seq_len, theirs.eos_token_ids)
    assert gpu.chat_template.read_bytes() == cpu.chat_template.read_bytes()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # GPT BigCode's
@pytest.mark.parametrize("model_type", sorted(TRAITS))
def test_both_runtimes_read_the_same_context_end_tokens_and_size_of_every_architecture_that_both_know(
    model_type: str, tmp_path: Path
) -> None:
    """The CPU's exporter takes the model that transformers makes of the configuration."""
    config = config_of(model_type)
    if config is None or model_type not in CONFIG_MAPPING or model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        pytest.skip(f"transformers does not know {model_type} alone")
    config |= OWN.get(model_type, {})
    config |= {"architectures": [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]], "eos_token_id": [7, 9]}
    (tmp_path / "config.json").write_text(json.dumps(config, default=str))
    write_tokenizer(tmp_path)
    planned = gpu_plan(tmp_path)
    with prepare_build(request(tmp_path, "openvino")) as prepared:
        materials = prepared.materials
    counted = count(config)
    assert counted is not None
    assert planned["parameters"] == counted.parameters
    assert (planned["max_seq_len"], tuple(planned["eos_token_ids"])) == (materials.max_seq_len, (7, 9))
    assert materials.facts.eos_token_ids == (7, 9)
    assert planned["chat_template_sha256"] is not None
