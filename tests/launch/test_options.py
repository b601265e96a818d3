"""The command line of `conch serve`: which options agree, and how those of the gateway reach it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gateway.settings import SECRETS, Settings, load_settings
from launch.kserve import Exposure
from launch.ranks import RankOptions
from launch.serving.flags import with_gateway_flags
from launch.serving.options import ServeOptions, control_mode
from triton_repo.contract.errors import LaunchError

OPTIONS = ServeOptions(("demo",), Settings(), Exposure(8000, 8001), 8002, available=("other",))
EXPOSED = Exposure(8000, 8001, exposed=True)


def test_models_are_controlled_where_only_this_user_reaches_triton() -> None:
    assert OPTIONS.control == "explicit"
    assert replace(OPTIONS, kserve=EXPOSED).control == "none"
    assert replace(OPTIONS, kserve=EXPOSED, model_control="explicit").control == "explicit"
    OPTIONS.check()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (replace(OPTIONS, model_control="poll"), "--model-control poll: "),
        (replace(OPTIONS, model_control="none"), "--model-control none: "),
        (replace(OPTIONS, kserve=EXPOSED), "--expose-kserve: "),
        (replace(OPTIONS, ranks=RankOptions(launcher="mpirun")), "--launcher mpirun: "),
    ],
)
def test_engines_for_later_are_rejected_where_none_can_be_loaded_later(options: ServeOptions, named: str) -> None:
    with pytest.raises(LaunchError, match=f"^{named}no engine can be loaded later; --available needs"):
        options.check()
    replace(options, available=()).check()


def test_a_mode_that_triton_does_not_have_is_rejected_with_those_that_it_has() -> None:
    assert [control_mode(word) for word in ("none", "explicit", "poll", None)] == ["none", "explicit", "poll", None]
    with pytest.raises(LaunchError, match=r"^--model-control all: allowed: none, explicit, poll$"):
        control_mode("all")


def run(*words: str) -> tuple[int, list[Mapping[str, Any]]]:
    """The exit status of a command, and what it got as settings of the gateway."""
    seen: list[Mapping[str, Any]] = []
    app = typer.Typer()

    @app.command()
    @with_gateway_flags
    def command(*, gateway: Mapping[str, Any]) -> None:
        seen.append(gateway)

    return CliRunner().invoke(app, words).exit_code, seen


def given(*words: str) -> Mapping[str, Any]:
    status, seen = run(*words)
    assert status == 0
    return seen[0]


def test_without_flags_the_gateway_has_its_defaults() -> None:
    assert load_settings(given(), {}) == Settings()


def test_every_setting_of_the_gateway_arrives_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.toml").write_text('[aliases]\nchat = "demo"\n', encoding="utf-8")
    words = ("--workers", "2", "--no-access-log", "--queue-timeout-s", "1.5", "--catalog", "names.toml")
    settings = load_settings(given(*words, "--alias", "a=demo", "--alias", "b=demo", "--metrics-names", "vllm"), {})
    assert (settings.workers, settings.access_log, settings.queue_timeout_s) == (2, False, 1.5)
    assert settings.catalog == tmp_path / "names.toml"  # wherever the gateway is started
    assert (settings.alias, settings.metrics_names) == (("a=demo", "b=demo"), ("vllm",))


OWN = ("port", "first_model", "triton_grpc", "triton_metrics", "engine_states_file", "orders_socket")


@pytest.mark.parametrize("name", [*sorted(SECRETS), *OWN])
def test_keys_and_what_conch_serve_itself_knows_are_no_flags(name: str) -> None:
    assert run(f"--{name.replace('_', '-')}", "1") == (2, [])
