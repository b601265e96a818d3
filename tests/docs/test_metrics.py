"""Every metric that the documentation, the rules, the dashboard and the chart name is one that a server has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import table
from gateway.settings import METRICS_NAMES
from tests.conftest import Stack
from tests.docs.pages import PAGES, ROOT
from tests.gateway.scripted_backend import ScriptedBackend
from tests.gateway.server import serving

_NAME: Final = re.compile(r"(?<![\w/.-])(?:conch|nv|vllm|gen_ai)[_:][a-z0-9_:]*[a-z0-9_]")
_SUFFIXES: Final = {"histogram": ("", "_bucket", "_sum", "_count")}
_OF_A_RESPONSE_CACHE: Final = {"nv_cache_num_hits_per_model"}  # Triton has it where an encoder has such a cache
FILES: Final = (
    *PAGES,
    *sorted(
        file
        for file in (ROOT / "deploy").rglob("*")
        if file.suffix in {".yml", ".yaml", ".json", ".tpl", ".cfg", ".conf", ".txt", ".sbatch"}
    ),
)


@pytest.fixture(scope="module")
def known(stack: Stack) -> frozenset[str]:
    """Of a real server, of one that gives all names, of the table of what only some have, and what the rules record."""
    with serving(ScriptedBackend(), metrics_names=METRICS_NAMES) as gateway:
        names = {*_names_on_page(stack.gateway), *_names_on_page(gateway.url), *_OF_A_RESPONSE_CACHE}
    for series in table.SERIES:
        names.update(series.exposed + suffix for suffix in _SUFFIXES.get(series.kind, ("",)))
    rules = (ROOT / "deploy" / "monitoring" / "rules.yml").read_text(encoding="utf-8")
    return frozenset(names | {*re.findall(r"record: (\S+)", rules)})


def _names_on_page(url: str) -> Iterator[str]:
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics").text):
        yield family.name
        yield from (sample.name for sample in family.samples)


def named(file: Path) -> set[str]:
    return {*_NAME.findall(file.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_metric_that_is_named_exists(file: Path, known: frozenset[str]) -> None:
    """A name that ends with `_` stands for all that begin with it."""
    unknown = {
        name for name in named(file) - known if not (name[-1] in "_:" and any(one.startswith(name) for one in known))
    }
    assert unknown == set()


def test_names_are_found_where_they_are() -> None:
    assert "conch_requests_total" in named(ROOT / "deploy" / "monitoring" / "rules.yml")
    assert "nv_trt_llm_request_metrics" in named(ROOT / "docs" / "metrics.md")
