"""`build.flow = "pytorch"`: a checkpoint as it is, judged by what TensorRT-LLM's own code can do with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.build_scripts.conftest import Workshop
from tests.build_scripts.test_command import run
from tests.triton_repo.engine.runtimes.drafts import write_draft
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import BuildError, SpecError

RUNTIME = "tensorrt_llm"
PYTORCH = '[build]\nflow = "pytorch"\n'
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}


def quantize(checkpoint: Path) -> None:
    """As NVIDIA's quantizer (ModelOpt) writes FP8: scales beside each projection, and a file that says so."""
    weights = load_file(checkpoint / "model.safetensors")
    for name in [name for name in weights if name.endswith("proj.weight")]:
        weights[name] = weights[name].to(torch.float8_e4m3fn)
        weights[f"{name}_scale"] = torch.ones(1)
        weights[name.replace(".weight", ".input_scale")] = torch.ones(1)
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    (checkpoint / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "FP8"}}))


def plan(workshop: Workshop, *flags: str) -> dict[str, Any]:
    workshop.write_spec(PYTORCH, runtime=RUNTIME)
    done = run("tiny.toml", "--plan", "--json", *flags, cwd=workshop.root)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_a_quantized_checkpoint_is_taken_along_with_what_says_how(workshop: Workshop) -> None:
    quantize(workshop.checkpoint)
    engine = workshop.build(PYTORCH, runtime=RUNTIME)
    taken = engine.directory / "model" / "checkpoint"
    assert json.loads((taken / "hf_quant_config.json").read_text()) == {"quantization": {"quant_algo": "FP8"}}
    assert "model.norm.weight" in load_file(taken / "model.safetensors")
    with pytest.raises(BuildError, match=r"already quantized \(fp8\): build\.flow = pytorch runs it as it is"):
        workshop.build(runtime=RUNTIME)


def test_json_is_taken_as_people_write_it_and_written_as_transformers_reads_it(workshop: Workshop) -> None:
    for name, value in (("config.json", '"vocab_size": 5'), ("tokenizer_config.json", '"eos_token": "<s>"')):
        file = workshop.checkpoint / name
        file.write_text("\ufeff{" + value + ", " + file.read_text(encoding="utf-8").lstrip("{ "), encoding="utf-8")
    generation = workshop.checkpoint / "generation_config.json"
    generation.write_text("\ufeff" + generation.read_text(encoding="utf-8"), encoding="utf-8")
    taken = workshop.build(PYTORCH, runtime=RUNTIME).directory / "model" / "checkpoint"
    assert json.loads((taken / "config.json").read_text(encoding="utf-8"))["vocab_size"] == 320
    assert json.loads((taken / "tokenizer_config.json").read_text(encoding="utf-8"))["eos_token"] == "</s>"
    json.loads((taken / "generation_config.json").read_text(encoding="utf-8"))


def test_a_change_of_how_it_is_quantized_is_a_change_of_the_checkpoint(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    quantize(workshop.checkpoint)
    workshop.build(PYTORCH, runtime=RUNTIME)
    workshop.configure("hf_quant_config.json", producer={"name": "modelopt"})
    capsys.readouterr()
    workshop.build(PYTORCH, runtime=RUNTIME)
    assert "tiny: building (hf_quant_config.json changed" in capsys.readouterr().err


def test_a_plan_counts_quantized_weights_as_what_they_are(workshop: Workshop) -> None:
    full = plan(workshop, "--gpu", "h100-80gb")
    quantize(workshop.checkpoint)
    quantized = plan(workshop, "--gpu", "h100-80gb")
    assert quantized["quantization"] == "fp8"
    assert quantized["ranks"][0]["engine_bytes"] < full["ranks"][0]["engine_bytes"]
    refused = run("tiny.toml", "--plan", "--gpu", "a100-80gb", cwd=workshop.root).stderr
    assert '"fp8"; needs compute capability 8.9' in refused


def test_a_plan_does_not_guess_the_memory_of_weights_in_a_format_that_it_does_not_know(workshop: Workshop) -> None:
    workshop.configure("config.json", quantization_config={"quant_method": "hqq"})
    unknown = plan(workshop, "--gpu", "h100-80gb")
    assert (unknown["gpu"], unknown["sequences"], unknown["quantization"]) == (None, None, "hqq")
    assert "weights in hqq: how much memory they take is not known here" in unknown["notes"][0]


def test_a_rotary_embedding_that_compiled_engines_lack_is_left_to_tensorrt_llm(workshop: Workshop) -> None:
    workshop.configure("config.json", rope_parameters=YARN)
    workshop.build(PYTORCH, runtime=RUNTIME)
    with pytest.raises(BuildError, match="rope_type yarn; allowed: default"):
        workshop.build(runtime=RUNTIME)


def test_the_draft_of_a_split_model_may_have_such_a_rotary_embedding_too(workshop: Workshop) -> None:
    draft = workshop.root / "tiny" / "draft"
    write_draft(workshop.checkpoint, draft, num_layers=1)
    config = json.loads((draft / "config.json").read_text())
    (draft / "config.json").write_text(json.dumps({**config, "rope_parameters": YARN}))
    speculative = '[speculative]\nmode = "draft"\ndraft_model = "tiny/draft"\n'
    text = PYTORCH + "max_num_tokens = 2048\ntensor_parallel = 2\n" + speculative
    workshop.write_spec(text, runtime=RUNTIME)
    done = run("tiny.toml", "--plan", cwd=workshop.root)
    assert done.returncode == 0, done.stderr


def test_what_is_true_of_both_flows_is_refused_in_both(workshop: Workshop) -> None:
    with pytest.raises(SpecError, match=r"build\.tensor_parallel = 3; must divide the 4 attention heads"):
        workshop.build(PYTORCH + "tensor_parallel = 3", runtime=RUNTIME)
    workshop.configure("config.json", architectures=["MistralForCausalLM"], sliding_window=100)
    with pytest.raises(SpecError, match=r"build\.max_seq_len = 101; must be ≤ 100: the model's sliding_window"):
        workshop.build(PYTORCH + "max_seq_len = 101", runtime=RUNTIME)


@pytest.mark.parametrize("flow", [PYTORCH, ""])
def test_sequences_are_as_long_as_a_sliding_window_that_the_engine_ignores_where_nobody_says_how_long(
    workshop: Workshop, capsys: pytest.CaptureFixture[str], flow: str
) -> None:
    workshop.configure("config.json", architectures=["MistralForCausalLM"], sliding_window=100)
    engine = workshop.build(flow, runtime=RUNTIME)
    said = "tiny: max_seq_len 100: the longest that is computed right, not the checkpoint's 256: the model's sliding_"
    assert said in capsys.readouterr().err
    assert EngineConfig.load(engine.directory).max_seq_len == 100
    workshop.configure("config.json", sliding_window=300)
    assert EngineConfig.load(workshop.build(flow, runtime=RUNTIME).directory).max_seq_len == 256
