"""`python -m tests.templates DIRECTORY`: every chat template of a directory, rendered by Conch and by transformers.

And by Conch once more with the special tokens in the messages marked (`preprocess/client_text.py`), which must make no
difference. For instance `models/templates` of llama.cpp. Prints each text that differs, cut where the difference
begins, and counts; what both reject counts as the same. Exit code 1 if any differs.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from tests.templates.comparison import chat_comparisons, comparisons, mark_comparisons

_SUFFIXES = {".jinja", ".jinja2", ".j2", ".txt"}
_SHOWN = 120
_KINDS = {"the environment": comparisons, "whole chats": chat_comparisons, "marked tokens": mark_comparisons}


def _is_error(text: str) -> bool:
    name, colon, _ = text.partition(": ")
    return bool(colon) and name.isidentifier() and name.endswith(("Error", "Exception", "Request", "Timeout"))


def _shown(theirs: str, ours: str) -> str:
    pairs = enumerate(zip(theirs, ours, strict=False))
    at = next((at for at, (a, b) in pairs if a != b), min(len(theirs), len(ours)))
    part = slice(max(0, at - 20), at + _SHOWN)
    return f"    transformers: …{theirs[part]!r}\n    conch:        …{ours[part]!r}\n"


def main(directory: Path) -> int:
    """Compare all, and print. Returns: the exit code."""
    files = [path for path in sorted(directory.rglob("*")) if path.suffix in _SUFFIXES and path.is_file()]
    sources = {path.read_text(encoding="utf-8"): path for path in files}
    counts: Counter[tuple[str, str]] = Counter()
    for source, path in sources.items():
        for kind, compare in _KINDS.items():
            for case, theirs, ours in compare(source):
                same = theirs == ours or (kind == "whole chats" and _is_error(theirs) and _is_error(ours))
                outcome = ("rejected by both" if _is_error(ours) else "the same text") if same else "different"
                counts[kind, outcome] += 1
                if not same:
                    sys.stdout.write(f"{path.relative_to(directory)}: {kind}: {case}\n{_shown(theirs, ours)}")
    sys.stdout.write(f"{len(sources)} templates\n")
    for (kind, outcome), count in sorted(counts.items()):
        sys.stdout.write(f"{kind:16} {outcome:18} {count:7}\n")
    return 1 if any(outcome == "different" for _, outcome in counts) else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
