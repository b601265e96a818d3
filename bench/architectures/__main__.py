"""`python -m bench.architectures [NAME …]`: which architectures the CPU engine computes as transformers does."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from bench.architectures.catalog import ARCHITECTURES
from bench.architectures.page import MEASURED, PAGE, Measurement, page
from bench.architectures.trial import Result, try_architecture
from build_scripts.builders import BUILDERS
from build_scripts.plan import installed_versions

_PACKAGES = ("openvino", "openvino-genai")


def architectures(
    names: Annotated[list[str] | None, typer.Argument(help="Some of them, quoted; all if none is given.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Keep the results, and write docs/models.md.")] = False,
) -> None:
    """Build a small random checkpoint of each architecture, compare it with transformers, and print a table."""
    known = {each.name: each for each in ARCHITECTURES}
    for unknown in sorted(set(names or []) - known.keys()):
        raise typer.BadParameter(f"{unknown}: there is none; there are {', '.join(known)}")
    results = []
    for each in [known[name] for name in names or known]:
        with tempfile.TemporaryDirectory() as scratch:
            results.append(try_architecture(each, Path(scratch)))
        print(_line(results[-1]), flush=True)
    wrong = sum(result.reason is not None for result in results)
    print(f"{len(results) - wrong} of {len(results)} equal transformers; {wrong} are rejected")
    if write:
        today = dt.datetime.now(tz=dt.UTC).date().isoformat()
        measurement = Measurement(date=today, versions=_versions(), results=tuple(_kept(results)))
        measurement.save()
        PAGE.write_text(page(measurement), encoding="utf-8")


def _kept(results: list[Result]) -> Iterator[Result]:
    """Of all architectures: the new results, and those that were kept before of the others."""
    found = {result.name: result for result in (*(Measurement.load().results if MEASURED.exists() else ()), *results)}
    return (found[each.name] for each in ARCHITECTURES if each.name in found)


def _line(result: Result) -> str:
    if result.reason is not None:
        return f"{result.name:28} rejected: {result.reason}"
    return f"{result.name:28} equal, within {result.largest_difference:.1e}, by {result.way}"


def _versions() -> dict[str, str]:
    from triton_repo.contract.distribution import installed_version

    found = {name: installed_version(name) for name in _PACKAGES}
    return {name: version for name, version in found.items() if version} | installed_versions(BUILDERS["openvino"])


if __name__ == "__main__":
    typer.run(architectures)
