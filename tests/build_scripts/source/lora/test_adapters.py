"""`[build.lora]`: adapters are checked before anything is built, compiled for, and copied into the engine."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from build_scripts.build import ensure_engine
from build_scripts.spec.engine_spec import BuildSection
from build_scripts.tensorrt_llm.argv import build_argv
from tests.build_scripts.adapters import write_adapter
from tests.build_scripts.conftest import Workshop, contents
from tests.build_scripts.tensorrt_llm.gpu_host import use_gpu_host
from triton_repo.contract.engine_config import EngineConfig, LoraConfig
from triton_repo.contract.errors import SpecError

RUNTIME = "tensorrt_llm"
ADAPTERS = '[build.lora.adapters]\nfrench = "tiny/french"\npirate = "tiny/pirate"\n'
PYTORCH = '[build]\nflow = "pytorch"\n'


@pytest.fixture
def adapted(workshop: Workshop) -> Workshop:
    """A workshop with two adapters."""
    for name in ("french", "pirate"):
        write_adapter(workshop.root / "tiny" / name)
    return workshop


def test_trtllm_build_makes_room_for_adapters_and_learns_no_path_of_them() -> None:
    lora = {"adapters": {"french": "/a/french"}, "max_rank": 16, "target_modules": ["attn_q", "mlp_gate"]}
    argv = build_argv(PurePosixPath("/model"), BuildSection.model_validate({"lora": lora}), 64)
    assert shlex.join(argv).endswith(" --lora_plugin auto --max_lora_rank 16 --lora_target_modules attn_q mlp_gate")
    assert "--lora_plugin" not in build_argv(PurePosixPath("/model"), BuildSection(), 64)


def test_adapters_are_copied_into_the_engine_which_can_be_copied_itself(adapted: Workshop, tmp_path: Path) -> None:
    engine = adapted.build(PYTORCH + "[build.lora]\nmax_rank = 8\n" + ADAPTERS, runtime=RUNTIME)
    copy = Path(shutil.copytree(engine.directory, tmp_path / "elsewhere"))
    shutil.rmtree(adapted.root / "tiny")
    directory = ensure_engine(str(copy)).directory
    assert {name for name in contents(directory) if name.startswith("adapters/")} == {
        f"adapters/{adapter}/{file}"
        for adapter in ("french", "pirate")
        for file in ("adapter_config.json", "adapter_model.safetensors")
    }
    settings = EngineConfig.load(directory).tensorrt_llm
    assert settings is not None
    assert settings.lora == LoraConfig(
        adapters=("french", "pirate"), max_rank=8, target_modules=("attn_q", "attn_k", "attn_v")
    )
    assert "lora_name" not in EngineConfig.load(directory).card.unsupported


def test_a_compiled_engine_is_compiled_for_its_adapters(adapted: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    use_gpu_host(monkeypatch, adapted.root / "bin")
    engine = adapted.build(ADAPTERS, runtime=RUNTIME)
    told = json.loads((engine.directory / "model" / "engine" / "config.json").read_text())["build_config"]
    assert (told["lora_plugin"], told["max_lora_rank"]) == ("auto", 64)
    assert told["lora_target_modules"] == ["attn_q", "attn_k", "attn_v"]


def test_a_changed_adapter_wants_a_new_build_and_an_equal_one_does_not(
    adapted: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    adapted.build(PYTORCH + ADAPTERS, runtime=RUNTIME)
    adapted.build(PYTORCH + ADAPTERS, runtime=RUNTIME)
    assert "tiny: up to date" in capsys.readouterr().err
    config = adapted.root / "tiny" / "french" / "adapter_config.json"
    config.write_text(config.read_text().replace("4", "8"))
    adapted.build(PYTORCH + ADAPTERS, runtime=RUNTIME)
    assert "building (adapters/french/adapter_config.json changed)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"r": 65}, r"its r = 65; must be in 1 … 64, build\.lora\.max_rank"),
        ({"r": "2"}, r'its r = "2"; must be in 1 … 64'),
        ({"target_modules": ["q_proj", "o_proj"]}, r"adapts attn_dense too, which must be in build\.lora\.target_mod"),
        ({"target_modules": ".*proj"}, r"its target_modules = \".*proj\"; must be a list, of q_proj, k_proj"),
        ({"target_modules": ["lm_head"]}, r"must be a list, of q_proj"),
        ({"modules_to_save": ["embed_tokens"]}, r'its modules_to_save = \["embed_tokens"\] cannot be served'),
        ({"target_modules": [["q_proj"]]}, r'its target_modules = \[\["q_proj"\]\]; must be a list, of q_proj'),
        ({"use_dora": True}, r"its use_dora = true cannot be served; allowed: false"),
        ({"peft_type": "IA3"}, r'its peft_type = "IA3" cannot be served; allowed: "LORA"'),
    ],
)
def test_an_adapter_that_cannot_be_served_is_refused_before_anything_is_built(
    workshop: Workshop, config: dict[str, Any], complaint: str
) -> None:
    write_adapter(workshop.root / "tiny" / "french", **config)
    with pytest.raises(SpecError, match=complaint) as refused:
        workshop.build('[build.lora.adapters]\nfrench = "tiny/french"', runtime=RUNTIME)
    assert str(refused.value).startswith(f'{workshop.spec}: build.lora.adapters.french = "tiny/french"; ')
    assert not workshop.engine.exists()


def test_a_pickled_adapter_is_refused(adapted: Workshop) -> None:
    weights = adapted.root / "tiny" / "pirate" / "adapter_model.safetensors"
    weights.rename(weights.with_name("adapter_model.bin"))
    with pytest.raises(SpecError, match=r"adapters\.pirate = .*it lacks adapter_model\.safetensors \(looked in "):
        adapted.build(ADAPTERS, runtime=RUNTIME)


@pytest.mark.parametrize(
    ("runtime", "text", "complaint"),
    [
        ("openvino", '[build.lora]\ntarget_modules = ["attn_q"]\n' + ADAPTERS, r"needs runtime tensorrt_llm: remove"),
        ("openvino", "[serve]\nprompt_logprobs = true\n" + ADAPTERS, r"is not possible with build\.lora"),
        (
            "openvino",
            '[speculative]\nmode = "prompt_lookup"\n' + ADAPTERS,
            r"build\.lora = .*is not possible where speculative\.mode = prompt_lookup: remove the table",
        ),
        (RUNTIME, "[build.lora]\nmax_rank = 8", "must name adapters, or have max_loras for those"),
        (RUNTIME, "[build.lora]\nrank = 8\n" + ADAPTERS, "unknown key; allowed: adapters, max_loras, max_rank"),
        (RUNTIME, '[build.lora]\ntarget_modules = ["q_proj"]\n' + ADAPTERS, r'= "q_proj"; allowed: attn_q, attn_k'),
        (RUNTIME, '[build.lora.adapters]\n"../up" = "x"', r"must match \^\[A-Za-z0-9\]"),
        (RUNTIME, '[sampling]\nlora_name = "french"', r"is a parameter of each request and has no default"),
    ],
)
def test_settings_of_adapters_that_make_no_sense_are_refused(
    adapted: Workshop, runtime: str, text: str, complaint: str
) -> None:
    with pytest.raises(SpecError, match=complaint):
        adapted.build(text, runtime=runtime)


def test_tensorrt_llms_own_converter_takes_no_adapters(adapted: Workshop) -> None:
    adapted.configure("config.json", architectures=["FalconForCausalLM"])
    with pytest.raises(SpecError, match=r"build\.lora = .*needs build\.flow = pytorch for this architecture"):
        adapted.build(ADAPTERS, runtime=RUNTIME)
