"""Lists of ranked byte strings, the vocabularies of byte-level BPE, as the tokenizer of tokenizer.json.

tiktoken's files (`tokenizer.model` of Llama 3 and 4, `qwen.tiktoken`) hold a line `BASE64 RANK` for each token, and
neither how a text is split into words nor the special tokens: those are facts of the family, which its number of tokens
tells. Mistral's `tekken.json` says all of it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from build_scripts.vocabulary.limits import MAX_TOKENS
from build_scripts.vocabulary.merges import merges_of
from build_scripts.vocabulary.words import LLAMA_3, O200K, QWEN_2
from triton_repo.contract.errors import BuildError

_LINE: Final = re.compile(rb"([A-Za-z0-9+/]+={0,2}) ([0-9]{1,9})\r?")


@dataclass(frozen=True, slots=True)
class ByteVocabulary:
    """The tokenizer of the file `where`: `ranks` have ids from `first_id` on, `special` tokens theirs.

    `pattern` matches the words that a text is split into.
    """

    where: str
    ranks: Mapping[bytes, int]
    pattern: str
    special: Mapping[str, int]
    first_id: int = 0
    nfc: bool = False


@dataclass(frozen=True, slots=True)
class _Family:
    """What tiktoken's file of a family does not say; `special` tokens follow its ranks."""

    name: str
    pattern: str
    special: tuple[str, ...]
    ends: tuple[str | None, str]  # BOS and EOS
    nfc: bool = False


def _numbered(name: str, first: int, last: int) -> tuple[str, ...]:
    return tuple(f"<|{name}_{number}|>" for number in range(first, last + 1))


_RESERVED: Final = "reserved_special_token"
_LLAMA_3: Final = (
    "<|begin_of_text|>", "<|end_of_text|>", *_numbered(_RESERVED, 0, 1), "<|finetune_right_pad_id|>", "<|step_id|>",
    "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>", "<|image|>",
    *_numbered(_RESERVED, 2, 245),
)  # fmt: skip
_LLAMA_4: Final = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
    "<|header_start|>", "<|header_end|>", "<|eom|>", "<|eot|>", "<|step|>",
    *_numbered(f"text_post_train_{_RESERVED}", 0, 5), "<|python_start|>", "<|python_end|>", "<|finetune_right_pad|>",
    *_numbered(f"text_post_train_{_RESERVED}", 8, 68),
    "<|image_start|>", "<|image_end|>", *_numbered(f"vision_{_RESERVED}", 0, 1), "<|tile_x_separator|>",
    "<|tile_y_separator|>", *_numbered(f"vision_{_RESERVED}", 2, 5), "<|image|>",
    *_numbered(f"vision_{_RESERVED}", 6, 6), "<|patch|>", *_numbered(f"vision_{_RESERVED}", 7, 1047),
    *_numbered(f"reasoning_{_RESERVED}", 0, 7), "<|reasoning_thinking_start|>", "<|reasoning_thinking_end|>",
)  # fmt: skip
_QWEN: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *_numbered("extra", 0, 204))
# The number of ranks tells the family.
_FAMILIES: Final[Mapping[int, _Family]] = {
    128_000: _Family(
        "Llama 3",
        LLAMA_3,
        _LLAMA_3,
        ("<|begin_of_text|>", "<|end_of_text|>"),
    ),
    200_000: _Family(
        "Llama 4",
        O200K,
        _LLAMA_4,
        ("<|begin_of_text|>", "<|end_of_text|>"),
    ),
    151_643: _Family(
        "Qwen",
        QWEN_2,
        _QWEN,
        (None, "<|endoftext|>"),
        nfc=True,
    ),
}
# Those of tekken.json of versions before it named them.
_TEKKEN_SPECIAL: Final = (
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]",
    "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]",
)  # fmt: skip


def is_tiktoken(data: bytes) -> bool:
    """Whether a file is tiktoken's, whatever its name: `tokenizer.model` may be SentencePiece's."""
    return _LINE.fullmatch(data.partition(b"\n")[0]) is not None


