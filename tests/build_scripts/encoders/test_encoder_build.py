"""An encoder from a spec without a word on what it is to an engine, with everything that may follow its network."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from build_scripts.build import ensure_engine
from build_scripts.spec.reading import read_spec
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import BuildError, SpecError
from triton_repo.embed.encoder import Encoder
from triton_repo.embed.settings import EncoderConfig
from triton_repo.embed.texts import TextReader, Tokens
from triton_repo.embed.wire import Options

WORDS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", *"abcdefghijklmnopqrstuvwxyz")
WIDTH = 16
TEXTS = ["a b c", "z", "q u i c k", "a " * 30]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT, pooled in two ways side by side, a dense layer, and normalization."""
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    directory = tmp_path_factory.mktemp("encoder") / "checkpoint"
    torch.manual_seed(0)
    configure: Any = BertConfig
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(configure(vocab_size=len(WORDS), max_position_embeddings=40, **sizes)).save_pretrained(directory)
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = [("[CLS]", 1), ("[SEP]", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    wrapped.save_pretrained(directory)
    kinds = ("Transformer", "Pooling", "Dense", "Normalize")
    listed = [
        {
            "idx": index,
            "name": str(index),
            "path": f"{index}_{kind}" if index else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for index, kind in enumerate(kinds)
    ]
    pooling = {"word_embedding_dimension": WIDTH, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    dense = {
        "in_features": 2 * WIDTH,
        "out_features": 6,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }
    files = {
        "modules.json": listed,
        "1_Pooling/config.json": pooling,
        "2_Dense/config.json": dense,
        "sentence_bert_config.json": {"max_seq_length": 36, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {"query": "q : "}, "default_prompt_name": None},
    }
    for name, content in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(json.dumps(content), encoding="utf-8")
    (directory / "3_Normalize").mkdir()
    weights = {"linear.weight": torch.randn(6, 2 * WIDTH), "linear.bias": torch.randn(6)}
    save_file(weights, directory / "2_Dense" / "model.safetensors")
    return directory


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> EngineDirectory:
    spec = checkpoint.with_name("small.toml")
    spec.write_text(f'name = "small"\nmodel = "{checkpoint}"\n', encoding="utf-8")
    built = ensure_engine(str(spec))
    assert built.kind == "embed"
    return EngineDirectory(built.directory)


def test_the_engine_computes_what_sentence_transformers_computes(checkpoint: Path, engine: EngineDirectory) -> None:
    config = EncoderConfig.load(engine.path)
    reader = TextReader(Tokenizer.from_file(str(engine.tokenizer_file)), config)
    tokens = reader.read({"text_input": [[text.encode()] for text in TEXTS]}, Options())
    found = Encoder(engine.model.path, config).compute()(tokens)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        theirs = SentenceTransformer(str(checkpoint), device="cpu", local_files_only=True).encode(TEXTS)
    assert found.shape == (len(TEXTS), 6)
    assert np.abs(found - theirs).max() < 1e-5


def test_what_the_checkpoint_says_is_in_its_settings_and_its_card(engine: EngineDirectory) -> None:
    config = EncoderConfig.load(engine.path)
    assert (config.max_seq_len, config.facts.max_tokens) == (36, 40)
    assert (config.facts.normalized, config.facts.prompts, config.facts.default_prompt) == (
        True,
        {"query": "q : "},
        None,
    )
    assert config.card.encoder is not None
    assert (config.card.kind, config.card.encoder.width, config.card.encoder.prompts) == ("embed", 6, ("query",))
    verified = json.loads(engine.model.verified.read_bytes())
    assert verified["largest_difference"] < 1e-5
    assert not engine.config_file.exists()


def test_an_engine_that_is_up_to_date_is_left_alone_and_one_with_other_pooling_is_built(
    checkpoint: Path, engine: EngineDirectory, tmp_path: Path
) -> None:
    before = engine.path.resolve()
    spec = checkpoint.with_name("small.toml")
    assert ensure_engine(str(spec)).directory.resolve() == before
    spec.write_text(f'name = "small"\nmodel = "{checkpoint}"\n[embed]\nresponse_cache_bytes = 1000\n', encoding="utf-8")
    assert ensure_engine(str(spec)).directory.resolve() == before
    assert EncoderConfig.load(engine.path).response_cache_bytes == 1000


def test_a_dense_layer_without_its_weights_is_no_engine(checkpoint: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(checkpoint, broken)
    (broken / "2_Dense" / "model.safetensors").unlink()
    spec = tmp_path / "broken.toml"
    spec.write_text('name = "broken"\nmodel = "broken"\n', encoding="utf-8")
    with pytest.raises(BuildError, match=r"no model\.safetensors in 2_Dense"):
        ensure_engine(str(spec))
    assert not (tmp_path / "built" / "broken").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[build]\nmax_seq_len = 41", r"build\.max_seq_len = 41; must be ≤ 40"),
        ('[build]\nquantization = "int8"', r"build\.quantization = .int8.; must be none where runtime = embed"),
        ("[serve]\nmax_gap_ms = 5", r"serve\.max_gap_ms = 5"),
        ("[sampling]\ntemperature = 0.5", r"sampling\.temperature = 0\.5; is not possible where runtime = embed"),
        ("[embed]\npooling = 'median'", r"embed\.pooling = .median.; allowed: cls"),
        ("[embed]\nwidth = 3", r"embed\.width = 3; unknown key; allowed: pooling"),
    ],
)
def test_a_spec_that_asks_an_encoder_for_what_it_cannot_do_is_rejected_by_name(
    checkpoint: Path, tmp_path: Path, text: str, problem: str
) -> None:
    spec = tmp_path / "x.toml"
    spec.write_text(f'name = "x"\nmodel = "{checkpoint}"\n{text}\n', encoding="utf-8")
    with pytest.raises(SpecError, match=problem):
        ensure_engine(str(spec))


def test_embed_is_the_runtime_of_a_spec_with_that_table(tmp_path: Path) -> None:
    spec = tmp_path / "x.toml"
    spec.write_text('name = "x"\nmodel = "x"\n[embed]\n', encoding="utf-8")
    assert read_spec(spec).runtime == "embed"
    spec.write_text('name = "x"\nmodel = "x"\nruntime = "openvino"\n[embed]\n', encoding="utf-8")
    with pytest.raises(SpecError, match=r"embed.*needs runtime embed"):
        read_spec(spec)


def test_an_engine_is_not_named_like_the_model_of_a_step(checkpoint: Path, tmp_path: Path) -> None:
    spec = tmp_path / "x.toml"
    spec.write_text(f'name = "my_engine"\nmodel = "{checkpoint}"\n', encoding="utf-8")
    with pytest.raises(BuildError, match="must not end like the model of a step"):
        ensure_engine(str(spec))


def test_rows_are_padded_at_their_ends(engine: EngineDirectory) -> None:
    config = EncoderConfig.load(engine.path)
    compute = Encoder(engine.model.path, config).compute()
    short, long = Tokens([1, 5, 2], [0, 0, 0]), Tokens([1, *[6] * 30, 2], [0] * 32)
    together = compute([short, long])
    assert np.abs(together - np.concatenate([compute([short]), compute([long])])).max() < 1e-6
