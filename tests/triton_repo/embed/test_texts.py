"""Texts to tokens, by a tokenizer of a few words."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from triton_repo.contract.errors import ContextLengthExceeded, InvalidRequest
from triton_repo.contract.model_card import ModelCard
from triton_repo.embed.settings import EncoderConfig, EncoderFacts
from triton_repo.embed.texts import BYTES_PER_TOKEN, TextReader, Tokens, read_options
from triton_repo.embed.wire import Options

WORDS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "b", "c", "query:")
CLS, SEP, A, B, C, QUERY = 1, 2, 4, 5, 6, 7
LONGEST = 6


def reader(prompts: dict[str, str] | None = None, default_prompt: str | None = None) -> TextReader:
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = [("[CLS]", CLS), ("[SEP]", SEP)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=special
    )
    facts = EncoderFacts(
        kind="embed",
        width=2,
        vocab_size=len(WORDS),
        max_tokens=LONGEST,
        usual_tokens=LONGEST,
        prompts=prompts or {},
        default_prompt=default_prompt,
    )
    config = EncoderConfig(
        name="x",
        max_seq_len=LONGEST,
        max_batch_size=1,
        max_num_tokens=1,
        facts=facts,
        card=ModelCard(LONGEST, "embed"),
    )
    return TextReader(tokenizer, config)


def texts(*rows: str) -> dict[str, list[list[bytes]]]:
    return {"text_input": [[row.encode()] for row in rows]}


def ids(tokens: list[Tokens]) -> list[list[int]]:
    return [list(row.ids) for row in tokens]


def test_texts_get_the_special_tokens_of_the_tokenizer() -> None:
    assert ids(reader().read(texts("a b", ""), Options())) == [[CLS, A, B, SEP], [CLS, SEP]]


def test_the_second_text_of_a_pair_is_of_the_second_type() -> None:
    (row,) = reader().read({**texts("a"), "text_pair": [[b"b c"]]}, Options())
    assert (list(row.ids), list(row.types)) == ([CLS, A, SEP, B, C, SEP], [0, 0, 0, 1, 1, 1])


def test_a_text_that_is_too_long_is_rejected_with_its_number() -> None:
    with pytest.raises(ContextLengthExceeded, match=r"row 1: this model reads at most 6 tokens of a text.* has 7"):
        reader().read(texts("a", "a a a a a"), Options())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Options(truncate_to=0), [CLS, A, A, B, B, SEP]),
        (Options(truncate_to=4), [CLS, A, A, SEP]),
        (Options(truncate_to=4, truncate_side="left"), [CLS, C, C, SEP]),
    ],
)
def test_a_text_is_cut_where_the_client_asks_for_it(options: Options, expected: list[int]) -> None:
    read = reader()
    assert ids(read.read(texts("a a b b c c"), options)) == [expected]
    assert ids(read.read(texts("a b"), Options())) == [[CLS, A, B, SEP]]  # and no other one is


def test_a_pair_is_cut_at_the_longer_text() -> None:
    (row,) = reader().read({**texts("a"), "text_pair": [[b"b b b b"]]}, Options(truncate_to=0))
    assert list(row.ids) == [CLS, A, SEP, B, B, SEP]


@pytest.mark.parametrize("limit", [2, LONGEST + 1])
def test_a_limit_without_room_for_a_token_or_beyond_the_models_is_rejected(limit: int) -> None:
    with pytest.raises(InvalidRequest, match="truncate_prompt_tokens"):
        reader().read(texts("a"), Options(truncate_to=limit))


def test_a_huge_text_is_rejected_before_it_is_tokenized() -> None:
    with pytest.raises(ContextLengthExceeded, match="bytes of text cannot fit"):
        reader().read(texts("a " * LONGEST * BYTES_PER_TOKEN), Options())
    (row,) = reader().read(texts("é" * LONGEST * BYTES_PER_TOKEN), Options(truncate_to=0))
    assert len(row.ids) == 3


def test_token_ids_are_taken_as_they_are() -> None:
    read = reader()
    rows = {"prompt_token_ids": [[CLS, A, SEP, -1, -1], [A, B, C, A, B]]}
    assert ids(read.read(rows, Options())) == [[CLS, A, SEP], [A, B, C, A, B]]
    assert ids(read.read(rows, Options(truncate_to=3, truncate_side="left"))) == [[CLS, A, SEP], [C, A, B]]
    for bad, why in ([A, len(WORDS)], "not in the vocabulary"), ([-1, -1], "nothing in it"), ([A] * 7, "at most 6"):
        with pytest.raises(InvalidRequest, match=f"row 0: .*{why}"):
            read.read({"prompt_token_ids": [bad]}, Options())


def test_a_prompt_is_put_before_each_text() -> None:
    read = reader({"query": "query: ", "document": ""}, "query")
    assert ids(read.read(texts("a"), Options())) == [[CLS, QUERY, A, SEP]]
    assert ids(read.read(texts("a"), Options(prompt_name="document"))) == [[CLS, A, SEP]]
    with pytest.raises(InvalidRequest, match="prompt_name = 'other': the model's prompts are: query, document"):
        read.read(texts("a"), Options(prompt_name="other"))


@pytest.mark.parametrize("options", [b"{", b"[]", b'{"truncate_to": -1}', b'{"truncate_to": "1"}', b"\xff"])
def test_options_that_are_none_are_rejected(options: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_options({"options": [[options]]})


def test_bytes_that_are_no_text_are_rejected() -> None:
    with pytest.raises(InvalidRequest, match="row 0: not valid UTF-8 at byte 1"):
        reader().read({"text_input": [[b"a\xff"]]}, Options())
    with pytest.raises(InvalidRequest, match="text_input"):
        reader().read({}, Options())
