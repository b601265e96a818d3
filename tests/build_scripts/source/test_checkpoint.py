"""What a checkpoint may be: every refusal is one sentence and leaves nothing behind."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from build_scripts.source.checkpoint import CheckpointFacts, resolve
from build_scripts.weights.huggingface import read_config
from tests.build_scripts.conftest import Workshop, contents
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import BuildError, SpecError
from triton_repo.contract.sampling import Sampling


def _edit_weights(workshop: Workshop, edit: Callable[[dict[str, Any]], None]) -> None:
    from safetensors.torch import load_file, save_file

    file = workshop.checkpoint / "model.safetensors"
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def _pickle_only(workshop: Workshop) -> None:
    (workshop.checkpoint / "model.safetensors").rename(workshop.checkpoint / "pytorch_model.bin")


def _index(workshop: Workshop, shard: str) -> None:
    (workshop.checkpoint / "model.safetensors").unlink()
    _index_of_others(workshop, shard)


def _index_of_others(workshop: Workshop, shard: str = "model-00001-of-00001.safetensors") -> None:
    index = {"metadata": {}, "weight_map": {"lm_head.weight": shard}}
    (workshop.checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))


def _instead_of_config(workshop: Workshop, file: str, **values: str) -> None:
    (workshop.checkpoint / "config.json").unlink()
    (workshop.checkpoint / file).write_text(json.dumps(values))


def _drop_norm(tensors: dict[str, Any]) -> None:
    del tensors["model.norm.weight"]


def _add(name: str, dtype: str = "float16") -> Callable[[Workshop], None]:
    import torch

    value = torch.ones(2, 2).to(getattr(torch, dtype))
    return lambda workshop: _edit_weights(workshop, lambda tensors: tensors.update({name: value}))


def _said_in(file: str, **values: object) -> Callable[[Workshop], object]:
    return lambda workshop: (workshop.checkpoint / file).write_text(json.dumps(values))


def _spoil_head(tensors: dict[str, Any]) -> None:
    tensors["lm_head.weight"][3, 4] = float("nan")


def _config(text: str) -> Callable[[Workshop], object]:
    return lambda workshop: (workshop.checkpoint / "config.json").write_text(text)


def _template(source: str) -> Callable[[Workshop], None]:
    return lambda workshop: workshop.configure("tokenizer_config.json", chat_template=source)


BAD_CHECKPOINTS: dict[str, tuple[Callable[[Workshop], object], str]] = {
    "no weights": (lambda w: (w.checkpoint / "model.safetensors").unlink(), "no model.safetensors in "),
    "pickles": (_pickle_only, "pytorch_model.bin: not a readable torch.save file"),
    "missing shard": (lambda w: _index(w, "model-00001-of-00002.safetensors"), "no model-00001-of-00002.safetensors"),
    "shard elsewhere": (
        lambda w: _index(w, "../model.safetensors"),
        "'../model.safetensors' must be the name of a file in the same directory",
    ),
    "truncated": (lambda w: os.truncate(w.checkpoint / "model.safetensors", 5000), "data: truncated"),
    "missing tensor": (lambda w: _edit_weights(w, _drop_norm), "1 weights are missing, the first is model.norm.weight"),
    "not finite": (lambda w: _edit_weights(w, _spoil_head), "lm_head.weight has values that are not finite in float16"),
    "two sets of weights": (_index_of_others, "two sets of weights: remove model.safetensors.index"),
    "no config": (lambda w: (w.checkpoint / "config.json").unlink(), "no config.json in "),
    "an adapter": (
        lambda w: _instead_of_config(w, "adapter_config.json", base_model_name_or_path="org/base"),
        "; it is a LoRA adapter of org/base: build the model that it adapts",
    ),
    "a publisher's own format": (lambda w: _instead_of_config(w, "params.json"), "is the publisher's own format"),
    "config not JSON": (_config("{"), "checkpoint: config.json: not valid JSON: "),
    "config that is a list": (_config("[]"), "checkpoint: config.json: must be a JSON object"),
    "nested without end": (_config('{"a": ' * 99_999), "checkpoint: config.json: nested too deeply"),
    "config of odd types": (
        lambda w: w.configure("config.json", head_dim="9", architectures=3),
        "config.json: architectures = 3; needs a …ForCausalLM",
    ),
    "eos of an odd type": (lambda w: w.configure("generation_config.json", eos_token_id=["x"]), "eos_token_ids"),
    "index of an odd type": (
        lambda w: (w.checkpoint / "model.safetensors.index.json").write_text('{"weight_map": []}'),
        "weight_map must name the file of each weight",
    ),
    "template not text": (lambda w: (w.checkpoint / "chat_template.jinja").write_bytes(b"\xff"), "chat template: "),
    "encoder": (lambda w: w.configure("config.json", architectures=["BertModel"]), "needs a …ForCausalLM"),
    "attention to what follows": (
        lambda w: w.configure("config.json", is_causal=False),
        "config.json: is_causal = false; attention to what follows is of encoders",
    ),
    "no vocabulary": (lambda w: w.configure("config.json", vocab_size=0), "config.json: vocab_size = 0"),
    "quantized": (
        lambda w: w.configure("config.json", quantization_config={"quant_method": "gptq"}),
        "already quantized (gptq)",
    ),
    "quantized by ModelOpt": (
        _said_in("hf_quant_config.json", quantization={"quant_algo": "FP8"}),
        "already quantized (fp8)",
    ),
    "quantized by AutoGPTQ": (_said_in("quantize_config.json", bits=4), "already quantized (gptq)"),
    "quantized by AutoAWQ": (_said_in("quant_config.json", w_bit=4), "already quantized (awq)"),
    "quantized by MLX": (
        lambda w: w.configure("config.json", quantization={"bits": 4, "group_size": 64}),
        "already quantized (mlx)",
    ),
    "quantized by SparseML": (
        lambda w: w.configure("config.json", compression_config={"quant_method": "compressed-tensors"}),
        "already quantized (compressed-tensors)",
    ),
    "quantized, and it does not say so": (
        _add("model.layers.0.mlp.up_proj.weight", "float8_e4m3fn"),
        "model.layers.0.mlp.up_proj.weight: dtype float8_e4m3fn; allowed: float32, float16, bfloat16, float64",
    ),
    "scales of quantized weights": (
        _add("model.layers.0.mlp.up_proj.weight_scale"),
        "1 weights have no place in a LlamaForCausalLM of this config.json, which would answer without them; "
        "the first is model.layers.0.mlp.up_proj.weight_scale",
    ),
    "half a character": (
        lambda w: w.configure("tokenizer_config.json", pad_token="\ud800"),
        "tokenizer_config.json: has a lone surrogate (half a character), '\\ud800'",
    ),
    "no tokenizer": (lambda w: (w.checkpoint / "tokenizer.json").unlink(), "no tokenizer: neither tokenizer.json"),
    "broken tokenizer": (lambda w: (w.checkpoint / "tokenizer.json").write_text("{}"), "tokenizer: "),
    "template syntax": (_template("{% for %}"), "tokenizer and chat template: "),
    "template memory": (
        _template("{{ 'a' * 10**11 }}"),
        "tokenizer and chat template: messages: the chat template takes more than 512 MiB of memory for them",
    ),
    "template output": (
        _template("{% for i in range(9999) %}{{ 'a' * 9999 }}{% endfor %}"),
        "tokenizer and chat template: messages: the prompt is longer",
    ),
    "template that reaches out": (
        _template("{{ ''.__class__.__mro__[1].__subclasses__() }}"),
        "tokenizer and chat template: messages: rejected by the chat template",
    ),
    "template without end": (
        _template("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"),
        "tokenizer and chat template: messages: the chat template takes longer than 2 s of CPU time for them",
    ),
}


@pytest.mark.parametrize("kind", BAD_CHECKPOINTS)
def test_a_bad_checkpoint_is_refused_and_the_old_engine_stays(built_workshop: Workshop, kind: str) -> None:
    spoil, complaint = BAD_CHECKPOINTS[kind]
    before = contents(built_workshop.engine)
    spoil(built_workshop)
    with pytest.raises(BuildError) as refused:
        built_workshop.build()
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)
    assert contents(built_workshop.engine) == before
    assert built_workshop.store <= {"engine", "tiny.lock", "tiny.log"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "[build]\nmax_seq_len = 512",
            "build.max_seq_len = 512; must be ≤ 256, the checkpoint's max_position_embeddings",
        ),
        (
            "[serve]\nmax_tokens_in_paged_kv_cache = 100",
            "serve.max_tokens_in_paged_kv_cache = 100; must be ≥ build.max_seq_len (256)",
        ),
        (
            "[build]\nmax_num_tokens = 128\n[serve]\nenable_chunked_context = false",
            "build.max_num_tokens = 128; must be ≥ build.max_seq_len (256) where serve.enable_chunked_context = false",
        ),
    ],
)
def test_a_spec_that_asks_for_more_than_the_checkpoint_has_is_refused(
    workshop: Workshop, text: str, complaint: str
) -> None:
    with pytest.raises(SpecError) as refused:
        workshop.build(text)
    assert str(refused.value).startswith(f"{workshop.spec}: {complaint}")
    assert not workshop.engine.exists()


def _facts(workshop: Workshop) -> CheckpointFacts:
    with resolve("tiny/checkpoint", workshop.root) as checkpoint:
        return checkpoint.facts()


def test_end_tokens_come_from_the_generation_config_or_else_from_the_config(workshop: Workshop) -> None:
    workshop.configure("generation_config.json", eos_token_id=[5, 6])
    assert _facts(workshop).eos_token_ids == (5, 6)
    (workshop.checkpoint / "generation_config.json").unlink()
    assert _facts(workshop).eos_token_ids == (1,)


@pytest.mark.parametrize("broken", ['{"eos_token_id": 5,}', "", '{"eos_token_id": 5'])
def test_a_broken_generation_config_is_ignored_as_transformers_ignores_it(
    workshop: Workshop, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    (workshop.checkpoint / "generation_config.json").write_text(broken, encoding="utf-8")
    assert _facts(workshop).eos_token_ids == (1,)
    assert "generation_config.json: " in (said := capsys.readouterr().err)
    assert ": the file is ignored" in said


def test_sampling_of_the_checkpoint_counts_only_where_it_samples(workshop: Workshop) -> None:
    workshop.configure("generation_config.json", temperature=0.6, top_k=20, repetition_penalty=1.05)
    assert _facts(workshop).sampling == Sampling(repetition_penalty=1.05)  # which transformers applies to greedy ones
    workshop.configure("generation_config.json", do_sample=True)
    assert (_facts(workshop).sampling.temperature, _facts(workshop).sampling.top_k) == (0.6, 20)


@pytest.mark.parametrize(
    ("name", "written", "taken"),
    [
        ("top_k", 50.0, 50),
        ("top_k", -1, 0),
        ("top_p", 0.0, 1e-6),
        ("top_p", 7, 1.0),
        ("temperature", 0, 0.0),
        ("temperature", "0.7", 0.7),
        ("temperature", 1e9, 2.0),
        ("repetition_penalty", 2.5, 2.0),
        ("repetition_penalty", 0, 0.01),
        ("min_p", float("nan"), None),
        ("min_p", [0.1], None),
        ("min_p", True, None),
        ("min_p", None, None),
    ],
)
def test_defaults_out_of_range_are_clamped_or_left_out_with_a_note(
    workshop: Workshop, capsys: pytest.CaptureFixture[str], name: str, written: Any, taken: float | None
) -> None:
    workshop.configure("generation_config.json", do_sample=True, **{name: written})
    assert getattr(_facts(workshop).sampling, name) == taken
    same = written is None or taken == written or str(taken) == written
    assert (f"generation_config.json: {name} = " in capsys.readouterr().err) is not same


def test_a_key_that_occurs_twice_has_its_last_value_as_transformers_has_it(workshop: Workshop) -> None:
    config = workshop.checkpoint / "config.json"
    config.write_text(config.read_text().replace("{", '{"vocab_size": 5, ', 1))
    assert _facts(workshop).vocab_size == 320
    assert read_config(workshop.checkpoint, "x")["vocab_size"] == 320


@pytest.mark.parametrize("ids", [[[1]], {"a": 1}, [1, {"b": 2}]])
def test_end_tokens_that_are_no_numbers_are_rejected_by_name(workshop: Workshop, ids: Any) -> None:
    workshop.configure("config.json", eos_token_id=ids)
    workshop.configure("generation_config.json", eos_token_id=None)
    with pytest.raises(BuildError, match=r"config\.json: .*eos_token_ids"):
        _facts(workshop)


@pytest.mark.parametrize("none", [None, -1, [], [None]])
def test_a_generation_config_without_an_end_token_leaves_it_to_the_config(workshop: Workshop, none: Any) -> None:
    workshop.configure("generation_config.json", eos_token_id=none)
    assert _facts(workshop).eos_token_ids == (1,)
    workshop.configure("config.json", eos_token_id=None)
    assert _facts(workshop).eos_token_ids == ()


def test_the_spec_wins_over_the_checkpoint_and_the_checkpoint_over_openai(workshop: Workshop) -> None:
    workshop.configure("generation_config.json", do_sample=True, temperature=0.6, top_p=0.9)
    engine = workshop.build('[sampling]\ntemperature = 0\n[replay]\ntext = "a"', runtime="replay")
    sampling = EngineConfig.load(engine.directory).sampling
    assert (sampling.temperature, sampling.top_p, sampling.presence_penalty) == (0, 0.9, 0)


def test_a_template_of_several_is_the_default_one(workshop: Workshop) -> None:
    templates = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    workshop.configure("tokenizer_config.json", chat_template=templates)
    engine = workshop.build('[replay]\ntext = "a"', runtime="replay")
    assert (engine.directory / "tokenizer" / "chat_template.jinja").read_text() == "plain"


def test_a_base_model_has_no_chat(workshop: Workshop) -> None:
    (workshop.checkpoint / "tokenizer_config.json").write_text("{}")
    engine = workshop.build('[replay]\ntext = "a"', runtime="replay")
    assert not EngineConfig.load(engine.directory).card.chat


def test_a_vocabulary_and_merges_become_a_fast_tokenizer(workshop: Workshop) -> None:
    tokenizer = json.loads((workshop.checkpoint / "tokenizer.json").read_text())
    (workshop.checkpoint / "tokenizer.json").unlink()
    (workshop.checkpoint / "vocab.json").write_text(json.dumps(tokenizer["model"]["vocab"]))
    (workshop.checkpoint / "merges.txt").write_text("#version: 0.2\n")
    workshop.configure("tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    config = EngineConfig.load(workshop.build('[replay]\ntext = "abc"', runtime="replay").directory)
    vocabulary = tokenizer["model"]["vocab"]
    assert config.replay is not None
    assert config.replay.token_ids == tuple(vocabulary[letter] for letter in "abc")


@pytest.mark.parametrize("model", ["not/a/hub/id", "models/x.gguf", "x.gguf"])
def test_a_model_that_is_nowhere_is_said_to_be_nowhere(tmp_path: Path, model: str) -> None:
    missing = resolve(model, tmp_path)
    with pytest.raises(BuildError, match=f"{model}: no such file or directory"), missing:
        pass
