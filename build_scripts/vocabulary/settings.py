"""What the files beside tokenizer.json say of a tokenizer, applied to it as transformers applies it.

A tokenizer.json may be older than they are: fine-tuned checkpoints add their tokens in `added_tokens.json` or in
`added_tokens_decoder` of tokenizer_config.json, and leave the tokenizer.json of their base.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tokenizers import AddedToken, Tokenizer
from tokenizers.processors import TemplateProcessing

from build_scripts.vocabulary.limits import MAX_TOKENS
from triton_repo.tokenizer_config import token_text

_FLAGS: Final[Mapping[str, bool]] = {
    "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False,
}  # fmt: skip
_ENDS: Final = ("bos_token", "eos_token")
# Lists of further special tokens, by older and newer versions of transformers.
_LISTS: Final = ("additional_special_tokens", "extra_special_tokens")
# Classes whose `add_prefix_space` is said beside tokenizer.json, which transformers then follows.
_PREFIXED: Final = ("GPT2Tokenizer", "CodeGenTokenizer")
_BYTE_DECODER: Final = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
_NEVER: Final = -1e6  # score of a piece that no text has


@dataclass(frozen=True, slots=True)
class TokenizerSettings:
    """`config` has the values of tokenizer_config.json, `added` those of added_tokens.json, text -> id.

    `vocab_size` is the model's: a special token without an id gets one only where the model has it.
    """

    config: Mapping[str, Any]
    added: Mapping[str, Any]
    vocab_size: int


def apply_settings(text: str, settings: TokenizerSettings) -> tuple[str, list[str]]:
    """tokenizer.json with the settings applied, and what was ignored, a sentence each. Raises: ValueError."""
    Tokenizer.from_str(text)  # what follows relies on its shape
    spec = json.loads(text)
    if (most := max(_vocabulary(spec["model"]).values(), default=0)) >= MAX_TOKENS:
        raise ValueError(f"id {most} in tokenizer.json: a vocabulary's are < {MAX_TOKENS}")  # its gaps would be listed
    before = json.dumps(spec.get("added_tokens"))
    notes = _add_tokens(spec, settings)
    changed = json.dumps(spec.get("added_tokens")) != before
    if _decodes_otherwise(spec):
        notes.append("its tokens are bytes, and its decoder does not decode them: decoded as bytes")
        spec["decoder"] = dict(_BYTE_DECODER)
        changed = True
    if _set_prefix_space(spec, settings.config) or changed:
        text = json.dumps(spec, ensure_ascii=False)
    tokenizer = Tokenizer.from_str(text)
    _name_special_tokens(tokenizer, settings)
    _set_ends(tokenizer, settings.config)
    return str(tokenizer.to_str()), notes


def _add_tokens(spec: dict[str, Any], settings: TokenizerSettings) -> list[str]:
    """Put the added tokens into the vocabulary, each under its id, and give those that are there their flags."""
    notes = []
    known = {token["content"]: token for token in spec.get("added_tokens") or []}
    ids = {**_vocabulary(spec["model"]), **{text: token["id"] for text, token in known.items()}}
    owners = {number: text for text, number in ids.items()}
    for number, token in sorted(_declared(settings)):
        text = token["content"]
        if ids.get(text, number) != number:
            notes.append(f"{text} has id {ids[text]} in tokenizer.json, and {number} beside it: {ids[text]} counts")
            continue
        if number >= MAX_TOKENS:
            notes.append(f"{text}: its id {number} is none of a vocabulary's, which are < {MAX_TOKENS}: left out")
            continue
        if owners.get(number, text) != text:
            notes.append(f"{text}: its id {number} is {owners[number]} in tokenizer.json: left out")
            continue
        if text not in ids:
            _place(spec["model"], text, number)
            ids[text], owners[number] = number, text
        known[text] = {"id": number, **token}
    spec["added_tokens"] = sorted(known.values(), key=lambda token: token["id"])
    return notes


def _declared(settings: TokenizerSettings) -> Iterator[tuple[int, dict[str, Any]]]:
    """(id, token) of every token that the files beside tokenizer.json give an id."""
    special = {token_text(value) for name, value in settings.config.items() if name.endswith("_token")}
    special |= set(_listed(settings.config))
    decoder = settings.config.get("added_tokens_decoder")
    decoder = decoder if isinstance(decoder, Mapping) else {}
    detailed = {}
    for number, token in decoder.items():
        text = token_text(token)
        if text is not None and str(number).isdecimal():
            flags = token if isinstance(token, Mapping) else {}
            given = {name: bool(flags.get(name, default)) for name, default in _FLAGS.items()}
            detailed[text] = (int(number), {"content": text, **given})
    yield from detailed.values()
    for text, number in settings.added.items():
        if text not in detailed and isinstance(number, int) and number >= 0:
            yield number, {"content": text, **_FLAGS, "normalized": text not in special, "special": text in special}


def _listed(config: Mapping[str, Any]) -> Iterator[str]:
    for name in _LISTS:
        values = config.get(name)
        values = values.values() if isinstance(values, Mapping) else values if isinstance(values, list) else ()
        yield from (text for value in values if (text := token_text(value)) is not None)


def _vocabulary(model: Mapping[str, Any]) -> dict[str, int]:
    """Text -> id. A Unigram model lists its pieces with their scores, in the order of their ids; all others map."""
    vocabulary = model.get("vocab") or {}
    if isinstance(vocabulary, list):
        return {piece[0]: number for number, piece in enumerate(vocabulary)}
    return dict(vocabulary)


def _place(model: dict[str, Any], text: str, number: int) -> None:
    """Into the model itself: of tokens beside it `tokenizers` reads no ids, it counts on from those that are there."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        vocabulary[text] = number
        return
    while len(vocabulary) < number:
        vocabulary.append([f"<no piece {len(vocabulary)}>", _NEVER])
    vocabulary.append([text, _NEVER])


