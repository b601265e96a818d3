"""What TensorRT-LLM 1.2 is handed of a checkpoint that transformers 5 wrote: its transformers 4 reads all of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from build_scripts.tensorrt_llm.older_transformers import older_config, older_files, older_tokenizer_config
from tests.build_scripts.conftest import Workshop
from tests.build_scripts.tensorrt_llm.test_compile import run_in_a_container

RUNTIME = "tensorrt_llm"
THETA, LOCAL_THETA, PARTIAL = 123456.0, 4321.0, 0.25
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip


def rotary_configs() -> list[tuple[str, dict[str, Any]]]:
    """`config.json` of every text model of transformers 5 that has a rotary embedding, with values of its own."""
    found = []
    for model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        try:
            config = CONFIG_MAPPING[model_type]()
        except (KeyError, ValueError, AttributeError, ImportError, StrictDataclassError):
            continue
        if isinstance(getattr(config, "rope_parameters", None), dict):
            perturb(config.rope_parameters)
            config.dtype = "bfloat16"
            found.append((model_type, config.to_diff_dict() | {"model_type": model_type}))
    return found


def perturb(parameters: dict[str, Any]) -> None:
    if "full_attention" not in parameters:
        parameters |= {"rope_theta": THETA} | ({"partial_rotary_factor": PARTIAL} if len(parameters) > 2 else {})
        return
    parameters["full_attention"]["rope_theta"] = THETA
    if "sliding_attention" in parameters:
        parameters["sliding_attention"]["rope_theta"] = LOCAL_THETA


def test_every_rotary_embedding_of_transformers_5_is_spelled_out_for_transformers_4_and_reads_the_same_in_5() -> None:
    configs = rotary_configs()
    assert len(configs) > 60
    for model_type, config in configs:
        older = older_config(config)
        if "proportional" in str(config["rope_parameters"]):  # Gemma 4, which transformers 4 does not know
            assert older == {**config, "torch_dtype": "bfloat16"}
            continue
        assert (older["rope_theta"], older["torch_dtype"]) == (THETA, "bfloat16"), model_type
        if "full_attention" in config["rope_parameters"] and "sliding_attention" in config["rope_parameters"]:
            assert older["rope_local_base_freq"] == LOCAL_THETA, model_type
        if model_type.startswith("gpt_neox"):
            assert older["rotary_emb_base"] == THETA
        before, after = (CONFIG_MAPPING[model_type].from_dict(dict(each)) for each in (config, older))
        assert without_type(after.rope_parameters) == without_type(before.rope_parameters), model_type


def without_type(parameters: Any) -> Any:
    """Transformers 5 reads `rope_type`, and keeps the older `type` beside it."""
    if not isinstance(parameters, dict):
        return parameters
    return {key: without_type(value) for key, value in parameters.items() if key != "type"}


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ({"rope_parameters": {"rope_theta": 5.0, "rope_type": "default"}}, {"rope_theta": 5.0}),
        (
            {"rope_parameters": {"rope_theta": 5.0, "rope_type": "linear", "factor": 2.0}},
            {"rope_theta": 5.0, "rope_scaling": {"type": "linear", "rope_type": "linear", "factor": 2.0}},
        ),
        (
            {"rope_parameters": {"rope_type": "longrope", "short_factor": [1], "long_factor": [2], "factor": 4.0}},
            {"rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [2]}},
        ),
        (
            {"rope_parameters": {"rope_theta": 5.0, "mrope_section": [16, 24]}},
            {"rope_theta": 5.0, "rope_scaling": {"type": "default", "rope_type": "default", "mrope_section": [16, 24]}},
        ),
        (
            {"rope_parameters": {"full_attention": {"rope_theta": 5.0}, "sliding_attention": {"rope_theta": 2.0}}},
            {"rope_theta": 5.0, "rope_local_base_freq": 2.0},
        ),
        (
            {"model_type": "gpt_neox", "rope_parameters": {"rope_theta": 5.0, "partial_rotary_factor": 0.5}},
            {"rope_theta": 5.0, "rotary_emb_base": 5.0, "partial_rotary_factor": 0.5, "rotary_pct": 0.5},
        ),
        ({"dtype": "bfloat16"}, {"torch_dtype": "bfloat16"}),
        ({"num_local_experts": 8}, {"num_experts": 8}),
        ({"time_step_limit": [0.0, {"__float__": "Infinity"}]}, {"time_step_limit": [0.0, float("inf")]}),
    ],
)
def test_each_key_that_has_moved_is_there_under_both_names(new: dict[str, Any], old: dict[str, Any]) -> None:
    assert older_config(new) == {**new, **old}
    assert older_config({"text_config": new}) == {"text_config": {**new, **old}}


def test_a_config_that_has_the_older_names_is_left_alone() -> None:
    older = {"rope_theta": 7.0, "rope_scaling": None, "torch_dtype": "float16", "architectures": ["LlamaForCausalLM"]}
    assert older_config(older) == older
    both = {**older, "rope_parameters": {"rope_theta": 9.0}}
    assert older_config(both)["rope_theta"] == 7.0


def test_a_tokenizer_is_of_a_class_that_transformers_4_has() -> None:
    new = {"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<a>"], "eos_token": "</s>"}
    old = {"tokenizer_class": "PreTrainedTokenizerFast", "additional_special_tokens": ["<a>"], "eos_token": "</s>"}
    assert older_tokenizer_config(new) == old
    named = {"tokenizer_class": "LlamaTokenizer", "extra_special_tokens": {"image_token": "<i>"}}
    assert older_tokenizer_config(named) == named


def test_files_that_read_the_same_in_both_are_not_written(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "rope_theta": 1.0}')
    assert older_files(tmp_path) == {}
    (tmp_path / "config.json").write_text('{"rope_theta": 2.0, "rope_theta": 1.0}')
    assert older_files(tmp_path) == {}


def newer(workshop: Workshop) -> None:
    workshop.configure("config.json", rope_parameters=LLAMA3)
    workshop.configure("tokenizer_config.json", tokenizer_class="TokenizersBackend", extra_special_tokens=["<s>"])


def read(file: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(file.read_text())
    return values


def test_the_pytorch_flow_gets_both_spellings_and_the_checkpoint_stays_as_it_is(workshop: Workshop) -> None:
    newer(workshop)
    before = (workshop.checkpoint / "config.json").read_bytes()
    engine = workshop.build('[build]\nflow = "pytorch"', runtime=RUNTIME)
    taken = engine.directory / "model" / "checkpoint"
    config = read(taken / "config.json")
    assert (config["rope_theta"], config["rope_scaling"]["factor"]) == (500000.0, 8.0)
    for directory in (taken, engine.directory / "tokenizer"):
        assert read(directory / "tokenizer_config.json")["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert (workshop.checkpoint / "config.json").read_bytes() == before


@pytest.mark.parametrize("text", ['[build]\nquantization = "int8"', ""])
def test_the_quantizer_and_the_converter_get_both_spellings_beside_the_weights(
    workshop: Workshop, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    newer(workshop)
    if not text:
        workshop.configure("config.json", architectures=["FalconForCausalLM"])
    workshop.build(text, runtime=RUNTIME)
    source = workshop.engine / "model" / "source"
    assert read(source / "config.json")["rope_theta"] == 500000.0
    assert read(source / "tokenizer_config.json")["tokenizer_class"] == "PreTrainedTokenizerFast"
    docker = capsys.readouterr().err.partition("on a GPU host:\n  ")[2].split("\n")[0]
    head = docker.partition("/model/engine ")[0]
    listing = tmp_path / "listing"
    engine = workshop.engine / "model" / "engine"
    program = f'\'import os; open("{listing}", "w").write(" ".join(sorted(os.listdir("/model/source"))))\''
    write = '\'open("/model/engine/config.json", "w").write("""{"pretrained_config": {"mapping": {}}}""")\''
    engine.mkdir()
    run_in_a_container(workshop, f"{head}/model/engine python3 -c {program} --then python3 -c {write}")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(listing.read_text().split())
    assert {file.name for file in source.iterdir()} == {"config.json", "tokenizer_config.json"}
    assert read(engine / "config.json")["pretrained_config"]["mapping"] == {"gpus_per_node": 8}
