"""`python -m tests.tokenizers DIRECTORY`: streams the tokens of mixed texts with every tokenizer of a directory.

Every `tokenizer.json` (or `*.tokenizer.json`) below it encodes the texts; their tokens, streamed in several chunkings,
must give what they decode to at once. Tokens drawn at random, which a model may write, are streamed too: with byte
fallback, those may differ where bytes are not UTF-8. Prints the first differences and a table. Exit code 1 if any
stream of a text differs.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer

from tests.build_scripts.weights.gguf.mixed_text import mixed_lines
from tests.tokenizers.streaming import Comparison

_TEXTS = 1000
_DRAWS, _DRAWN = 300, 24  # sequences of random tokens, and their length
_SHOWN = 3  # differences of one tokenizer


def encoded(tokenizer: Tokenizer) -> Iterator[list[int]]:
    """Tokens of texts, by themselves and as a prompt is encoded."""
    for number, text in enumerate(mixed_lines(_TEXTS)):
        yield tokenizer.encode(text, add_special_tokens=number % 2 == 0).ids


def drawn(tokenizer: Tokenizer) -> Iterator[list[int]]:
    """Tokens that are not special, at random: one that is special may part the bytes of a character."""
    special = {id for id, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    ids = sorted(set(tokenizer.get_vocab(with_added_tokens=True).values()) - special)
    draw = random.Random(5)
    for _ in range(_DRAWS):
        yield draw.choices(ids, k=_DRAWN)


def main(directory: Path) -> int:
    """Compare all, and print. Returns: the exit code."""
    files = sorted(path for path in directory.rglob("*tokenizer.json") if path.is_file())
    rows, wrong = [], 0
    for file in files:
        tokenizer = Tokenizer.from_file(str(file))
        counts = []
        for kind, sequences in (("text", encoded(tokenizer)), ("random tokens", drawn(tokenizer))):
            comparison = Comparison(tokenizer)
            found = [difference for ids in sequences for difference in comparison.differences(ids)]
            for each in found[:_SHOWN]:
                shown = f"whole    {each.whole!r}\n    streamed {list(each.deltas)!r}"
                sys.stdout.write(f"{file.relative_to(directory)}: {kind}\n    {shown}\n")
            counts += [comparison.streams, len(found)]
            wrong += len(found) if kind == "text" else 0
        name = str(file.parent.relative_to(directory))
        rows.append((name, comparison.kind, tokenizer.get_vocab_size(), *counts))
    form = "{:40.40} {:10} {:>8} {:>8} {:>9} {:>8} {:>9}\n"
    sys.stdout.write(form.format("tokenizer", "kind", "tokens", "streams", "different", "random", "different"))
    for row in rows:
        sys.stdout.write(form.format(*row))
    return 1 if wrong or not files else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
