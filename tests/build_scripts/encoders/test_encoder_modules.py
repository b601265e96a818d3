"""What sentence-transformers' files say, and which checkpoints are encoders."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from build_scripts.encoders.detection import is_encoder
from build_scripts.encoders.facts import Reading
from build_scripts.encoders.network import pool
from build_scripts.source.checkpoint import resolve
from build_scripts.source.encoder_modules import Dense, Modules, module_files, read_modules
from build_scripts.spec.embed import EmbedSection
from triton_repo.contract.errors import BuildError

ST = "sentence_transformers.models."
CONFIG = {"architectures": ["BertModel"], "model_type": "bert", "max_position_embeddings": 512, "type_vocab_size": 2}


def write(directory: Path, **files: Any) -> Path:
    """JSON files; __ in a name is a folder's end."""
    for name, content in files.items():
        file = directory / (name.replace("__", "/") + ".json")
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content), encoding="utf-8")
    return directory


def modules(*kinds: str) -> list[dict[str, Any]]:
    return [
        {"idx": index, "path": f"{index}_{kind}" if index else "", "type": ST + kind}
        for index, kind in enumerate(kinds)
    ]


def test_a_checkpoint_without_modules_is_pooled_by_the_mean(tmp_path: Path) -> None:
    assert read_modules(tmp_path, "x") == Modules(("mean",))


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ("cls",)),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, ("max", "mean")),
        ({"pooling_mode": "lasttoken"}, ("lasttoken",)),
        ({"pooling_mode": ["weightedmean", "cls"]}, ("weightedmean", "cls")),
        ({"word_embedding_dimension": 3}, ("mean",)),
    ],
)
def test_pooling_is_read_by_its_old_and_its_new_names(
    tmp_path: Path, pooling: dict[str, Any], expected: tuple[str, ...]
) -> None:
    write(tmp_path, modules=modules("Transformer", "Pooling"), **{"1_Pooling__config": pooling})
    assert read_modules(tmp_path, "x").pooling == expected


def test_layers_come_in_the_order_of_the_modules(tmp_path: Path) -> None:
    write(
        tmp_path,
        modules=modules("Transformer", "Pooling", "Dense", "Dropout", "Normalize", "Dense"),
        **{
            "1_Pooling__config": {},
            "2_Dense__config": {"activation_function": "torch.nn.modules.linear.Identity"},
            "5_Dense__config": {},
        },
    )
    (tmp_path / "2_Dense" / "model.safetensors").write_bytes(b"")
    read = read_modules(tmp_path, "x")
    assert read.layers == (Dense("2_Dense", "identity"), None, Dense("5_Dense", "tanh"))
    assert set(module_files(tmp_path)) == {
        *("modules.json", "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"),
        "5_Dense/config.json",
    }


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"modules": modules("Transformer", "LSTM")}, "a module of type LSTM"),
        ({"modules": [{"path": "../..", "type": ST + "Pooling"}]}, "must be a folder of the checkpoint"),
        (
            {"modules": modules("Transformer", "Pooling"), "1_Pooling__config": {"include_prompt": False}},
            "include_prompt",
        ),
        ({"modules": modules("Transformer", "Pooling"), "1_Pooling__config": {"pooling_mode": "median"}}, "'median'"),
        (
            {"modules": modules("Transformer", "Dense"), "1_Dense__config": {"activation_function": "os.system"}},
            "system",
        ),
        ({"modules": modules("Transformer", "Dense"), "1_Dense__config": {"use_residual": True}}, "residual"),
    ],
)
def test_what_is_not_possible_is_rejected_by_name(tmp_path: Path, files: dict[str, Any], problem: str) -> None:
    with pytest.raises(BuildError, match=problem):
        read_modules(write(tmp_path, **files), "x")


@pytest.mark.parametrize(
    ("architecture", "has_modules", "expected"),
    [
        ("BertModel", False, True),
        ("XLMRobertaForMaskedLM", False, True),
        ("ModernBertForSequenceClassification", False, True),
        ("Qwen3ForSequenceClassification", False, True),
        ("LlamaForCausalLM", False, False),
        ("LlamaModel", False, False),
        ("Qwen3ForCausalLM", True, True),
        ("BertLMHeadModel", False, False),
    ],
)
def test_a_checkpoint_is_an_encoder_by_its_architecture_or_its_modules(
    tmp_path: Path, architecture: str, has_modules: bool, expected: bool
) -> None:
    if has_modules:
        write(tmp_path, modules=modules("Transformer", "Pooling"))
    assert is_encoder(tmp_path, {"architectures": [architecture]}) is expected


