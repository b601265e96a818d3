"""Only `-m operate` looks into this folder: other runs have neither the packages nor the servers that it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.left_regions import no_regions_left

__all__ = ["no_regions_left"]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    chosen = "operate" in str(config.option.markexpr).removeprefix("not (fault or conformance or operate)")
    return None if chosen or not collection_path.name.startswith("test_") else True
