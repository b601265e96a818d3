"""`conch build` of NeMo checkpoints: written out as HuggingFace, planned and built like any other."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from build_scripts.weights.hf_writer import write_huggingface
from build_scripts.weights.huggingface import open_huggingface
from build_scripts.weights.opening import open_checkpoint
from tests.build_scripts.checkpoints import make_checkpoint
from tests.build_scripts.conftest import Workshop, contents
from tests.build_scripts.tensorrt_llm.sharding.test_sharding import assert_equal, recombined
from tests.build_scripts.test_command import run
from tests.build_scripts.weights.nemo.nemo_checkpoints import make_nemo1, megatron_state, nemo1_members, write_tar
from tests.build_scripts.weights.nemo.test_nemo import SMALL
from tests.build_scripts.weights.nemo.torch_dist_checkpoints import make_bridge, make_nemo2, stacked
from triton_repo.contract.errors import BuildError

TEXT_FILES = ("tokenizer.json", "tokenizer_config.json")
SPLIT = "[build]\ntensor_parallel = 2\n"


@pytest.fixture
def nemo_workshop(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """Its checkpoint lies in NeMo 2's form in the place of the one that it was; that one is in `original`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(workshop.root / "cache"))
    original = workshop.checkpoint.rename(workshop.root / "original")
    make_nemo2(workshop.checkpoint, original, stacked(megatron_state(original)), tp=2)
    for name in TEXT_FILES:
        shutil.copy(original / name, workshop.checkpoint / "context" / "nemo_tokenizer" / name)
    return workshop


def test_a_nemo_checkpoint_is_built_like_any_other(nemo_workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    engine = nemo_workshop.build(SPLIT, runtime="tensorrt_llm")
    shards = nemo_workshop.engine / "model" / "checkpoint"
    ranks = [load_file(shards / f"rank{rank}.safetensors") for rank in range(2)]
    assert_equal(recombined(shards, ranks), nemo_workshop.root / "original")
    manifest = json.loads((engine.directory / "manifest.json").read_text())
    assert manifest["spec"]["model"] == "tiny/checkpoint"
    assert manifest["facts"]["eos_token_ids"] == [1]
    assert manifest["chat"]
    capsys.readouterr()
    nemo_workshop.build(SPLIT, runtime="tensorrt_llm")
    assert "tiny: up to date" in capsys.readouterr().err


def test_a_plan_of_a_nemo_checkpoint_writes_no_weights(nemo_workshop: Workshop) -> None:
    nemo_workshop.write_spec(SPLIT, runtime="tensorrt_llm")
    done = run("tiny.toml", "--plan", "--json", cwd=nemo_workshop.root)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["ranks"]) == 2
    cached = contents(nemo_workshop.root / "cache")
    beside = {"config.json", "generation_config.json", "converted_from.txt", *TEXT_FILES}
    assert {Path(name).name for name in cached} == {"lock", *beside}


def test_a_checkpoint_that_changed_is_converted_anew(nemo_workshop: Workshop) -> None:
    nemo_workshop.build(SPLIT, runtime="tensorrt_llm")
    model = nemo_workshop.checkpoint / "context" / "model.yaml"
    values = yaml.safe_load(model.read_text())
    values["config"]["rotary_base"] = 20000
    model.write_text(yaml.safe_dump(values))
    nemo_workshop.build(SPLIT, runtime="tensorrt_llm")
    config = json.loads((nemo_workshop.engine / "model" / "checkpoint" / "config.json").read_text())
    assert config["rotary_base"] == 20000


