"""Deltas of text, joined, are the decoding of all ids, for any text and any chunking."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders

from tests.budget import examples
from tests.tokenizers.__main__ import main
from tests.tokenizers.streaming import stream
from tests.triton_repo.detokenize.tokenizers_under_test import byte_level, sentencepiece
from triton_repo.detokenize.detokenizer import make_detokenizer

DEMO_TOKENIZER = Path(__file__).parents[3] / "engines" / "demo" / "checkpoint" / "tokenizer.json"
TOKENIZERS = {
    "byte-level": byte_level(),
    "sentencepiece": sentencepiece(),
    "demo": Tokenizer.from_file(str(DEMO_TOKENIZER)),
}
DETOKENIZERS = {name: make_detokenizer(tokenizer) for name, tokenizer in TOKENIZERS.items()}

# Where detokenizers break: sequences of code points that are one glyph, three and four byte characters, spaces at the
# edges, the replacement character itself; and, besides them, any Unicode at all.
HARD = [
    "👩‍👩‍👧‍👦",
    "🏳️‍🌈",
    "🇩🇪",
    "e\u0301",
    "नमस्ते",
    "你好",
    "世界",
    "مرحبا",
    "\ufffd",
    "\u200d",
    " ",
    "  ",
    "\n",
    " he",
    "hello",
    "a",
]
texts = st.lists(st.one_of(st.sampled_from(HARD), st.text(max_size=6)), max_size=12).map("".join)
cuts = st.lists(st.integers(min_value=0, max_value=200), max_size=20)


# Drawing a text costs far more than streaming it: so each is streamed through every tokenizer.
@given(text=texts, cuts=cuts)
@settings(max_examples=examples(10_000))
def test_deltas_of_any_text_in_any_chunking_join_to_the_whole_and_none_holds_a_broken_character(
    text: str, cuts: list[int]
) -> None:
    for name, tokenizer in TOKENIZERS.items():
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        deltas = stream(DETOKENIZERS[name], ids, cuts)
        assert "".join(deltas) == tokenizer.decode(ids), name
        assert "\ufffd" in text or not any("\ufffd" in delta for delta in deltas), name


@given(ids=st.lists(st.integers(3, TOKENIZERS["byte-level"].get_vocab_size() - 1), max_size=30), cuts=cuts)
@settings(max_examples=examples(10_000))
def test_any_ids_of_a_byte_level_tokenizer_join_to_the_whole(ids: list[int], cuts: list[int]) -> None:
    """A model may also write bytes that are no text. (Ids 0 to 2 are special.)"""
    tokenizer = TOKENIZERS["byte-level"]
    assert "".join(stream(DETOKENIZERS["byte-level"], ids, cuts)) == tokenizer.decode(ids)


def test_every_tokenizer_of_a_folder_streams_what_it_decodes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, tokenizer in TOKENIZERS.items():
        (tmp_path / name).mkdir()
        tokenizer.save(str(tmp_path / name / "tokenizer.json"))
    assert main(tmp_path) == 0
    table = capsys.readouterr().out.partition("tokenizer   ")[2].splitlines()[1:]
    rows = {row[0]: row[1:] for row in map(str.split, table)}
    assert {name: (kind, different) for name, (kind, _, _, different, *_) in rows.items()} == {
        "byte-level": ("ByteLevel", "0"),
        "sentencepiece": ("Context", "0"),
        "demo": ("ByteLevel", "0"),
    }
    assert rows["byte-level"][-1] == rows["demo"][-1] == "0"


def test_a_character_spread_over_tokens_waits_until_it_is_whole() -> None:
    tokenizer = sentencepiece()
    ids = [tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in "😀".encode()]
    assert stream(make_detokenizer(tokenizer), ids, [1, 2, 3]) == ["", "", "", "😀"]


def test_bytes_are_decoded_as_one_step_of_a_sequence_too() -> None:
    tokenizer = byte_level()
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Fuse()])
    ids = tokenizer.encode("ok 😀 ok", add_special_tokens=False).ids
    assert not any("\ufffd" in delta for delta in stream(make_detokenizer(tokenizer), ids, range(len(ids))))


def test_a_character_that_never_becomes_whole_is_given_as_broken_at_the_end() -> None:
    tokenizer = byte_level()
    ids = tokenizer.encode("ok 😀", add_special_tokens=False).ids[:-1]
    assert "".join(stream(make_detokenizer(tokenizer), ids, [1, 2, 3])) == "ok \ufffd"


def test_special_tokens_leave_no_text() -> None:
    tokenizer = byte_level()
    ids = tokenizer.encode("a<|im_end|>b").ids
    assert "".join(stream(make_detokenizer(tokenizer), ids, [1, 2])) == "ab"


def test_a_leading_space_in_the_middle_of_a_stream_survives_sentencepiece() -> None:
    tokenizer = sentencepiece()
    ids = tokenizer.encode("he he he he he he he he", add_special_tokens=False).ids
    deltas = stream(make_detokenizer(tokenizer), ids, list(range(len(ids))))
    assert deltas[1:3] == ["he", " he"]
    assert "".join(deltas) == "he he he he he he he he"
