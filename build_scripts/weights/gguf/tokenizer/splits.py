"""How text is split into words before merges apply, for each `tokenizer.ggml.pre`, as `tokenizers` spells it.

The patterns are those of the models' own tokenizer.json; llama.cpp (src/llama-vocab.cpp) has them in its comments
where it computes them another way. Names that llama.cpp treats alike share an entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from build_scripts.vocabulary.words import (
    BLANKS,
    CONTRACTIONS,
    LLAMA_3,
    MARKS,
    MARKS_OR_SLASH,
    O200K,
    QWEN_2,
    WORD,
    cased,
)

_GPT2: Final = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_TEKKEN: Final = "|".join([cased(""), r"\p{N}", MARKS_OR_SLASH, BLANKS])
_QWEN35: Final = "|".join(
    [CONTRACTIONS, r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+", r"\p{N}", r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*", BLANKS]
)
_SEED: Final = "|".join([CONTRACTIONS, WORD, r"\p{N}", r" ?[^\s\p{L}\p{N}\r\n]+", BLANKS])
_BAILING: Final = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
_EXAONE_MOE: Final = "|".join(
    [
        CONTRACTIONS,
        r"[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+",
        r"\p{N}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]?",
        r"\s*[\r\n]|\s+(?!\S)|\s+",
    ]
)
_YOUTU: Final = "|".join([cased(f"{CONTRACTIONS}?"), r"\p{N}", MARKS_OR_SLASH, BLANKS])
_MINICPM: Final = "|".join([CONTRACTIONS, WORD, r"\p{N}+", MARKS, BLANKS])
_UFAKZEKA: Final = "|".join([WORD, r"\p{N}", MARKS, BLANKS])
_DEEPSEEK3: Final = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
    + BLANKS
)
_LAST_THREE: Final = r"\d{1,3}(?=(?:\d{3})*(?!\d))"  # digits by threes, counted from the last
_SPACES: Final = r"\s*[\r\n]+|" + "|".join(rf"\s{{{count}}}(?!\S)" for count in (512, 256, 128, 64, 32, 16, 8, 4))
_JAIS2: Final = "|".join([CONTRACTIONS, WORD, r"\p{N}{1,3}", MARKS, _SPACES, r"\s{1,2}(?!\S)|\s{1}"])
_NOT_HAN: Final = "&&[^\\p{Han}]"
_KIMI: Final = "|".join([
    r"\p{Han}+", cased(f"{CONTRACTIONS}?", _NOT_HAN), r"\p{N}{1,3}", MARKS, BLANKS,
])  # fmt: skip
_SPARK: Final = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|"
    r"\s+(?!\S)|\s+"
)
_ASIAN: Final = "[一-鿿㐀-䶿豈-\ufaff぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿\u0e80-\u0effក-\u17ffက-႟ꩠ-ꩿꧠ-\ua9ff가-\ud7afᄀ-ᇿ]+"
_HAN_KANA: Final = "[一-龥぀-ゟ゠-ヿ]+"
_HAN_HANGUL: Final = "[一-龥ࠀ-一가-퟿]+"
# Cased letters, as far as Unicode had them; by number where another editor may compose or decompose them.
_DEEPSEEK_LETTERS: Final = (
    r"\s?[A-Za-z"
    r"µ\x{C0}-\x{D6}Ø-\x{F6}ø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿ\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽ"
    r"ᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚ\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}"
    r"\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}"
    r"\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}"
    r"\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}ℂℇℊ-ℓℕℙ-ℝℤ\x{2126}ℨ\x{212A}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇ"
    r"Ꞌ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}"
    r"\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}\x{1E900}-\x{1E943}"
    r"]+"
)
_BLOOM: Final = r" ?[^(\s|[.,!?…。，、।۔،])]+"


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _digits(individual: bool) -> dict[str, Any]:
    return {"type": "Digits", "individual_digits": individual}


def _byte_level(regex: bool) -> dict[str, Any]:
    """Bytes as characters; with `regex` after splitting as GPT-2 does."""
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": regex}


_PUNCTUATION: Final = {"type": "Punctuation", "behavior": "Contiguous"}


@dataclass(frozen=True, slots=True)
class Splitting:
    """`steps` are the parts of a `pre_tokenizer`; one of them spells bytes as characters.

    Attributes:
        normalizer: NFC, of the models whose tokenizer.json has it; the files do not say, and llama.cpp leaves it out.
        whole_words: a word that is a token is one, whatever the merges give.
        adds_bos: a text begins with BOS unless the file says otherwise.
    """

    steps: tuple[Mapping[str, Any], ...]
    normalizer: str | None = None
    whole_words: bool = False
    adds_bos: bool = False


_BYTES: Final = _byte_level(regex=False)
_GPT2_WORDS: Final = _byte_level(regex=True)
_ONE_DIGIT: Final = _digits(individual=True)
_DIGITS_THEN_GPT2: Final = (_ONE_DIGIT, _GPT2_WORDS)
_LLAMA3_STEPS: Final = (_split(LLAMA_3), _BYTES)
_QWEN2_STEPS: Final = (_split(QWEN_2), _BYTES)

DEFAULT: Final = "default"


def _named(splitting: Splitting, *names: str) -> dict[str, Splitting]:
    return dict.fromkeys(names, splitting)


SPLITTINGS: Final[Mapping[str, Splitting]] = {
    DEFAULT: Splitting((
        _split(r"[\p{P}\$\+<=>\^~\|]+"), _split(_GPT2), _split(r"\p{N}+"), _split("[0-9][0-9][0-9]"), _BYTES,
    )),
    **_named(Splitting((_GPT2_WORDS,)), "gpt-2", "phi-2", "gigachat", "a.x-4.0", "mellum", "exaone4", "trillion",
             "granite-docling", "jais", "modern-bert"),
    **_named(Splitting((_GPT2_WORDS,), "NFC"), "mpt", "olmo"),
    **_named(Splitting(_DIGITS_THEN_GPT2), "starcoder", "refact", "smollm", "codeshell", "minerva-7b", "mellum2",
             "exaone"),
    "command-r": Splitting(_DIGITS_THEN_GPT2, "NFC"),
    **_named(Splitting(_LLAMA3_STEPS, whole_words=True, adds_bos=True), "llama-bpe", "llama3", "llama-v3", "falcon3",
             "falcon-h1", "pixtral", "midm-2.0", "lfm2"),
    **_named(Splitting(_LLAMA3_STEPS), "dbrx", "smaug-bpe", "chatglm-bpe"),
    **_named(Splitting(_LLAMA3_STEPS, whole_words=True), "glm4", "glm5"),
    "qwen2": Splitting(_QWEN2_STEPS, "NFC"),
    **_named(Splitting(_QWEN2_STEPS), "deepseek-r1-qwen", "megrez", "kormo", "stablelm2", "hunyuan", "grok-2",
             "solar-open", "f2llmv2"),
    "falcon": Splitting((_PUNCTUATION, _GPT2_WORDS, _digits(individual=False), _split("[0-9][0-9][0-9]"))),
    "deepseek-llm": Splitting((
        _split("[\r\n]"), _split(_DEEPSEEK_LETTERS), _split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"), _split(r"\s+$"),
        _split(_HAN_HANGUL), _ONE_DIGIT, _BYTES,
    )),
    "deepseek-coder": Splitting((
        _split("[\r\n]"), _split(r"\s?\p{L}+"), _split(r"\s?\p{P}+"), _split(_HAN_HANGUL), _ONE_DIGIT, _BYTES,
    )),
    **_named(Splitting((_split(r"\p{N}{1,3}"), _split(_HAN_KANA), _split(_DEEPSEEK3), _BYTES)), "deepseek-v3",
             "hunyuan-dense", "joyai-llm", "hy_v4"),
    "tekken": Splitting((_split(_TEKKEN), _BYTES), whole_words=True, adds_bos=True),
    **_named(Splitting((_split(O200K), _BYTES)), "gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"),
    **_named(Splitting((_split(_BLOOM), _BYTES)), "poro-chat", "bloom", "gpt3-finnish"),
    "qwen35": Splitting((_split(_QWEN35), _BYTES)),
    "seed-coder": Splitting((_split(_SEED), _BYTES)),
    **_named(Splitting((_split(_BAILING), _BYTES)), "bailingmoe", "bailingmoe2", "llada-moe"),
    "exaone-moe": Splitting((_split(_EXAONE_MOE), _BYTES)),
    "youtu": Splitting((
        _split("[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+"), _split(_YOUTU), _BYTES,
    ), whole_words=True),
    "minicpm5": Splitting((_split(r"\p{N}{1,3}"), _split(_MINICPM), _BYTES), whole_words=True),
    **_named(Splitting((_split(r"\d{1,3}(?=(?:\d{3})*\b)"), _split(O200K), _BYTES)), "tiny_aya", "cohere2moe"),
    "kimi-k2": Splitting((_split(_KIMI), _BYTES)),
    "afmoe": Splitting((_split(_LAST_THREE), _split(_ASIAN), _split(_DEEPSEEK3), _BYTES)),
    "superbpe": Splitting((_split(r"\p{N}+"), _split(_LAST_THREE), _BYTES)),
    "jais-2": Splitting((_split(_JAIS2), _BYTES)),
    "laguna": Splitting((_split("\n+"), _split(QWEN_2), _BYTES)),
    "spark2_5": Splitting((_split(r"\p{N}{1,3}"), _split(_HAN_KANA), _split(_SPARK), _ONE_DIGIT, _BYTES)),
    "chameleon": Splitting((
        _split("<sentinel:[0-9]+>"), _split("(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"), _split("([\t\n]|    |  )"),
        _ONE_DIGIT, _split(r"[\p{P}!-/:-@\[-`{-~]"), _GPT2_WORDS,
    ), adds_bos=True),
    "ufakzeka": Splitting((_split(_UFAKZEKA), _BYTES)),
    "viking": Splitting((_split(_BLOOM), _ONE_DIGIT, _BYTES)),
}  # fmt: skip