def _decodes_otherwise(spec: Mapping[str, Any]) -> bool:
    """Whether texts are encoded as the characters that stand for their bytes, and decoded as something else.

    Converters write such files: of Tekken with the decoder of SentencePiece, or without any.
    """
    return "ByteLevel" in _steps(spec.get("pre_tokenizer")) and "ByteLevel" not in _steps(spec.get("decoder"))


def _steps(part: object) -> list[str]:
    """Names of the steps of a pre-tokenizer or a decoder."""
    if not isinstance(part, Mapping):
        return []
    inner = part.get("pretokenizers") or part.get("decoders") or []
    return [name for step in inner for name in _steps(step)] or [str(part.get("type"))]


def _set_prefix_space(spec: dict[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether it had to be changed."""
    wanted = config.get("add_prefix_space")
    name = str(config.get("tokenizer_class", "")).removesuffix("Fast")
    before = spec.get("pre_tokenizer") or {}
    if not isinstance(wanted, bool) or name not in _PREFIXED or before.get("type") != "ByteLevel":
        return False
    changed = before.get("add_prefix_space") is not wanted
    before["add_prefix_space"] = wanted
    return changed


def _name_special_tokens(tokenizer: Tokenizer, settings: TokenizerSettings) -> None:
    """Make a special token of each that only the configuration names: it is found in a text, and leaves none."""
    named = [token_text(settings.config.get(name)) for name in _ENDS]
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    for text in dict.fromkeys([*named, *_listed(settings.config)]):
        if text is None or text in added:
            continue
        next_id = tokenizer.get_vocab_size(with_added_tokens=True)
        if tokenizer.token_to_id(text) is not None or next_id < settings.vocab_size:
            tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True)])


def _set_ends(tokenizer: Tokenizer, config: Mapping[str, Any]) -> None:
    """`add_bos_token` and `add_eos_token`; one that is not given stays as tokenizer.json has it."""
    texts = [token_text(config.get(name)) for name in _ENDS]
    ids = [None if text is None else tokenizer.token_to_id(text) for text in texts]
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a").ids
    now = [ids[0] is not None and whole[:1] == [ids[0]], ids[1] is not None and whole[-1:] == [ids[1]]]
    if len(whole) != len(plain) + sum(now):
        return  # it adds other tokens
    given = [config.get(f"add_{name}") for name in _ENDS]
    pairs = zip(given, now, ids, strict=True)
    wanted = [(value if isinstance(value, bool) else has) and number is not None for value, has, number in pairs]
    if wanted == now:
        return
    bos, eos = ([text] if add and text else [] for add, text in zip(wanted, texts, strict=True))
    special = [(text, tokenizer.token_to_id(text)) for text in dict.fromkeys([*bos, *eos])]
    single = [*bos, "$A", *eos]
    tokenizer.post_processor = TemplateProcessing(
        single=single, pair=[*single, *bos, "$B:1", *eos], special_tokens=special
    )
