"""How families of byte-level BPE split a text into words before merges apply: patterns for `tokenizers`.

They are those of the models' own tokenizer.json; each alternative stands for a kind of word.
"""

from __future__ import annotations

from typing import Final

CONTRACTIONS: Final = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_BEFORE_A_WORD: Final = r"[^\r\n\p{L}\p{N}]?"
WORD: Final = rf"{_BEFORE_A_WORD}\p{{L}}+"
MARKS: Final = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
MARKS_OR_SLASH: Final = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
BLANKS: Final = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER: Final = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}"
_LOWER: Final = r"\p{Ll}\p{Lm}\p{Lo}\p{M}"


def cased(after: str, only: str = "") -> str:
    """Words that end where capitals begin, with what may come `after` them; their letters are `only` those."""
    upper, lower = f"[{_UPPER}{only}]", f"[{_LOWER}{only}]"
    return f"{_BEFORE_A_WORD}{upper}*{lower}+{after}|{_BEFORE_A_WORD}{upper}+{lower}*{after}"


LLAMA_3: Final = "|".join([CONTRACTIONS, WORD, r"\p{N}{1,3}", MARKS, BLANKS])
QWEN_2: Final = "|".join([CONTRACTIONS, WORD, r"\p{N}", MARKS, BLANKS])
O200K: Final = "|".join([cased(f"{CONTRACTIONS}?"), r"\p{N}{1,3}", MARKS_OR_SLASH, BLANKS])  # Llama 4 too
