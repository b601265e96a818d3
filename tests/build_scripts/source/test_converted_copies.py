"""The cache of copies of converted checkpoints: what is kept, what is swept, and what never is."""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from build_scripts.source.checkpoint import resolve
from build_scripts.source.converted_copies import cached_copy
from build_scripts.work.disk import held, remove_unless_held
from tests.build_scripts.checkpoints import make_checkpoint
from tests.build_scripts.conftest import contents
from tests.build_scripts.weights.nemo.nemo_checkpoints import make_nemo1
from tests.build_scripts.weights.nemo.test_nemo import SMALL
from triton_repo.contract.errors import BuildError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "conch" / "converted"


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "original", **SMALL)


def copy_of(path: Path, weights: bool = True) -> Path:
    """Held only while it is made."""
    with cached_copy(path, "x", weights) as copy:
        return copy


def touch(path: Path, seconds: int) -> None:
    """The checkpoint looks different from now on."""
    os.utime(path, (seconds, seconds))


def copies(cache: Path) -> set[Path]:
    return {path for path in cache.iterdir() if path.name != "lock"}


def test_a_source_that_has_not_changed_is_copied_once(tmp_path: Path, cache: Path, original: Path) -> None:
    path = make_nemo1(tmp_path / "a.nemo", original)
    first = copy_of(path)
    before = contents(cache)
    assert copy_of(path) == copy_of(path, weights=False) == first
    assert contents(cache) == before


def test_the_copy_of_a_changed_source_replaces_the_old_one(tmp_path: Path, cache: Path, original: Path) -> None:
    path = make_nemo1(tmp_path / "a.nemo", original)
    old = copy_of(path)
    touch(path, 5)
    new = copy_of(path)
    assert new != old
    assert copies(cache) == {new}


def test_the_copy_of_a_source_that_is_gone_goes_with_the_next_copy_of_another(
    tmp_path: Path, cache: Path, original: Path
) -> None:
    gone, moved, kept = (make_nemo1(tmp_path / f"{name}.nemo", original) for name in ("gone", "moved", "kept"))
    copy_of(gone), copy_of(moved)
    stays = copy_of(kept)
    gone.unlink()
    moved.rename(tmp_path / "elsewhere.nemo")
    other = copy_of(make_nemo1(tmp_path / "other.nemo", original))
    assert copies(cache) == {stays, other}


def test_a_copy_that_is_in_use_is_never_removed_and_is_once_it_is_not(
    tmp_path: Path, cache: Path, original: Path
) -> None:
    path = make_nemo1(tmp_path / "a.nemo", original)
    with cached_copy(path, "x", weights=True) as copy:
        before = contents(copy)
        touch(path, 5)
        second = copy_of(path)
        assert contents(copy) == before
    touch(path, 6)
    third = copy_of(path)
    assert copies(cache) == {third}
    assert third != second


def test_a_small_copy_goes_once_there_is_a_whole_one_and_another_is_written(
    tmp_path: Path, cache: Path, original: Path
) -> None:
    path = make_nemo1(tmp_path / "a.nemo", original)
    small = copy_of(path, weights=False)
    assert not list(small.glob("*.safetensors"))
    whole = copy_of(path)
    other = copy_of(make_nemo1(tmp_path / "b.nemo", original), weights=False)
    assert copies(cache) == {whole, other}


def test_what_a_killed_conversion_or_an_earlier_version_left_is_swept_and_nothing_else(
    tmp_path: Path, cache: Path, original: Path
) -> None:
    left = cache / ".partial-a-0123456789abcdef-x1y2"
    earlier = cache / "a-0123456789abcdef"
    for directory in (left, earlier, cache / "mine"):
        directory.mkdir(parents=True)
        (directory / "config.json").write_text("{}")
    made = copy_of(make_nemo1(tmp_path / "a.nemo", original))
    assert copies(cache) == {made, cache / "mine"}


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def forbid(path: Path) -> None:
    """Replace the checkpoint by a directory that only its owner's superuser could list."""
    path.unlink()
    path.mkdir(mode=0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")


@pytest.mark.parametrize("ruin", [loop, forbid])
def test_the_copy_of_a_source_that_cannot_be_read_is_left_alone_and_stops_no_other_conversion(
    tmp_path: Path, cache: Path, original: Path, capsys: pytest.CaptureFixture[str], ruin: Callable[[Path], None]
) -> None:
    source = make_nemo1(tmp_path / "a.nemo", original)
    stays = copy_of(source)
    ruin(source)
    other = copy_of(make_nemo1(tmp_path / "b.nemo", original))
    assert copies(cache) == {stays, other}
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "left alone" in line]
    assert line.startswith(f"{stays}: ")
    assert f"'{source}'" in line


def test_a_stale_copy_that_is_a_link_is_left_alone_with_all_that_it_leads_to(
    tmp_path: Path, cache: Path, original: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_nemo1(tmp_path / "a.nemo", original)
    link = copy_of(source)
    link.symlink_to(link.rename(tmp_path / "elsewhere"))
    before = contents(tmp_path / "elsewhere")
    source.unlink()
    other = copy_of(make_nemo1(tmp_path / "b.nemo", original))
    assert copies(cache) == {link, other}
    assert contents(tmp_path / "elsewhere") == before
    assert f"{link}: left alone: a link" in capsys.readouterr().err


def test_two_conversions_of_one_source_make_one_copy(
    tmp_path: Path, cache: Path, original: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_nemo1(tmp_path / "a.nemo", original)
    cache.mkdir(parents=True)
    found: list[Path] = []
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        threads = [threading.Thread(target=lambda: found.append(copy_of(path))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(0.3)
        assert found == []
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert copies(cache) == set(found)
    assert "waiting for the conversion of another process" in capsys.readouterr().err


def test_a_conversion_that_fails_leaves_no_copy(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "x.nemo").write_bytes(b"no archive")
    with pytest.raises(BuildError, match=r"x"):
        copy_of(tmp_path / "x.nemo")
    assert copies(cache) == set()


def test_a_checkpoint_with_a_link_to_nowhere_is_refused_by_its_name(tmp_path: Path, cache: Path) -> None:
    link = tmp_path / "dangling" / "weights" / "common.pt"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(BuildError, match=f"^{re.escape(str(link))}: No such file or directory$"):
        copy_of(tmp_path / "dangling")
    assert not cache.exists()


def test_a_copy_that_is_swept_at_the_same_moment_is_not_held(tmp_path: Path) -> None:
    note = tmp_path / "copy" / "note"
    with pytest.raises(FileNotFoundError), held(note):
        pass
    note.parent.mkdir()
    note.touch()
    with held(note):
        remove_unless_held(note.parent, note)
        assert note.exists()
    remove_unless_held(note.parent, note)
    assert not note.parent.exists()


def test_a_copy_is_let_go_at_the_end_of_the_block_even_where_an_error_keeps_the_checkpoint_alive(
    tmp_path: Path, cache: Path, original: Path
) -> None:
    path = make_nemo1(tmp_path / "a.nemo", original)
    kept = []

    def fail() -> None:
        with resolve(str(path), tmp_path) as checkpoint:
            kept.append(checkpoint)
            raise BuildError("of the build")

    with pytest.raises(BuildError):
        fail()
    touch(path, 5)
    second = copy_of(path)
    assert copies(cache) == {second}
    assert not kept[0].directory.exists()
