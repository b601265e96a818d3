"""Which of the engines that a person names are served."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from build_scripts.spec.reading import spec_file
from launch.serving.engines import build_engines, check_encoders, check_names
from tests.conftest import ROOT
from triton_repo.contract.errors import BuildError, LaunchError, SpecError
from triton_repo.contract.steps import step_engine


@dataclass(frozen=True)
class Built:
    name: str
    kind: str = "generate"

    @contextmanager
    def hold(self) -> Iterator[Path]:
        yield Path(self.name)


def build(spec: str) -> Built:
    """An engine of that name, but for those that are `out` or `misspelt`."""
    if spec.startswith("out"):
        raise BuildError(f"{spec} cannot be downloaded")
    if spec == "misspelt":
        raise SpecError("misspelt: neither a spec file nor one of engines/")
    return Built(spec)


def test_engines_are_served_in_the_order_in_which_they_are_named() -> None:
    said: list[str] = []
    assert [engine.name for engine in build_engines(["b", "a"], build, said.append)] == ["b", "a"]
    assert said == []


def test_an_engine_that_cannot_be_built_is_named_in_one_line_and_the_others_are_served() -> None:
    said: list[str] = []
    assert [engine.name for engine in build_engines(["out", "a"], build, said.append)] == ["a"]
    assert said == ["out is not served: out cannot be downloaded"]


def test_where_no_engine_can_be_built_nothing_is_served() -> None:
    with pytest.raises(BuildError, match=r"^out1 cannot be downloaded$"):
        build_engines(["out1", "out2"], build, print)


def test_a_name_that_is_not_there_is_an_error_however_many_others_are() -> None:
    with pytest.raises(SpecError, match="misspelt"):
        build_engines(["a", "misspelt"], build, print)


@pytest.mark.parametrize(("arguments", "engines"), [((), "smollm2 demo"), (("ENGINES=demo",), "demo")])
def test_make_serve_serves_a_real_model_first_and_what_a_person_names_instead(
    arguments: tuple[str, ...], engines: str
) -> None:
    shown = subprocess.run(["make", "-n", "serve", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f".venv/bin/conch serve {engines}" in shown.stdout.splitlines()
    assert all(spec_file(engine) for engine in engines.split())


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("a", "b", "a"), "engine a is named twice"),
        (("a", "a_engine"), "engines a and a_engine both have a model a_engine"),
        (("a_preprocess", "a"), "engines a_preprocess and a both have a model a_preprocess"),
        (("a_detokenize", "b", "a"), "engines a_detokenize and a both have a model a_detokenize"),
    ],
)
def test_engines_whose_models_have_the_same_name_are_not_served_together(names: tuple[str, ...], problem: str) -> None:
    with pytest.raises(LaunchError, match=f"^{problem}; each engine of one server needs its own name$"):
        check_names(names)


def test_engines_whose_names_begin_alike_are_served_together() -> None:
    check_names(("a", "a_chat", "a_engine_2"))


def test_encoders_are_not_served_where_openvino_is_not_installed() -> None:
    with pytest.raises(LaunchError, match=r"minilm: encoders run on OpenVINO, which is not installed: .* pip install"):
        check_encoders(["minilm"], None)
    check_encoders([], None)
    check_encoders(["minilm"], "2026.4.1")


def test_a_model_belongs_to_the_engine_whose_step_it_runs_or_is_an_encoder() -> None:
    models = ("demo_engine", "demo_detokenize", "minilm", "my_minilm", "a_b_preprocess")
    assert [*map(step_engine, models)] == ["demo", "demo", "minilm", "my_minilm", "a_b"]
