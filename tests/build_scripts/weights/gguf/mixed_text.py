"""Lines of mixed text for tokenizers: languages, code, digits, blanks, emoji, contractions, and what lies between."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

_WORDS: Final = (
    "Hello", "world", "the", "capital", "of", "France", "is", "Paris", "HTTPServer", "camelCase", "snake_case",
    "ALLCAPS", "iPhone", "McDonald's", "I'm", "you're", "WE'LL", "they'VE", "don't", "it’s", "O'Neill", "'twas",
    "rock'n'roll", "naïve", "café", "façade", "Zürich", "straße", "Łódź", "smørrebrød", "Ångström", "peña",
    "coração", "été", "привет", "Москва", "їжак", "Ελλάδα", "ΣΟΦΙΑ", "შვილი", "հայերեն", "שָׁלוֹם", "مرحبا",
    "اَلْعَرَبِيَّة", "हिन्दी", "नमस्ते", "বাংলা", "தமிழ்", "ไทยแลนด์", "ភាសាខ្មែរ", "မြန်မာ", "Việt", "中文",
    "你好世界", "繁體字", "日本語", "カタカナ", "ひらがな", "한국어", "안녕하세요", "ㅋㅋㅋ", "ﬁnancial", "ⅷ", "Ⅻ",
    "½", "²", "①", "٣٤", "१२३", "𝔘𝔫𝔦", "🙂", "👩\u200d👩\u200d👧\u200d👦", "🇫🇷", "👍🏽", "❤️", "🦙.cpp", "→", "≤",
    "∑", "€", "…", "—", "“q”", "«g»", "\xa0", "\u200b", "\u3000", "\ufeff", "<s>", "[INST]", "<|x|>", "{{a}}",
    "$\\frac{1}{2}$", "C++", "f(x)=x**2", "x!=y", "a->b", "&&", "||", "//", "/*", "*/", "#!/bin/sh",
    "https://example.org/a?b=c&d=%20", "me@example.org", "2024-02-29", "12:34:56", "3.14159", "1,234,567", "1e-5",
    "0xDEADBEEF", "007", "42", "100000000000", "v1.2.3-rc4",
)  # fmt: skip
_BLANKS: Final = (
    " ",
    " ",
    " ",
    " ",
    "",
    "  ",
    "   ",
    "\t",
    "    ",
    "\n",
    "\n\n",
    "\r\n",
    " \n ",
    "\n\t",
    ", ",
    ". ",
    "! ",
    "? ",
)
_CODE: Final = (
    "def f(x, y=1):\n    return x + y  # sum\n",
    'for (int i = 0; i < n; i++) {\n\tprintf("%d\\n", a[i]);\n}',
    "SELECT * FROM users WHERE id IN (1, 22, 333) ORDER BY name DESC;",
    '{"a": [1, 2.5, null], "b": {"c": "d\\u00e9"}}',
    "<div class='x'>\n  <p>A &amp; B</p>\n</div>",
    "git commit -m 'fix: 3333 things'  &&   git push",
    "| a | b |\n|---|---|\n| 1 | 2 |",
)


def mixed_lines(count: int, seed: int = 7) -> Iterator[str]:
    """The same `count` texts for the same seed; some have line feeds in them, none has a NUL."""
    draw = random.Random(seed)
    for _ in range(count):
        kind = draw.random()
        if kind < 0.1:
            yield draw.choice(_CODE) + draw.choice(_BLANKS) + draw.choice(_WORDS)
        elif kind < 0.2:
            yield "".join(str(draw.randrange(10)) for _ in range(draw.randrange(1, 12))) + draw.choice(_BLANKS)
        elif kind < 0.3:
            yield "".join(chr(_character(draw)) for _ in range(draw.randrange(1, 12)))
        else:
            yield "".join(draw.choice(_WORDS) + draw.choice(_BLANKS) for _ in range(draw.randrange(1, 9)))


def _character(draw: random.Random) -> int:
    """Of any block that has many."""
    low, high = draw.choice(
        [(32, 127), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0xDFF), (0x1E00, 0x206F),
         (0x20A0, 0x2BFF), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xFF00, 0xFFEF), (0x1F300, 0x1F9FF)]
    )  # fmt: skip
    return draw.randrange(low, high)