@pytest.mark.parametrize(
    ("config", "files", "longest", "usual"),
    [
        ({}, {}, 512, 512),
        ({}, {"sentence_bert_config": {"max_seq_length": 256}}, 512, 256),
        ({}, {"tokenizer_config": {"model_max_length": 128}}, 512, 128),
        ({}, {"tokenizer_config": {"model_max_length": 10**30}}, 512, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}, {}, 512, 512),
    ],
)
def test_the_length_of_a_text_is_the_checkpoints_own_within_what_it_has_positions_for(
    tmp_path: Path, config: dict[str, Any], files: dict[str, Any], longest: int, usual: int
) -> None:
    reading = Reading(write(tmp_path, config=CONFIG | config, **files), "x", None)
    assert (reading.max_tokens, reading.usual_tokens) == (longest, usual)


@pytest.mark.parametrize(
    ("config", "width", "expected"),
    [
        ({}, 1, "sigmoid"),
        ({}, 3, "softmax"),
        ({"problem_type": "regression"}, 1, "identity"),
        ({"problem_type": "multi_label_classification"}, 3, "sigmoid"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, 1, "identity"),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"}, 3, "sigmoid"),
    ],
)
def test_scores_become_what_the_classifier_was_trained_to_say(
    tmp_path: Path, config: dict[str, Any], width: int, expected: str
) -> None:
    config = CONFIG | {"architectures": ["BertForSequenceClassification"]} | config
    assert Reading(write(tmp_path, config=config), "x", None).activation(width) == expected


@pytest.mark.parametrize(
    ("config", "section", "expected"),
    [
        ({}, EmbedSection(), None),
        ({"is_matryoshka": True}, EmbedSection(), ()),
        ({"matryoshka_dimensions": [64, 32]}, EmbedSection(), (32, 64)),
        ({}, EmbedSection(matryoshka_dimensions=(16,)), (16,)),
    ],
)
def test_embeddings_may_be_cut_where_the_checkpoint_or_the_spec_says_so(
    tmp_path: Path, config: dict[str, Any], section: EmbedSection, expected: tuple[int, ...] | None
) -> None:
    reading = Reading(write(tmp_path, config=CONFIG | config), "x", section)
    assert reading.shorter_widths(64) == expected


def test_the_spec_replaces_pooling_and_normalization(tmp_path: Path) -> None:
    write(tmp_path, config=CONFIG, modules=modules("Transformer", "Pooling", "Normalize"), **{"1_Pooling__config": {}})
    read = Reading(tmp_path, "x", EmbedSection(pooling="cls", normalize=False)).modules
    assert (read.pooling, read.normalized) == (("cls",), False)
    assert Reading(tmp_path, "x", EmbedSection(normalize=True)).modules.layers == (None,)


def test_pickled_weights_are_converted_with_the_modules_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "pickled"
    source.mkdir()
    write(
        source,
        config=CONFIG,
        modules=modules("Transformer", "Pooling"),
        **{"1_Pooling__config": {"pooling_mode": "cls"}},
    )
    torch.save({"w": torch.ones(2)}, source / "pytorch_model.bin")
    with resolve(str(source), tmp_path) as checkpoint:
        assert checkpoint.directory != source
        assert read_modules(checkpoint.directory, "x").pooling == ("cls",)


@pytest.mark.parametrize("mode", ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"])
def test_pooling_is_that_of_sentence_transformers(mode: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers.sentence_transformer.modules.pooling import Pooling
    torch.manual_seed(0)
    hidden = torch.randn(4, 7, 5)
    mask = torch.tensor([[1] * length + [0] * (7 - length) for length in (7, 1, 4, 6)])
    theirs = Pooling(5, mode)({"token_embeddings": hidden, "attention_mask": mask})["sentence_embedding"]
    assert torch.allclose(pool(hidden, mask, mode), theirs, atol=1e-6)
