"""Architectures that Conch does not split: TensorRT-LLM's own converter compiles them."""

from __future__ import annotations

import json

import pytest

from build_scripts.build import ensure_engine
from tests.build_scripts.conftest import Workshop
from tests.build_scripts.tensorrt_llm.test_build import RUNTIME, SPLIT, plan
from tests.build_scripts.test_command import run
from triton_repo.contract.engine_config import EngineConfig


def test_another_architecture_is_left_to_tensorrt_llms_own_converter(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    workshop.configure("config.json", architectures=["FalconForCausalLM"])
    workshop.write_spec(SPLIT, runtime=RUNTIME)
    planned = plan(workshop)
    assert planned["converter"] == "tensorrt_llm"
    assert ".save('/model/engine')" in planned["steps"][0]["argv"][-1]
    engine = ensure_engine(str(workshop.spec))
    assert "not done here: convert and compile, by TensorRT-LLM; on a GPU host:" in capsys.readouterr().err
    assert {path.name for path in (engine.directory / "model").iterdir()} == {"on_gpu_host.py", "source"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_input_len", 100),
        ("max_beam_width", 2),
        ("opt_num_tokens", 64),
        ("tokens_per_block", 64),
        ("gemm_plugin", "disable"),
        ("logits_dtype", "float16"),
        ("use_paged_context_fmha", False),
        ("multiple_profiles", True),
        ("workers", 2),
    ],
)
def test_tensorrt_llms_own_converter_gets_a_compile_key_or_the_key_is_rejected(
    workshop: Workshop, key: str, value: object
) -> None:
    workshop.configure("config.json", architectures=["FalconForCausalLM"])
    serve = "[serve]\nenable_kv_cache_reuse = false\nenable_chunked_context = false\n"
    workshop.write_spec(f"{serve}{SPLIT}[build.compile]\n{key} = {json.dumps(value)}", runtime=RUNTIME)
    done = run("tiny.toml", "--plan", "--json", cwd=workshop.root)
    if done.returncode == 0:
        assert f"{key}={value}" in json.loads(done.stdout)["steps"][0]["argv"][-1]
    else:
        problem = f"error: tiny.toml: build.compile.{key} = {json.dumps(value)}; is not possible for this architecture"
        assert done.stderr.startswith(problem)


def test_a_quantized_architecture_that_is_not_known_takes_every_compile_key(workshop: Workshop) -> None:
    workshop.configure("config.json", architectures=["FalconForCausalLM"])
    workshop.write_spec(f'{SPLIT}quantization = "int8"\n[build.compile]\ntokens_per_block = 64', runtime=RUNTIME)
    argv = plan(workshop)["steps"][0]["argv"]
    assert argv[argv.index("--tokens_per_block") + 1] == "64"


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
@pytest.mark.parametrize(("stored", "served"), [("bfloat16", "bfloat16"), ("float32", "float16")])
def test_an_architecture_that_is_not_known_is_served_in_the_dtype_of_its_checkpoint_too(
    workshop: Workshop, key: str, stored: str, served: str
) -> None:
    config = json.loads((workshop.checkpoint / "config.json").read_text())
    config = {name: value for name, value in config.items() if name not in {"dtype", "torch_dtype"}}
    config |= {"architectures": ["CohereForCausalLM"], key: stored}
    (workshop.checkpoint / "config.json").write_text(json.dumps(config))
    workshop.write_spec(runtime=RUNTIME)
    assert f"dtype='{served}'" in plan(workshop)["steps"][0]["argv"][-1]
    engine = workshop.build('[build]\nflow = "pytorch"', runtime=RUNTIME)
    assert EngineConfig.load(engine.directory).dtype == served