def test_the_command_writes_a_nemo_checkpoint_out_as_huggingface(tmp_path: Path) -> None:
    original = make_checkpoint(tmp_path / "original", **SMALL)
    make_nemo1(tmp_path / "x.nemo", original, tp=2)
    flags = ("--model", "x.nemo", "--to", "hf", "--output-dir", "hf")
    done = run(*flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("hf: written\n")
    expected, found = (load_file(path / "model.safetensors") for path in (original, tmp_path / "hf"))
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    before = contents(tmp_path)
    again = run(*flags, cwd=tmp_path)
    assert again.returncode == 1
    assert "hf: exists already; name a new directory" in again.stderr
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("flags", "complaint", "code"),
    [
        (["--to", "gguf", "--model", "x", "--output-dir", "y"], 'error: --to = "gguf"; allowed: hf', 2),
        (["--to", "hf", "--model", "x"], "error: --to hf: give --model", 2),
        (["--to", "hf", "--model", "x", "--output-dir", "y"], "error: x: no such file or directory", 1),
        (["--to", "hf", "--model", ".", "--output-dir", "y"], "error: .: no config.json in .", 1),
    ],
)
def test_a_conversion_that_cannot_be_is_refused(tmp_path: Path, flags: list[str], complaint: str, code: int) -> None:
    done = run(*flags, cwd=tmp_path)
    assert (done.returncode, complaint in done.stderr) == (code, True), done.stderr
    assert not os.listdir(tmp_path)


def test_large_checkpoints_are_written_in_files_with_an_index(tmp_path: Path) -> None:
    original = make_checkpoint(tmp_path / "original", **SMALL)
    done: list[int] = []
    write_huggingface(open_huggingface(original, "x"), tmp_path / "hf", done.append, max_file_bytes=5000)
    sizes = [path.stat().st_size for path in (tmp_path / "hf").glob("model-*.safetensors")]
    assert len(sizes) > 3
    expected, found = open_huggingface(original, "x").weights, open_huggingface(tmp_path / "hf", "x").weights
    assert done[-1] == sum(tensor.nbytes for tensor in expected.values())
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name].read(), tensor.read()) for name, tensor in expected.items())


def test_a_source_that_ends_too_soon_leaves_nothing_behind(tmp_path: Path) -> None:
    path = make_nemo1(tmp_path / "x.nemo", make_checkpoint(tmp_path / "original", **SMALL))
    view = open_checkpoint(path, "x")
    os.truncate(path, 9000)
    before = contents(tmp_path)
    with pytest.raises(BuildError, match=r"x\.nemo \(model_weights\.ckpt\): .*: truncated: \d+ bytes are missing"):
        write_huggingface(view, tmp_path / "hf")
    assert contents(tmp_path) == before
    assert not [entry for entry in os.listdir(tmp_path) if entry.startswith((".partial", "hf"))]


def sentencepiece(pieces: int) -> bytes:
    from transformers.utils import sentencepiece_model_pb2_new

    messages: Any = sentencepiece_model_pb2_new
    model = messages.ModelProto()
    for piece in ("<unk>", "<s>", "</s>", *(f"p{number}" for number in range(pieces - 3))):
        model.pieces.add(piece=piece, score=0.0)
    return bytes(model.SerializeToString())


def test_the_tokenizer_of_an_archive_says_how_many_rows_are_padding(tmp_path: Path) -> None:
    original = make_checkpoint(tmp_path / "original", **SMALL)
    model = sentencepiece(SMALL["vocab_size"])
    members = nemo1_members(
        original,
        extra={"0a1b_tokenizer.model": model},
        tokenizer={"library": "sentencepiece", "model": "nemo:0a1b_tokenizer.model"},
        override_vocab_size=None,
    )
    view = open_checkpoint(write_tar(tmp_path / "x.nemo", members), "x")
    assert view.weights["model.embed_tokens.weight"].shape[0] == view.config["vocab_size"] == SMALL["vocab_size"]
    assert (view.config["bos_token_id"], view.config["eos_token_id"]) == (1, 2)
    assert view.text_files["tokenizer.model"] == model
    assert json.loads(view.text_files["tokenizer_config.json"])["eos_token"] == "</s>"


VOCABULARY = [f"p{number}" for number in range(SMALL["vocab_size"])]
TOKENIZER_MODELS: dict[str, dict[str, Any]] = {
    "BPE": {"type": "BPE", "vocab": {piece: id for id, piece in enumerate(VOCABULARY)}, "merges": []},
    "Unigram": {"type": "Unigram", "unk_id": 0, "vocab": [[piece, -1.0] for piece in VOCABULARY]},
}


