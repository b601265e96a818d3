"""What an engine makes of a checkpoint's tokenizer files: other formats, files beside tokenizer.json, end tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from tests.build_scripts.conftest import Workshop
from tests.build_scripts.vocabulary.test_byte_level import many_ranks, tekken, tiktoken_file
from tests.build_scripts.vocabulary.test_sentencepiece import train
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import BuildError

REPLAY = '[replay]\ntext = "a"'
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def built(workshop: Workshop) -> tuple[Tokenizer, EngineConfig]:
    engine = workshop.build(REPLAY, runtime="replay")
    tokenizer = Tokenizer.from_file(str(engine.directory / "tokenizer" / "tokenizer.json"))
    return tokenizer, EngineConfig.load(engine.directory)


def replace_tokenizer(workshop: Workshop, name: str, data: bytes) -> None:
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (workshop.checkpoint / file).unlink()
    (workshop.checkpoint / name).write_bytes(data)


def transformers_tokenizer(checkpoint: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(checkpoint)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_sentencepiece_model_alone_is_what_it_is_under_any_name_of_a_class(workshop: Workshop, kind: str) -> None:
    import sentencepiece

    data = train(model_type=kind, normalization_rule_name="nmt_nfkc")
    replace_tokenizer(workshop, "tokenizer.model", data)
    (workshop.checkpoint / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    tokenizer, config = built(workshop)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=data)
    assert tokenizer.encode(" hello ½ there ").ids == [theirs.bos_id(), *theirs.encode(" hello ½ there ")]
    assert theirs.eos_id() in config.eos_token_ids


def test_a_class_that_gives_the_pieces_other_ids_is_rejected_by_name(workshop: Workshop) -> None:
    replace_tokenizer(workshop, "tokenizer.model", train(model_type="unigram"))
    (workshop.checkpoint / "tokenizer_config.json").write_text('{"tokenizer_class": "XGLMTokenizer"}')
    with pytest.raises(BuildError, match=r"tokenizer\.model: a XGLMTokenizer gives its pieces ids of its own"):
        workshop.build(REPLAY, runtime="replay")


@pytest.mark.parametrize(("name", "count"), [("tokenizer.model", 128_000), ("qwen.tiktoken", 151_643)])
def test_a_tiktoken_file_alone_becomes_its_familys_tokenizer(workshop: Workshop, name: str, count: int) -> None:
    replace_tokenizer(workshop, name, tiktoken_file(many_ranks(count)))
    workshop.configure("config.json", vocab_size=count + 300)
    tokenizer, config = built(workshop)
    end = "<|end_of_text|>" if count == 128_000 else "<|endoftext|>"
    assert config.eos_token_ids[-1] == tokenizer.token_to_id(end)


def test_a_tekken_file_alone_becomes_a_tokenizer(workshop: Workshop) -> None:
    replace_tokenizer(workshop, "tekken.json", json.dumps(tekken()).encode())
    tokenizer, _ = built(workshop)
    assert tokenizer.encode("[INST]").tokens == ["<s>", "[INST]"]


def test_an_unknown_tiktoken_file_is_rejected_by_name(workshop: Workshop) -> None:
    replace_tokenizer(workshop, "tokenizer.model", tiktoken_file(many_ranks(1000)))
    with pytest.raises(BuildError, match=r"tokenizer: tokenizer\.model: 1000 tokens in tiktoken's format"):
        workshop.build(REPLAY, runtime="replay")


def _added(workshop: Workshop) -> None:
    tokens = {"<|im_start|>": 258, "<|im_end|>": 259}
    (workshop.checkpoint / "added_tokens.json").write_text(json.dumps(tokens))
    workshop.configure("tokenizer_config.json", additional_special_tokens=["<|im_start|>", "<|im_end|>"])


def _decoder(workshop: Workshop) -> None:
    token = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    tokens = {"258": {"content": "<|im_start|>", **token}, "259": {"content": "<|im_end|>", **token}}
    workshop.configure("tokenizer_config.json", added_tokens_decoder=tokens)


def _listed(workshop: Workshop) -> None:
    workshop.configure("tokenizer_config.json", additional_special_tokens=["<|im_start|>", "<|im_end|>"])


@pytest.mark.parametrize("add", [_added, _decoder, _listed])
def test_tokens_that_only_the_files_beside_an_older_tokenizer_name_are_tokens(workshop: Workshop, add: Any) -> None:
    workshop.configure("tokenizer_config.json", chat_template=CHATML)
    add(workshop)
    tokenizer, config = built(workshop)
    text = "<|im_start|>user\nhé<|im_end|>"
    assert tokenizer.encode(text).ids == transformers_tokenizer(workshop.checkpoint).encode(text)
    assert tokenizer.encode("<|im_start|><|im_end|>").ids == [258, 259]
    assert 259 in config.eos_token_ids


def test_added_tokens_keep_their_ids_over_a_gap_and_a_token_without_room_gets_none(workshop: Workshop) -> None:
    (workshop.checkpoint / "added_tokens.json").write_text(json.dumps({"<far>": 300, "<further>": 310}))
    workshop.configure("tokenizer_config.json", additional_special_tokens=["<beyond>"])
    workshop.configure("config.json", vocab_size=260)
    tokenizer, _ = built(workshop)
    assert tokenizer.encode("<far>a<further>").ids == [300, tokenizer.token_to_id("a"), 310]
    assert tokenizer.token_to_id("<beyond>") is None


def test_what_contradicts_tokenizer_json_is_left_out_with_a_note(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = {"<new>": 1, "</s>": 7, "<far>": 10**12}
    (workshop.checkpoint / "added_tokens.json").write_text(json.dumps(tokens))
    tokenizer, _ = built(workshop)
    notes = capsys.readouterr().err
    assert "<new>: its id 1 is </s> in tokenizer.json: left out" in notes
    assert "<far>: its id 1000000000000 is none of a vocabulary's, which are < 2097152: left out" in notes
    assert "</s> has id 1 in tokenizer.json, and 7 beside it: 1 counts" in notes
    assert tokenizer.token_to_id("<new>") is None


@pytest.mark.parametrize(
    ("config", "ids"),
    [
        ({"add_bos_token": True, "bos_token": "<s>"}, [0, "a"]),
        ({"add_eos_token": True}, ["a", 1]),
        ({"add_bos_token": True, "add_eos_token": True, "bos_token": {"content": "<s>"}}, [0, "a", 1]),
        ({"add_bos_token": True, "bos_token": None}, ["a"]),
        ({"add_bos_token": None}, ["a"]),
    ],
)
def test_the_ends_that_the_configuration_adds_are_added(
    workshop: Workshop, config: dict[str, Any], ids: list[Any]
) -> None:
    workshop.configure("tokenizer_config.json", **config)
    tokenizer, _ = built(workshop)
    assert tokenizer.encode("a").ids == [tokenizer.token_to_id("a") if id == "a" else id for id in ids]


def test_add_prefix_space_counts_where_transformers_follows_it(workshop: Workshop) -> None:
    workshop.configure("tokenizer_config.json", tokenizer_class="GPT2Tokenizer", add_prefix_space=True)
    tokenizer, _ = built(workshop)
    assert tokenizer.encode("a").tokens == ["Ġ", "a"]
    workshop.configure("tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    tokenizer, _ = built(workshop)
    assert tokenizer.encode("a").tokens == ["a"]


def test_the_end_token_that_only_the_tokenizer_names_ends_an_answer(workshop: Workshop) -> None:
    workshop.configure("config.json", eos_token_id=0)
    workshop.configure("generation_config.json", eos_token_id=[0])
    _, config = built(workshop)
    assert config.eos_token_ids == (0, 1)


@pytest.mark.parametrize(
    ("template", "ends"),
    [
        (CHATML, (1, 259)),
        # What the model is given has no channel, an earlier answer has one: its end may not be the end of the whole.
        (CHATML.replace("{{ m.content }}", "{% if m.role == 'assistant' %}<s>{% endif %}{{ m.content }}"), (1,)),
        ("{% for m in messages %}{{ m.content }}\n{% endfor %}", (1,)),
        ("{{ raise_exception('no tools') if messages | length > 5 }}{% for m in messages %}[{{ m.role }}]"
         "{{ m.content }}{{ eos_token }}{% endfor %}[assistant]", (1,)),
    ],
)  # fmt: skip
def test_the_token_that_the_template_writes_after_an_answer_ends_one(
    workshop: Workshop, template: str, ends: tuple[int, ...]
) -> None:
    _decoder(workshop)
    workshop.configure("tokenizer_config.json", chat_template=template)
    _, config = built(workshop)
    assert config.eos_token_ids == ends


def test_a_checkpoint_without_any_end_token_has_none(workshop: Workshop) -> None:
    for file in ("config.json", "generation_config.json"):
        workshop.configure(file, eos_token_id=None)
    workshop.configure("tokenizer_config.json", eos_token=None, chat_template="{{ messages[0].content }}")
    _, config = built(workshop)
    assert config.eos_token_ids == ()


def test_a_template_that_needs_a_variable_is_built_with_a_note(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    template = "{{ guideline.strip() }}{{ messages[0].content }}"
    workshop.configure("tokenizer_config.json", chat_template=template)
    _, config = built(workshop)
    assert config.card.chat
    note = "requests must give chat_template_kwargs: the chat template needs guideline: 'guideline' is undefined"
    assert f"tiny/checkpoint: {note}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "template", ["{{ messages[0].nothing.here }}", "{{ raise_exception('never') }}{{ guideline }}", "{{ 1 + 'a' }}"]
)
def test_a_template_that_rejects_a_conversation_for_another_reason_is_not(workshop: Workshop, template: str) -> None:
    workshop.configure("tokenizer_config.json", chat_template=template)
    with pytest.raises(BuildError, match="rejected by the chat template"):
        workshop.build(REPLAY, runtime="replay")


def test_a_template_that_takes_too_much_for_an_ordinary_conversation_is_rejected(workshop: Workshop) -> None:
    workshop.configure("tokenizer_config.json", chat_template="{{ 'a' * 10**9 }}")
    with pytest.raises(BuildError, match="the chat template takes more than 512 MiB of memory"):
        workshop.build(REPLAY, runtime="replay")


def test_a_byte_order_mark_and_a_repeated_key_are_no_fault(workshop: Workshop) -> None:
    for file in ("tokenizer.json", "tokenizer_config.json"):
        path = workshop.checkpoint / file
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    config = workshop.checkpoint / "tokenizer_config.json"
    config.write_bytes(config.read_bytes().replace(b"{", b'{"eos_token": "<s>", ', 1))
    _, engine = built(workshop)
    assert engine.eos_token_ids == (1,)


def test_a_normalizer_that_grows_a_text_without_bound_ends_its_process_alone(workshop: Workshop) -> None:
    path = workshop.checkpoint / "tokenizer.json"
    grow = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}
    path.write_text(
        json.dumps(json.loads(path.read_bytes()) | {"normalizer": {"type": "Sequence", "normalizers": [grow] * 3}})
    )
    with pytest.raises(BuildError, match="tokenizer: its process was ended by SIGABRT"):
        workshop.build(REPLAY, runtime="replay")


_SENTENCEPIECE = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ],
}


@pytest.mark.parametrize("decoder", [None, _SENTENCEPIECE])
def test_tokens_of_bytes_are_decoded_as_bytes_whatever_decoder_stands_beside_them(
    workshop: Workshop, capsys: pytest.CaptureFixture[str], decoder: Any
) -> None:
    workshop.configure("tokenizer.json", decoder=decoder)
    tokenizer, _ = built(workshop)
    assert "its decoder does not decode them: decoded as bytes" in capsys.readouterr().err
    assert tokenizer.decode(tokenizer.encode("a b 🐚").ids) == "a b 🐚"
