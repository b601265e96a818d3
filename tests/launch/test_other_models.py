"""Which models of other repositories are served beside the engines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from launch.journal import why_not_loaded
from launch.serving.other_models import check_apart, check_required, find_models, python_models
from tests.conftest import ROOT
from triton_repo.contract.errors import LaunchError


def repository(path: Path, *files: str) -> Path:
    for file in files:
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        (path / file).touch()
    return path


def test_a_model_is_a_folder_with_a_config_or_a_version(tmp_path: Path) -> None:
    one = repository(tmp_path / "one", "a/config.pbtxt", "b/1/model.onnx", ".git/1/x", "README.md", "docs/page.md")
    other = repository(tmp_path / "other", "c/12/model.py")
    assert find_models([one, other]) == {"a": one, "b": one, "c": other}
    assert find_models([]) == {}


def test_a_repository_that_is_none_is_an_error(tmp_path: Path) -> None:
    empty = repository(tmp_path / "empty", "docs/page.md")
    too_long = tmp_path / ("x" * 300)
    for path, words in (
        (tmp_path / "none", "must be a directory"),
        (empty, "has no model"),
        (too_long, "cannot be read"),
    ):
        with pytest.raises(LaunchError, match=f"--model-repository {path}: {words}"):
            find_models([path])


def test_each_model_needs_a_name_of_its_own(tmp_path: Path) -> None:
    one, other = (repository(tmp_path / name, "a/config.pbtxt") for name in ("one", "other"))
    with pytest.raises(LaunchError, match=f"{other}: model a is in {one} too"):
        find_models([one, other])


def test_only_models_with_processes_of_their_own_need_shared_memory(tmp_path: Path) -> None:
    one = repository(tmp_path / "one", "a/1/model.onnx", "b/2/model.py", "ensemble/config.pbtxt", "ensemble/1/README")
    assert python_models(find_models([one])) == ["b"]


def test_the_directory_that_a_file_system_makes_is_no_model(tmp_path: Path) -> None:
    one = repository(tmp_path / "one", "a/config.pbtxt", "lost+found/1/x")
    assert [*find_models([one])] == ["a"]


@pytest.mark.parametrize("name", ["modèle", "two words", "a?b", "a%20b", "*"])
def test_a_name_that_no_url_or_command_line_can_have_is_an_error(tmp_path: Path, name: str) -> None:
    one = repository(tmp_path / "one", f"{name}/config.pbtxt")
    with pytest.raises(LaunchError, match=f"{one}: model {re.escape(repr(name))}: allowed are letters"):
        find_models([one])


@pytest.mark.parametrize("name", ["demo", "demo_preprocess", "demo_engine", "demo_detokenize"])
def test_a_name_of_an_engine_or_its_steps_is_an_error(tmp_path: Path, name: str) -> None:
    check_apart(["demo"], {"demo_other": tmp_path, "demo2": tmp_path})
    with pytest.raises(LaunchError, match=f"{tmp_path}: model {name}: engine demo has a model of that name"):
        check_apart(["replay", "demo"], {name: tmp_path})


def test_what_readiness_needs_is_served() -> None:
    check_required(["a", "demo"], ["demo", "a", "b"])
    with pytest.raises(LaunchError, match="--required-models c: is not served; served are demo, a"):
        check_required(["a", "c"], ["demo", "a"])


def test_a_config_that_cannot_be_read_is_told_with_its_reason() -> None:
    line = """E1 manager.cc:1] "Poll failed for model directory 'a': failed to read text proto from /x/config.pbtxt\""""
    assert why_not_loaded("a", [line]) == "failed to read text proto from /x/config.pbtxt"


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("**/*.pbtxt")), ids=lambda file: file.parent.name)
def test_a_config_of_an_example_is_one_of_triton(file: Path) -> None:
    config = text_format.Parse(file.read_text(encoding="utf-8"), pb.ModelConfig())
    assert config.max_batch_size == 32
    assert config.backend in ("python", "onnxruntime") or config.platform == "ensemble"
