"""A converted SentencePiece model gives every text the ids that SentencePiece itself gives it."""

from __future__ import annotations

import itertools
import warnings
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from build_scripts.vocabulary.sentencepiece import convert_sentencepiece, read_sentencepiece
from triton_repo.contract.errors import BuildError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its bindings
    import sentencepiece

_CORPUS = (
    "Hello world, hello there. A tokenizer splits a text into pieces.\n"
    "naïve café déjà vu; 你好 世界 مرحبا بالعالم  two  spaces  ½ ﬁne Ｆｕｌｌ\n"
    "def f(x):\n    return x + 1\n"
)
MODELS = [
    {"model_type": kind, "normalization_rule_name": rule, "add_dummy_prefix": prefix,
     "remove_extra_whitespaces": squeeze, "byte_fallback": fallback}
    for kind, rule, prefix, squeeze, fallback in itertools.product(
        ("bpe", "unigram"), ("identity", "nmt_nfkc"), (True, False), (True, False), (True, False)
    )
]  # fmt: skip
TEXTS = [
    "Hello world", " leading", "  two in front", "trailing  ", "a  b   c", "tab\tline\nend", "\n\n", "你好世界",
    "مرحبا", "e\u0301 naïve ﬁ ½", "👩‍👩‍👧‍👦 🇩🇪", "don't I'LL", "1234567 3.14", "   ", "", "x",
    "def f(x):\n    return x\n\n\n",
    "▁odd ▁▁", "a\u00a0b\u3000c", "Ｆｕｌｌ ｗｉｄｔｈ", "\u200bzero", "İstanbul ß Å Å",
]  # fmt: skip


def train(**options: Any) -> bytes:
    model = BytesIO()
    lines = iter(_CORPUS.splitlines() * 8)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=model, vocab_size=400, hard_vocab_limit=False, minloglevel=2, **options
    )
    return model.getvalue()


def named(options: dict[str, Any]) -> str:
    return ", ".join(name if value is True else str(value) for name, value in options.items() if value is not False)


@pytest.mark.parametrize("options", MODELS, ids=named)
def test_every_kind_of_model_encodes_and_decodes_as_sentencepiece_does(options: dict[str, Any]) -> None:
    data = train(**options)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=data)
    for legacy in (False, True):
        ours = convert_sentencepiece(read_sentencepiece(data, "tokenizer.model"), legacy=legacy)
        for text in TEXTS:
            ids = theirs.encode(text)
            assert ours.encode(text).ids == ids, (text, theirs.encode(text, out_type=str))
            assert text.startswith("▁") or ours.decode(ids) == theirs.decode(ids).replace(" ⁇ ", ""), text


@given(text=st.text(alphabet=[*"aehlo tw", "\n", "▁", "你", "é", "👋"], max_size=30))
@settings(max_examples=1000, deadline=None)
def test_any_text_encodes_as_sentencepiece_encodes_it(text: str) -> None:
    for theirs, ours in PAIRS:
        assert ours.encode(text).ids == theirs.encode(text)


def pair(**options: Any) -> tuple[Any, Any]:
    data = train(**options)
    return (
        sentencepiece.SentencePieceProcessor(model_proto=data),
        convert_sentencepiece(read_sentencepiece(data, "tokenizer.model"), legacy=False),
    )


PAIRS = [pair(model_type=kind, normalization_rule_name="identity", byte_fallback=True) for kind in ("bpe", "unigram")]
TURNS = pair(
    model_type="bpe",
    normalization_rule_name="identity",
    control_symbols=["[INST]"],
    user_defined_symbols=["<turn>", "▁▁"],
    remove_extra_whitespaces=False,
)


def test_control_symbols_become_special_tokens_and_user_defined_ones_stay_text() -> None:
    theirs, ours = TURNS
    assert ours.encode("[INST]").ids == [theirs.piece_to_id("[INST]")]
    text = "hello <turn> world  there"
    assert ours.encode(text).ids == theirs.encode(text)
    assert ours.decode(ours.encode(f"[INST]{text}").ids) == text


@pytest.mark.parametrize(("legacy", "prefix"), [(False, ""), (True, "▁")])
def test_only_a_legacy_tokenizer_puts_a_space_after_a_special_token(legacy: bool, prefix: str) -> None:
    data = train(model_type="bpe", normalization_rule_name="identity", control_symbols=["[INST]"])
    ours = convert_sentencepiece(read_sentencepiece(data, "tokenizer.model"), legacy=legacy)
    assert "".join(ours.encode("[INST]hello").tokens) == f"[INST]{prefix}hello"
    assert "".join(ours.encode("hello[INST]").tokens) == "▁hello[INST]"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"model_type": "word"}, "a sentencepiece model of type word; must be Unigram or BPE"),
        ({"model_type": "char"}, "a sentencepiece model of type char; must be Unigram or BPE"),
        ({"treat_whitespace_as_suffix": True}, "spaces after words"),
    ],
)
def test_a_model_that_has_no_such_form_is_rejected_by_name(options: dict[str, Any], complaint: str) -> None:
    data = train(**options)
    with pytest.raises(BuildError, match=complaint):
        convert_sentencepiece(read_sentencepiece(data, "tokenizer.model"), legacy=False)


@pytest.mark.parametrize("data", [b"\xff\xff", b"", b"IQ== 0\n"])
def test_what_is_no_model_is_rejected(data: bytes) -> None:
    with pytest.raises(BuildError, match=r"tokenizer\.model: (not )?a sentencepiece model"):
        read_sentencepiece(data, "tokenizer.model")


def _not_utf8(proto: Any) -> bytes:
    text = proto.pieces[-1].piece.encode()
    data: bytes = proto.SerializeToString()
    return data.replace(b"\x0a" + bytes([len(text)]) + text, b"\x0a" + bytes([len(text)]) + b"\xff" * len(text))


def _no_character_map(proto: Any) -> bytes:
    proto.normalizer_spec.precompiled_charsmap = b"x"
    return bytes(proto.SerializeToString())


@pytest.mark.parametrize(
    ("spoil", "complaint"), [(_not_utf8, "a piece that is not UTF-8"), (_no_character_map, "precompiled_charsmap")]
)
def test_a_broken_model_is_rejected_by_what_is_broken(spoil: Any, complaint: str) -> None:
    data = spoil(read_sentencepiece(train(model_type="bpe"), "x").proto)
    with pytest.raises(BuildError, match=rf"tokenizer\.model: .*{complaint}"):
        convert_sentencepiece(read_sentencepiece(data, "tokenizer.model"), legacy=False)


def test_a_piece_longer_than_any_is_rejected() -> None:
    model = read_sentencepiece(train(model_type="bpe"), "tokenizer.model")
    model.proto.pieces[-1].piece = "x" * 100_000
    with pytest.raises(BuildError, match=r"tokenizer\.model: 'xx.* has 100000 characters; must be ≤ 1024"):
        convert_sentencepiece(model, legacy=False)


def test_pieces_of_one_score_are_formed_in_the_order_of_their_ids() -> None:
    """SentencePiece trains them in that order; programs that write a vocabulary anew may give all one score."""
    data = train(model_type="bpe", normalization_rule_name="identity")
    theirs, model = sentencepiece.SentencePieceProcessor(model_proto=data), read_sentencepiece(data, "tokenizer.model")
    for piece in model.proto.pieces:
        piece.score = -1000.0
    ours = convert_sentencepiece(model, legacy=False)
    for text in ("thesplit", "Hello world, a tokenizer splits a text"):
        assert ours.encode(text).ids == theirs.encode(text)
