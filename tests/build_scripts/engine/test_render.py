"""Rendering a built engine: the size of its cache, and processes that render it at the same time."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from build_scripts.build import ensure_engine
from build_scripts.engine.manifest import Manifest
from build_scripts.engine.render import engine_config
from build_scripts.work.disk import locked
from tests.build_scripts.conftest import Workshop, contents
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.engine.runtimes.openvino.pipeline import cache_blocks, num_blocks


def config_of(workshop: Workshop, **build: int) -> EngineConfig:
    """Of the workshop's engine with these limits."""
    manifest: Manifest = workshop.manifest
    values: dict[str, Any] = manifest.model_dump(mode="json", exclude_none=True)
    values["spec"]["build"] |= build
    return engine_config(Manifest.model_validate(values), EngineDirectory(workshop.engine))


@pytest.mark.parametrize("max_seq_len", [32, 33, 100, 256])
def test_the_default_cache_holds_a_full_batch_of_full_sequences(built: Workshop, max_seq_len: int) -> None:
    config = config_of(built, max_seq_len=max_seq_len, max_batch_size=16)
    assert cache_blocks(config) == 16 * num_blocks(max_seq_len)


def test_the_card_tells_the_gateway_how_much_the_engine_can_run_at_once(built: Workshop) -> None:
    config = config_of(built, max_batch_size=4)
    assert config.card.max_batch_size == config.max_batch_size == 4
    assert config.card.kv_cache_tokens == config.max_tokens_in_paged_kv_cache


def test_an_engine_waits_while_another_process_renders_it_and_leaves_that_ones_files_alone(
    built: Workshop, tmp_path: Path
) -> None:
    engine = EngineDirectory(Path(shutil.copytree(built.engine, tmp_path / "copy")))
    rendered = contents(engine.repository)
    stale = engine.repository / "tiny" / "config.pbtxt"
    stale.write_text("stale", encoding="utf-8")
    temporary = stale.with_name(".config.pbtxt.1")
    with ThreadPoolExecutor() as pool:
        with locked(engine.repository):
            temporary.write_text("half of a", encoding="utf-8")
            opened = pool.submit(ensure_engine, str(engine.path))
            with suppress(TimeoutError):
                opened.result(timeout=2)
            assert temporary.exists()
            assert stale.read_text(encoding="utf-8") == "stale"
        assert opened.result().name == "tiny"
    assert contents(engine.repository) == rendered


def test_a_cache_in_bytes_holds_as_many_tokens_as_fit_into_it(built: Workshop) -> None:
    manifest: Manifest = built.manifest
    assert manifest.facts.kv_values_per_token is not None
    serve = manifest.spec.serve.model_copy(update={"kv_cache_bytes": 1000 * 4 * manifest.facts.kv_values_per_token + 3})
    spec = manifest.spec.model_copy(update={"serve": serve})
    config = engine_config(manifest.model_copy(update={"spec": spec}), EngineDirectory(built.engine))
    assert config.max_tokens_in_paged_kv_cache == config.card.kv_cache_tokens == 1000
    assert config.memory is not None
    assert config.memory.kv_cache_bytes == 4000 * manifest.facts.kv_values_per_token


def test_an_engine_says_what_it_takes_and_where_its_spec_leaves_its_cache_open_only_the_least(built: Workshop) -> None:
    config = config_of(built, max_seq_len=64)
    assert config.memory is not None
    assert config.memory.kv_cache_bytes is None
    assert config.memory.least_kv_cache_bytes == 64 * 4 * (built.manifest.facts.kv_values_per_token or 0)
    assert (
        config.memory.weight_bytes == (EngineDirectory(built.engine).model.path / "openvino_model.bin").stat().st_size
    )
