"""`conch build` of GGUF files: written out as HuggingFace, planned, sharded, verified and exported like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import openvino
import pytest
import torch
import transformers
from safetensors.torch import load_file

from build_scripts.source.convert import convert
from tests.build_scripts.checkpoints import make_checkpoint
from tests.build_scripts.conftest import Workshop, contents
from tests.build_scripts.test_command import run
from tests.build_scripts.weights.gguf.gguf_checkpoints import arrays_of, make_gguf
from tests.build_scripts.weights.gguf.test_gguf import SMALL, written
from triton_repo.contract.errors import BuildError

SPLIT = "[build]\ntensor_parallel = 2\n"


@pytest.fixture
def gguf_workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """Its checkpoint is a directory with one GGUF file, of 8 bits; what it was made of is in `original`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    workshop = Workshop(tmp_path)
    make_checkpoint(tmp_path / "original", **{**SMALL, "num_hidden_layers": 4, "head_dim": 32})
    workshop.checkpoint.mkdir(parents=True)
    make_gguf(workshop.checkpoint / "model-Q8_0.gguf", tmp_path / "original", "Q8_0")
    return workshop


def dequantized(original: Path, kind: str) -> Any:
    """transformers' model of the checkpoint with the values that the `gguf` package makes of its matrices."""
    quantization = gguf.GGMLQuantizationType[kind]
    _, arrays = arrays_of(original)
    values = {
        name: gguf.dequantize(gguf.quantize(array, quantization), quantization) if array.ndim > 1 else array
        for name, array in arrays.items()
    }
    config = json.loads((original / "config.json").read_text(encoding="utf-8"))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(original, dtype=torch.float32)
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    with torch.no_grad():
        for name, weight in model.named_parameters():
            value = torch.from_numpy(values[str(names.get_name(name, try_suffixes=(".weight", ".bias")))])
            for part, count in heads.items():
                if part in name:  # the converter's order undone
                    value = value.reshape(count, -1, 2, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
            weight.copy_(value)
    return model.eval()


def test_the_engine_computes_what_transformers_computes_from_the_dequantized_weights(gguf_workshop: Workshop) -> None:
    gguf_workshop.build()
    compiled: Any = openvino.Core().compile_model(
        gguf_workshop.engine / "model" / "openvino_model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    ids = np.arange(3, 43, dtype=np.int64)[None]
    inputs = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "position_ids": np.arange(ids.shape[1], dtype=np.int64)[None],
        "beam_idx": np.zeros(1, np.int32),
    }
    found = compiled(inputs)["logits"]
    with torch.no_grad():
        expected = dequantized(gguf_workshop.root / "original", "Q8_0")(torch.from_numpy(ids)).logits.numpy()
    assert np.abs(expected).max() > 1
    assert np.abs(found - expected).max() < 1e-4
    assert gguf_workshop.manifest.facts.eos_token_ids == (2,)
    assert gguf_workshop.manifest.chat


def test_it_is_up_to_date_until_the_file_changes(gguf_workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    def build() -> str:
        gguf_workshop.build('[replay]\ntext = "a"\n', runtime="replay")
        return capsys.readouterr().err

    assert "building (not built yet)" in build()
    assert "tiny: up to date" in build()
    file = gguf_workshop.checkpoint / "model-Q8_0.gguf"
    make_gguf(file, gguf_workshop.root / "original", "Q8_0", changes=lambda writer: writer.add_eot_token_id(0))
    assert "building (" in build()
    assert gguf_workshop.manifest.facts.eos_token_ids == (2, 0)


def test_its_shards_are_verified_against_transformers(gguf_workshop: Workshop) -> None:
    gguf_workshop.write_spec('[build]\ntensor_parallel = 2\npipeline_parallel = 2\ndtype = "float32"\n', "tensorrt_llm")
    done = run("tiny.toml", "--verify", "--json", cwd=gguf_workshop.root)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["passed"]
    assert len(list((gguf_workshop.engine / "model" / "checkpoint").glob("rank*.safetensors"))) == 4


def test_a_plan_reads_no_weights(gguf_workshop: Workshop) -> None:
    file = gguf_workshop.checkpoint / "model-Q8_0.gguf"
    gguf_workshop.write_spec(SPLIT, runtime="tensorrt_llm")
    done = run("tiny.toml", "--plan", "--json", cwd=gguf_workshop.root)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["ranks"]) == 2
    cached = {Path(name).name for name in contents(gguf_workshop.root / "cache")}
    texts = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert cached == {"lock", "converted_from.txt", *texts}
    assert file.is_file()


def test_the_command_writes_a_file_out_as_huggingface(gguf_workshop: Workshop) -> None:
    flags = ("--model", "tiny/checkpoint/model-Q8_0.gguf", "--to", "hf", "--output-dir", "hf")
    done = run(*flags, cwd=gguf_workshop.root)
    assert done.returncode == 0, done.stderr
    loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(gguf_workshop.root / "hf", dtype=torch.float32)
    expected = dequantized(gguf_workshop.root / "original", "Q8_0").state_dict()
    assert all(torch.equal(weight, expected[name]) for name, weight in loaded.state_dict().items())
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(gguf_workshop.root / "hf")
    assert tokenizer.decode(tokenizer("<|im_start|>the 123").input_ids) == "<|im_start|>the 123"
    again = run(*flags, cwd=gguf_workshop.root)
    assert (again.returncode, "hf: exists already" in again.stderr) == (1, True)


def test_a_split_model_is_read_from_any_of_its_parts(tmp_path: Path) -> None:
    original = make_checkpoint(tmp_path / "original", **SMALL)
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    make_gguf(tmp_path / "whole" / "x.gguf", original)
    make_gguf(tmp_path / "parts" / "x.gguf", original, max_tensors=9)
    parts = sorted((tmp_path / "parts").iterdir())
    assert [part.name for part in parts] == [f"x-{number:05}-of-00004.gguf" for number in range(1, 5)]
    expected = written(tmp_path / "whole" / "x.gguf")
    for number, source in enumerate((parts[0], parts[2], tmp_path / "parts")):
        convert("hf", str(source), tmp_path / f"hf{number}")
        found = load_file(tmp_path / f"hf{number}" / "model.safetensors")
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    parts[1].unlink()
    with pytest.raises(BuildError, match=r"3 of 4 parts are there; missing: \[2\]"):
        convert("hf", str(tmp_path / "parts"), tmp_path / "none")
    parts[2].rename(tmp_path / "parts" / "x-00002-of-00004.gguf")
    parts[3].rename(tmp_path / "parts" / "x-00003-of-00004.gguf")
    with pytest.raises(BuildError):
        convert("hf", str(tmp_path / "parts"), tmp_path / "none")


def test_a_directory_of_several_models_asks_for_one(tmp_path: Path) -> None:
    original = make_checkpoint(tmp_path / "original", **SMALL)
    (tmp_path / "models").mkdir()
    for kind in ("Q8_0", "Q4_0"):
        make_gguf(tmp_path / "models" / f"x-{kind}.gguf", original, kind)
    for name in ("mmproj-x.gguf", "x-mmproj-F16.gguf", "imatrix.gguf", "x.imatrix.gguf", "mtp-x.gguf"):
        (tmp_path / "models" / name).write_bytes(b"GGUF")
    with pytest.raises(BuildError, match=r"2 GGUF models in .*; name the file: x-Q4_0.gguf, x-Q8_0.gguf"):
        convert("hf", str(tmp_path / "models"), tmp_path / "hf")
    (tmp_path / "models" / "x-Q4_0.gguf").unlink()
    convert("hf", str(tmp_path / "models"), tmp_path / "hf")


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = make_checkpoint(tmp_path / "original", **SMALL)
    path = make_gguf(tmp_path / "x.gguf", original)
    before = contents(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(BuildError, match="1,000 are free"):
        convert("hf", str(path), tmp_path / "hf")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["x.gguf.part1of2", "x.gguf-split-a"])
def test_a_file_that_was_cut_is_to_be_put_together(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"GGUF\x03\0\0\0")
    with pytest.raises(BuildError, match=r"a part of a file: cat x\.gguf.* > x\.gguf makes it whole"):
        convert("hf", str(tmp_path / name), tmp_path / "hf")
