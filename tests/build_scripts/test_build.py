from __future__ import annotations

import json
import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai
import pytest

from build_scripts.build import ensure_engine
from tests.build_scripts.conftest import TEMPLATE, Workshop, contents
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import BuildError
from triton_repo.preprocess.prompt import Prompt, PromptEncoder

PROMPTS = [[5, 6, 7], list(range(40, 140)), [200] * 17]
NEW_TOKENS = 40
REPLAY = '[replay]\ntext = "a"'


def greedy_from_transformers(checkpoint: Path, prompt: list[int]) -> list[int]:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    with torch.no_grad():
        ids = torch.tensor([prompt])
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0
        )
    return [int(token) for token in output[0, len(prompt) :]]


def greedy_from_engine(model: Path, prompts: list[list[int]]) -> list[list[int]]:
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.num_kv_blocks = 64
    precision = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
    pipeline: Any = openvino_genai.ContinuousBatchingPipeline(model, scheduler, "CPU", precision)
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = NEW_TOKENS
    config.set_eos_token_id(1)
    handles = [
        pipeline.add_request(number, openvino.Tensor(np.array([prompt], dtype=np.int64)), config)
        for number, prompt in enumerate(prompts)
    ]
    answers: list[list[int]] = [[] for _ in prompts]
    while pipeline.has_non_finished_requests():
        pipeline.step()
        for answer, handle in zip(answers, handles, strict=True):
            while handle.can_read():
                answer.extend(handle.read()[0].generated_ids)
    return answers


def test_the_engine_decodes_greedily_what_transformers_decodes(built: Workshop) -> None:
    expected = [greedy_from_transformers(built.checkpoint, prompt) for prompt in PROMPTS]
    assert greedy_from_engine(built.engine / "model", PROMPTS) == expected


def test_a_built_engine_holds_what_its_readers_need_and_no_path_of_this_machine(built: Workshop) -> None:
    files = set(contents(built.engine))
    assert {name for name in files if not name.startswith("triton/")} == {
        "manifest.json",
        "engine.json",
        "model/openvino_model.xml",
        "model/openvino_model.bin",
        "model/config.json",
        "model/generation_config.json",
        "model/exported_by.json",
        "model/verified.json",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/chat_template.jinja",
    }
    for model in ("tiny", "tiny_preprocess", "tiny_engine", "tiny_detokenize"):
        assert f"triton/{model}/config.pbtxt" in files
        assert (built.engine / "triton" / model / "1").is_dir()
    assert not Path(os.readlink(built.engine)).is_absolute()
    for name in files:
        assert str(built.root).encode() not in (built.engine / name).read_bytes()