@pytest.mark.parametrize("kind", TOKENIZER_MODELS)
def test_a_fast_tokenizer_of_any_kind_says_how_many_rows_are_padding(tmp_path: Path, kind: str) -> None:
    original = make_checkpoint(tmp_path / "original", **SMALL)
    path = make_nemo2(tmp_path / "x", original, megatron_state(original), vocab_size=None)
    tokenizer = {"model": TOKENIZER_MODELS[kind], "added_tokens": [{"id": 1, "content": "p1"}]}
    directory = path / "context" / "nemo_tokenizer"
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    (directory / "tokenizer_config.json").write_text(json.dumps({"bos_token": "p1", "eos_token": "p2"}))
    view = open_checkpoint(path, "x")
    assert view.weights["model.embed_tokens.weight"].shape[0] == view.config["vocab_size"] == SMALL["vocab_size"]
    assert (view.config["bos_token_id"], view.config["eos_token_id"]) == (1, 2)


def test_added_tokens_without_a_vocabulary_do_not_say_how_many_rows_there_are(tmp_path: Path) -> None:
    original = make_checkpoint(tmp_path / "original", **SMALL)
    path = make_nemo2(tmp_path / "x", original, megatron_state(original), vocab_size=None)
    tokenizer = {"model": {"vocab": "elsewhere"}, "added_tokens": [{"id": 1, "content": "p1"}]}
    (path / "context" / "nemo_tokenizer" / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert open_checkpoint(path, "x").config["vocab_size"] == 48


def test_a_sentencepiece_model_that_is_none_is_refused(tmp_path: Path) -> None:
    members = nemo1_members(
        make_checkpoint(tmp_path / "original", **SMALL),
        extra={"a_tokenizer.model": b"\xff\xff\xff"},
        tokenizer={"model": "nemo:a_tokenizer.model"},
    )
    with pytest.raises(BuildError, match=r"x\.nemo \(a_tokenizer\.model\): not a sentencepiece model"):
        open_checkpoint(write_tar(tmp_path / "x.nemo", members), "x")


def test_without_a_tokenizer_all_rows_are_kept(tmp_path: Path) -> None:
    original = make_checkpoint(tmp_path / "original", **SMALL)
    view = open_checkpoint(make_nemo1(tmp_path / "x.nemo", original, override_vocab_size=None), "x")
    assert (view.config["vocab_size"], view.text_files) == (48, {})


def test_the_generation_defaults_that_megatron_bridge_keeps_are_taken_over(tmp_path: Path) -> None:
    original = make_checkpoint(tmp_path / "original", **SMALL)
    kept = {"bos_token_id": 1, "eos_token_id": [2, 3], "do_sample": True, "temperature": 0.6, "max_length": 20}
    section = {"_target_": "transformers.GenerationConfig.from_dict", "config_dict": kept}
    path = make_bridge(tmp_path / "x", original, megatron_state(original), generation_config=section)
    view = open_checkpoint(path, "x")
    assert view.config["eos_token_id"] == [2, 3]
    del kept["max_length"]
    assert json.loads(view.text_files["generation_config.json"]) == kept


def test_of_several_iterations_the_one_that_is_said_to_be_the_latest_is_read(tmp_path: Path) -> None:
    original = make_checkpoint(tmp_path / "original", **SMALL)
    path = make_bridge(tmp_path / "x", original, megatron_state(original))
    shutil.copytree(path / "iter_0000010", path / "iter_0000020")
    assert str(open_checkpoint(path, "x").weights["model.norm.weight"].origin).startswith(f"{path}/iter_0000010/")
    (path / "latest_checkpointed_iteration.txt").unlink()
    with pytest.raises(BuildError, match="several iterations and no latest_checkpointed_iteration"):
        open_checkpoint(path, "x")