def read_tiktoken(data: bytes, where: str) -> tuple[ByteVocabulary, dict[str, Any]]:
    """The vocabulary, and what tokenizer_config.json says of it where nothing else does.

    Raises:
        BuildError: the file is broken, or of a family that is not known here.
    """
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.rstrip(b"\n").split(b"\n"), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise BuildError(f"{where}: line {number}: must be a token in base64 and its rank")
        ranks[_bytes(match[1], where)] = int(match[2])
    _check_ranks(ranks, where)
    family = _FAMILIES.get(len(ranks))
    if family is None:
        known = ", ".join(f"{each.name} ({size})" for size, each in _FAMILIES.items())
        rule = "it does not say how to split a text, and this is known of"
        raise BuildError(f"{where}: {len(ranks)} tokens in tiktoken's format: {rule} {known}; give tokenizer.json")
    special = {text: len(ranks) + index for index, text in enumerate(family.special)}
    bos, eos = family.ends
    config = {"eos_token": eos, "add_bos_token": bos is not None, **({"bos_token": bos} if bos else {})}
    return ByteVocabulary(where, ranks, family.pattern, special, nfc=family.nfc), config


def read_tekken(values: Mapping[str, Any], where: str) -> tuple[ByteVocabulary, dict[str, Any]]:
    """Of the values of tekken.json; else as `read_tiktoken`."""
    try:
        config = values["config"]
        num_special, size = int(config["default_num_special_tokens"]), int(config["default_vocab_size"])
        named = values.get("special_tokens") or [{"rank": i, "token_str": t} for i, t in enumerate(_TEKKEN_SPECIAL)]
        special = {str(token["token_str"]): int(token["rank"]) for token in named}
        ranks = {_bytes(entry["token_bytes"], where): int(entry["rank"]) for entry in values["vocab"]}
        pattern = str(config["pattern"])
    except (KeyError, TypeError, ValueError) as error:
        raise BuildError(f"{where}: not a tekken.json: {type(error).__name__}: {error}") from error
    if not 0 < num_special < size <= MAX_TOKENS or not all(0 <= rank < num_special for rank in special.values()):
        raise BuildError(f"{where}: special tokens must have ranks in 0 … {num_special - 1}, of {size} tokens")
    taken = set(special.values())
    special |= {f"<SPECIAL_{rank}>": rank for rank in range(num_special) if rank not in taken}
    kept = {token: rank for token, rank in ranks.items() if rank < size - num_special}
    _check_ranks(kept, where)
    ends = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
    return ByteVocabulary(where, kept, pattern, special, first_id=num_special), ends


def convert_byte_level(vocabulary: ByteVocabulary) -> Tokenizer:
    """The tokenizer that gives a text the ids that tiktoken gives it. Raises: BuildError: a token is too long."""
    alphabet = _alphabet()
    texts = {"".join([alphabet[byte] for byte in token]): rank for token, rank in vocabulary.ranks.items()}
    merges = merges_of({text: rank for text, rank in texts.items() if len(text) > 1}, texts, vocabulary.where)
    ids = {text: vocabulary.first_id + rank for text, rank in texts.items()}
    before = {text: number for text, number in vocabulary.special.items() if number < vocabulary.first_id}
    # A word that is a token as a whole is that token, whatever its merges would make of it.
    tokenizer = Tokenizer(models.BPE(vocab={**before, **ids}, merges=merges, ignore_merges=True))
    if vocabulary.nfc:
        tokenizer.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(vocabulary.pattern), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    in_order: Sequence[str] = sorted(vocabulary.special, key=vocabulary.special.__getitem__)
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in in_order])
    return tokenizer


def _bytes(text: str | bytes, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BuildError(f"{where}: {text!r:.40} is not base64") from error


def _check_ranks(ranks: Mapping[bytes, int], where: str) -> None:
    if set(ranks.values()) != set(range(len(ranks))) or not all(bytes([byte]) in ranks for byte in range(256)):
        raise BuildError(f"{where}: the ranks must be 0 … {len(ranks) - 1}, each once, with a token for every byte")


def _alphabet() -> dict[int, str]:
    """GPT-2's printable character for each byte: printable Latin-1 is itself, the other bytes follow from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(0x100 + n) for n, byte in enumerate(others)}
