"""What the clients' programs reported last, kept beside the tests: `docs/conformance.md` is written from it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).with_name("results.json")


@dataclass(frozen=True)
class Result:
    """`rows` says for each row what went wrong, or null."""

    version: str
    rows: dict[str, str | None]

    @property
    def failed(self) -> dict[str, str]:
        return {row: error for row, error in self.rows.items() if error is not None}


def parse(output: str) -> Result:
    """The last line that a program wrote; what its client printed before it is not its report."""
    return Result(**json.loads(output.splitlines()[-1]))


def read() -> dict[str, Result]:
    return {name: Result(**found) for name, found in json.loads(FILE.read_text(encoding="utf-8")).items()}


def record(results: dict[str, Result]) -> None:
    """Replace those of the clients that ran."""
    known = (read() if FILE.exists() else {}) | results
    text = json.dumps({name: asdict(result) for name, result in known.items()}, indent=1, sort_keys=True)
    FILE.write_text(text + "\n", encoding="utf-8")
