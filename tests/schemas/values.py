"""`python -m tests.schemas.values DIRECTORY`: the values of a JSON-Schema-Test-Suite, by the grammars of their schemas.

For instance `tests/draft2020-12`, or `maskbench/data` of JSONSchemaBench. Prints each value that a grammar allows
although its schema forbids it, and counts: a grammar may refuse what its schema allows, as an order of properties that
is not the schema's. Exit code 1 if a grammar alone allows what is forbidden.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.triton_repo.engine.schema.ebnf import accepts
from triton_repo.engine.schema.convert import grammar_of
from triton_repo.engine.schema.grammar import json_text
from triton_repo.engine.schema.keywords import not_enforced

_SHOWN = 160
_LONGEST = 500  # characters of a value: the recognizer of the tests takes one within the other


def main(directory: Path) -> int:
    sys.setrecursionlimit(20 * _LONGEST)
    counts: Counter[str] = Counter()
    for name, group in _groups(directory):
        schema = group["schema"]
        try:
            grammar = grammar_of(schema)
        except ValueError:
            counts["schemas rejected"] += 1
            continue
        by_check = any(not_enforced(schema))
        counts["schemas"] += 1
        for test in group["tests"]:
            verdict = _verdict(grammar, test, by_check=by_check)
            counts[verdict] += 1
            if verdict == "forbidden, allowed":
                sys.stdout.write(f"{name}: {test['description']}: {schema!r:.{_SHOWN}} {test['data']!r:.{_SHOWN}}\n")
    for what, count in sorted(counts.items()):
        sys.stdout.write(f"{count:6} {what}\n")
    return 1 if counts["forbidden, allowed"] else 0


def _groups(directory: Path) -> Iterator[tuple[str, Any]]:
    for path in sorted(directory.rglob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for group in content if isinstance(content, list) else [content]:
            yield f"{path.relative_to(directory)}, {group['description']}", group


def _verdict(grammar: str, test: Any, *, by_check: bool) -> str:
    try:
        text = json_text(test["data"])
        text.encode()
    except ValueError:
        return "values that JSON has not"
    if len(text) > _LONGEST:
        return "values that are too long"
    said = "valid" if test["valid"] else "forbidden"
    done = "allowed" if accepts(grammar, text) else "refused"
    return f"{said}, {done}, in part by a check" if by_check else f"{said}, {done}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