def test_pickled_weights_are_read_without_running_them_and_give_the_same_engine(
    workshop: Workshop, built: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from safetensors.torch import load_file

    monkeypatch.setenv("XDG_CACHE_HOME", str(workshop.root / "cache"))
    weights = workshop.checkpoint / "model.safetensors"
    torch.save(load_file(weights), workshop.checkpoint / "pytorch_model.bin")
    weights.unlink()
    workshop.build()
    model = workshop.engine / "model" / "openvino_model.bin"
    assert model.read_bytes() == (built.engine / "model" / "openvino_model.bin").read_bytes()


def test_json_is_taken_as_people_write_it_and_gives_the_same_engine(workshop: Workshop, built: Workshop) -> None:
    def begin(name: str, values: str) -> None:
        """With a byte order mark and `values`, of which some occur again."""
        file = workshop.checkpoint / name
        file.write_text("\ufeff{" + values + file.read_text(encoding="utf-8").lstrip("{ "), encoding="utf-8")

    begin("config.json", '"vocab_size": 5, "slope": NaN, "bound": Infinity,')
    begin("generation_config.json", '"eos_token_id": 7, "do_sample": true, "temperature": NaN,')
    begin("tokenizer_config.json", '"eos_token": "<s>",')
    workshop.build()
    model = workshop.engine / "model" / "openvino_model.bin"
    assert model.read_bytes() == (built.engine / "model" / "openvino_model.bin").read_bytes()
    assert EngineConfig.load(workshop.engine).eos_token_ids == EngineConfig.load(built.engine).eos_token_ids
    assert "temperature" not in json.loads((workshop.engine / "model" / "generation_config.json").read_bytes())


def test_weights_are_stored_no_wider_than_the_checkpoint_stores_them(built: Workshop) -> None:
    stored = (built.checkpoint / "model.safetensors").stat().st_size
    assert (built.engine / "model" / "openvino_model.bin").stat().st_size < 1.1 * stored


@pytest.mark.parametrize(("quantization", "dtype"), [("int8", "float32"), ("int4", "float16")])
def test_weights_are_compressed_and_the_engine_still_writes(
    workshop: Workshop, built: Workshop, quantization: str, dtype: str
) -> None:
    engine = workshop.build(f'[build]\nquantization = "{quantization}"\ndtype = "{dtype}"')
    assert EngineConfig.load(engine.directory).dtype == dtype
    compressed, full = (path / "model" / "openvino_model.bin" for path in (engine.directory, built.engine))
    assert compressed.stat().st_size < (0.65 if quantization == "int8" else 0.5) * full.stat().st_size
    assert [len(answer) > 0 for answer in greedy_from_engine(engine.directory / "model", PROMPTS)] == [True] * 3


def test_nothing_is_built_when_nothing_has_changed(
    built_workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(built_workshop.engine)
    built_workshop.build()
    capsys.readouterr()
    stamps = {path: path.stat().st_mtime_ns for path in built_workshop.engine.resolve().rglob("*")}
    built_workshop.build()
    assert "tiny: up to date" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in built_workshop.engine.resolve().rglob("*")} == stamps
    after = contents(built_workshop.engine)
    # The copied checkpoint's inodes are new; everything else is as it was.
    assert {**after, "manifest.json": ""} == {**before, "manifest.json": ""}


def test_a_touched_checkpoint_is_hashed_again_and_not_built_again(
    built_workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    (built_workshop.checkpoint / "model.safetensors").touch()
    built_workshop.build()
    assert "up to date" in capsys.readouterr().err


def test_a_changed_build_setting_builds_anew_and_removes_the_old_engine(
    built_workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    old = built_workshop.engine.resolve()
    engine = built_workshop.build('[build]\ndtype = "bfloat16"')
    assert "building (dtype float32 → bfloat16)" in capsys.readouterr().err
    config = EngineConfig.load(engine.directory)
    assert (config.dtype, config.kv_cache_dtype) == ("bfloat16", "bfloat16")
    assert all(greedy_from_engine(engine.directory / "model", PROMPTS))
    assert not old.exists()
    assert built_workshop.store == {"engine", "tiny.lock", "tiny.log"}


def test_a_damaged_engine_is_built_anew(built_workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    weights = built_workshop.engine / "model" / "openvino_model.bin"
    size = weights.stat().st_size
    os.truncate(weights, 100)
    built_workshop.build()
    assert "building (model/openvino_model.bin is damaged)" in capsys.readouterr().err
    assert weights.stat().st_size == size
    assert built_workshop.store == {"engine", "tiny.lock", "tiny.log"}


def test_a_change_of_the_tokenizer_alone_exports_no_weights_again(
    built_workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = built_workshop.engine / "model" / "openvino_model.bin"
    inode, model = weights.stat().st_ino, contents(built_workshop.engine / "model")
    (built_workshop.checkpoint / "chat_template.jinja").write_text(TEMPLATE.replace("<", "["))
    built_workshop.configure("tokenizer_config.json", model_max_length=7)
    engine = built_workshop.build()
    said = capsys.readouterr().err
    assert "tiny: building (chat_template.jinja changed, tokenizer_config.json changed)" in said
    assert "model: reused, and not exported again" in said
    assert (weights.stat().st_ino, contents(built_workshop.engine / "model")) == (inode, model)
    assert "[{{ m.role }}>" in (engine.directory / "tokenizer" / "chat_template.jinja").read_text()
    assert built_workshop.damage == []
    assert built_workshop.store == {"engine", "tiny.lock", "tiny.log"}
    built_workshop.build()
    assert "tiny: up to date" in capsys.readouterr().err


@pytest.mark.parametrize("also", ["a damaged model", "a setting"])
def test_a_change_of_more_than_the_tokenizer_exports_the_weights_again(
    built_workshop: Workshop, capsys: pytest.CaptureFixture[str], also: str
) -> None:
    built_workshop.configure("tokenizer_config.json", model_max_length=7)
    if also == "a damaged model":
        os.truncate(built_workshop.engine / "model" / "openvino_model.bin", 100)
    built_workshop.build('[build]\ndtype = "bfloat16"' if also == "a setting" else "")
    assert "reused" not in capsys.readouterr().err
    assert built_workshop.damage == []


def test_a_changed_checkpoint_is_built_anew(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    workshop.build(REPLAY, runtime="replay")
    workshop.configure("generation_config.json", eos_token_id=[1, 2])
    workshop.build(REPLAY, runtime="replay")
    assert "building (generation_config.json changed)" in capsys.readouterr().err
    assert EngineConfig.load(workshop.engine).eos_token_ids == (1, 2)
    assert workshop.store == {"engine", "tiny.lock", "tiny.log"}


def test_serving_settings_are_rendered_without_a_build(
    built_workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    model = contents(built_workshop.engine / "model")
    engine = built_workshop.build("[build]\nmax_batch_size = 3\n[serve]\nflush_interval_ms = 0\n[sampling]\ntop_k = 7")
    assert "up to date" in capsys.readouterr().err
    config = EngineConfig.load(engine.directory)
    assert (config.max_batch_size, config.flush_interval_s, config.sampling.top_k) == (3, 0, 7)
    assert contents(built_workshop.engine / "model") == model


def test_intervals_that_a_spec_names_are_kept_and_others_are_the_runtimes(built_workshop: Workshop) -> None:
    def intervals(serve: str) -> tuple[float, ...]:
        config = EngineConfig.load(built_workshop.build(serve).directory)
        return config.few_streams_flush_interval_s, config.flush_interval_s, config.max_gap_s, config.max_step_s

    assert intervals("") == (0.05, 0.1, 0.2, 120)
    assert intervals("[serve]\nflush_interval_ms = 250\nmax_gap_ms = 0\nmax_step_s = 9") == (0.25, 0.25, 0, 9)


def test_an_engine_that_is_held_outlives_its_successors_build(built_workshop: Workshop) -> None:
    engine = ensure_engine(str(built_workshop.spec))
    with engine.hold() as repository:
        before = contents(repository)
        built_workshop.build(REPLAY, runtime="replay")
        assert contents(repository) == before
        with engine.hold() as successor:
            assert successor != repository
    built_workshop.build(REPLAY, runtime="replay")
    assert not repository.exists(), "nobody holds it any more"


def test_a_built_directory_is_served_where_it_lies_without_spec_or_checkpoint(built: Workshop, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(built.engine, tmp_path / "elsewhere"))
    (copy / "triton" / "tiny" / "config.pbtxt").write_text("stale")
    (copy / "triton" / "stray_model").mkdir()
    engine = ensure_engine(str(copy))
    with engine.hold() as repository:
        assert (engine.name, repository) == ("tiny", copy / "triton")
    assert contents(copy / "triton") == contents(built.engine / "triton")
    os.truncate(copy / "tokenizer" / "tokenizer.json", 1)
    with pytest.raises(BuildError, match=r"tokenizer/tokenizer\.json: damaged"):
        ensure_engine(str(copy))


def test_the_tokenizer_of_an_engine_encodes_chats(built: Workshop) -> None:
    chat = {"messages": [{"role": "user", "content": "hé"}]}
    with closing(PromptEncoder.load(built.engine / "tokenizer", 256)) as encoder:
        ids = encoder.encode(Prompt(chat=json.dumps(chat).encode()))
    assert len(ids) == len("<user>hé".encode()) + 1  # and </s>


def test_a_replay_engine_needs_a_tokenizer_and_no_weights(workshop: Workshop) -> None:
    (workshop.checkpoint / "model.safetensors").unlink()
    text = '[replay]\ntext = "a b 🐚"\ntokens_per_second = 5'
    config = EngineConfig.load(workshop.build(text, runtime="replay").directory)
    assert config.replay is not None
    assert (len(config.replay.token_ids), config.replay.tokens_per_second) == (len("a b 🐚".encode()), 5)
    assert not (workshop.engine / "model").exists()
    assert EngineConfig.load(workshop.build(text.replace("a b", "a"), runtime="replay").directory) != config


@pytest.mark.usefixtures("cold_steps")
def test_code_that_lies_with_a_checkpoint_is_never_run(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = workshop.root / "trapped"
    for module in ("modeling_tiny", "tokenization_tiny", "torch", "configuration_tiny"):
        (workshop.checkpoint / f"{module}.py").write_text(f"open({str(trap)!r}, 'w')")
    (workshop.checkpoint / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    workshop.configure("config.json", auto_map={"AutoModelForCausalLM": "modeling_tiny.Tiny"})
    workshop.configure("tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_tiny.Tiny", None]})
    spec = workshop.write_spec()
    monkeypatch.chdir(workshop.checkpoint)
    engine = ensure_engine(spec)
    assert not trap.exists()
    assert "auto_map" not in (engine.directory / "tokenizer" / "tokenizer_config.json").read_text()
