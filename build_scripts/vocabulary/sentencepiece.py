"""A SentencePiece model (`tokenizer.model`, `spiece.model`) as the tokenizer of tokenizer.json.

The model decides how it is read, not the name of its class: Unigram or BPE, its own normalizer (the precompiled
character map), whether a text gets a space in front, whether unknown characters fall back to bytes. Its symbols for
control become special tokens; SentencePiece itself never finds those in a text, and chat templates rely on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from build_scripts.vocabulary.merges import merges_of
from triton_repo.contract.errors import BuildError

_SPACE: Final = "▁"
# The kinds of models and of pieces, as sentencepiece_model.proto numbers them.
_UNIGRAM, _BPE = 1, 2
_KINDS: Final[Mapping[int, str]] = {_UNIGRAM: "Unigram", _BPE: "BPE", 3: "word", 4: "char"}
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_NEVER: Final = -1e6  # the score of a piece that SentencePiece never gives: less than that of an unknown character


@dataclass(frozen=True)
class SentencePieceModel:
    """A model that was read: `proto` is its ModelProto."""

    proto: Any
    where: str

    @property
    def size(self) -> int:
        return len(self.proto.pieces)

    @cached_property
    def pieces(self) -> tuple[tuple[str, float, int], ...]:
        """(text, score, kind) of each piece, in the order of their ids."""
        return tuple((piece.piece, piece.score, piece.type) for piece in self.proto.pieces)

    def end(self, name: str) -> tuple[int, str] | None:
        """Id and text of "bos", "eos" or "unk", if the model has it."""
        number = int(getattr(self.proto.trainer_spec, f"{name}_id"))
        return (number, self.pieces[number][0]) if 0 <= number < self.size else None

    def config(self) -> dict[str, Any]:
        """What tokenizer_config.json says of such a model where nothing else does."""
        ends = {f"{name}_token": found[1] for name in ("bos", "eos", "unk") if (found := self.end(name))}
        return {**ends, "add_bos_token": "bos_token" in ends, "add_eos_token": False}


def read_sentencepiece(data: bytes, where: str) -> SentencePieceModel:
    """Raises: BuildError: not a SentencePiece model, or one without pieces or with one that is no text."""
    from google.protobuf.message import DecodeError
    from transformers.utils import sentencepiece_model_pb2_new

    messages: Any = sentencepiece_model_pb2_new
    try:
        proto = messages.ModelProto.FromString(data)
    except DecodeError as error:
        raise BuildError(f"{where}: not a sentencepiece model: {error}") from error
    if not proto.pieces:
        raise BuildError(f"{where}: a sentencepiece model without pieces")
    if not all(isinstance(piece.piece, str) for piece in proto.pieces):  # which protobuf then leaves as bytes
        raise BuildError(f"{where}: a piece that is not UTF-8")
    return SentencePieceModel(proto, where)


def convert_sentencepiece(model: SentencePieceModel, *, legacy: bool) -> Tokenizer:
    """The tokenizer that gives a text the ids that SentencePiece gives it.

    Args:
        legacy: the space in front of a text is also put in front of the text after each special token, as
            transformers did until `legacy = false`.

    Raises:
        BuildError: the model is of a kind that has no such form.
    """
    _check(model)
    tokenizer = Tokenizer(_model(model))
    normalizer, split = model.proto.normalizer_spec, not any(_SPACE in text[1:] for text, _, _ in model.pieces)
    tokenizer.normalizer = _normalizer(normalizer, model.where)
    tokenizer.pre_tokenizer = _pre_tokenizer(normalizer, legacy, split)
    decoder = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if normalizer.add_dummy_prefix:
        decoder.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence(decoder)
    kinds = {text: kind for text, _, kind in model.pieces}
    special = [text for text, kind in kinds.items() if kind in {_UNKNOWN, _CONTROL}]
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in special])
    # Those that the model's author named are found in the normalized text, where spaces are ▁.
    named = [text for text, kind in kinds.items() if kind == _USER_DEFINED]
    tokenizer.add_tokens([AddedToken(text, normalized=True, special=False) for text in named])
    return tokenizer


def _check(model: SentencePieceModel) -> None:
    proto = model.proto
    kind = proto.trainer_spec.model_type
    if kind not in {_UNIGRAM, _BPE}:
        shown = _KINDS.get(kind, kind)
        raise BuildError(f"{model.where}: a sentencepiece model of type {shown}; must be Unigram or BPE")
    if len({text for text, _, _ in model.pieces}) != model.size:
        raise BuildError(f"{model.where}: a piece occurs twice")
    if proto.trainer_spec.treat_whitespace_as_suffix or not proto.normalizer_spec.escape_whitespaces:
        raise BuildError(f"{model.where}: spaces after words, or not escaped, have no form in tokenizer.json")


def _model(model: SentencePieceModel) -> models.Model:
    unknown = model.end("unk")
    if unknown is None:
        number = model.proto.trainer_spec.unk_id
        raise BuildError(f"{model.where}: trainer_spec.unk_id = {number}; must be one of its pieces")
    fallback = any(kind == _BYTE for _, _, kind in model.pieces)
    if model.proto.trainer_spec.model_type == _UNIGRAM:
        scored = [(text, _NEVER if kind == _UNUSED else score) for text, score, kind in model.pieces]
        return models.Unigram(scored, unknown[0], fallback)
    vocabulary = {text: number for number, (text, _, _) in enumerate(model.pieces)}
    mergeable = {text: -score for text, score, kind in model.pieces if kind == _NORMAL}
    return models.BPE(
        vocab=vocabulary,
        merges=merges_of(mergeable, vocabulary, model.where),
        unk_token=unknown[1],
        fuse_unk=True,
        byte_fallback=fallback,
    )


def _normalizer(spec: Any, where: str) -> normalizers.Normalizer:
    """Spaces become ▁, except one that is left of those in front of a text where extra ones are removed."""
    steps: list[normalizers.Normalizer] = []
    if spec.precompiled_charsmap:
        try:
            steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
        except Exception as error:  # tokenizers raises nothing narrower
            raise BuildError(f"{where}: normalizer_spec.precompiled_charsmap: broken: {error}") from error
    if spec.remove_extra_whitespaces:
        front = " " if spec.add_dummy_prefix else ""
        steps += [_replace(r"\A +", front), _replace(" {2,}", " "), _replace(rf"[ {_SPACE}]+\z", "")]
        return normalizers.Sequence([*steps, _replace(r"(?<=[\s\S]) ", _SPACE)])
    return normalizers.Sequence([*steps, normalizers.Replace(" ", _SPACE)])


def _replace(pattern: str, text: str) -> normalizers.Normalizer:
    return normalizers.Replace(Regex(pattern), text)


def _pre_tokenizer(spec: Any, legacy: bool, split: bool) -> pre_tokenizers.PreTokenizer:
    """Put ▁ before a text; `split` at each ▁, if no piece crosses one, lets words be looked up that were seen before.

    Metaspace puts none before a text that begins with one, and SentencePiece does. So in two steps: the first puts a
    space before a text that begins with none, its others being ▁ already; the second makes that ▁.
    """
    escape = pre_tokenizers.Metaspace(_SPACE, "never", split)
    if not spec.add_dummy_prefix:
        return escape
    return pre_tokenizers.Sequence([pre_tokenizers.Metaspace(" ", "always" if legacy else "first", False), escape])
