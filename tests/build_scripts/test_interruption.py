"""Builds that are killed and builds that meet."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.build_scripts.conftest import Workshop, contents
from triton_repo.contract.errors import BuildError

SCRIPT = Path(__file__).parents[2] / "build_scripts" / "build_engine.py"
DEADLINE_S = 240


def start(workshop: Workshop) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, str(SCRIPT), str(workshop.spec)], stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.poll() is None, "the build ended before the moment to kill it"
        assert time.monotonic() < deadline
        time.sleep(0.005)


MOMENTS = {
    "as it starts": ".store/.partial-tiny-*",
    "while the tokenizer is proved": ".store/.partial-*/tokenizer/chat_template.jinja",
    "while torch is loaded": ".store/.partial-*/model",
    "while the model is written": ".store/.partial-*/model/staging/openvino_model.*",
    "while it is compressed": ".store/.partial-*/model/staging/openvino_model.bin",
}


def test_a_build_that_is_killed_leaves_the_old_engine_and_the_next_build_leaves_no_trace_of_it(
    built_workshop: Workshop,
) -> None:
    before = contents(built_workshop.engine)
    built_workshop.write_spec('[build]\nquantization = "int8"')
    for pattern in MOMENTS.values():
        with start(built_workshop) as process:
            wait_for(lambda: any((built_workshop.root / "built").glob(pattern)), process)  # noqa: B023
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGKILL)
        assert contents(built_workshop.engine) == before
        assert psutil.wait_procs(children, timeout=DEADLINE_S)[1] == []
    built_workshop.build('[build]\nquantization = "int8"')
    assert contents(built_workshop.engine) != before
    assert built_workshop.store == {"engine", "tiny.lock", "tiny.log"}
    assert len(list((built_workshop.root / "built" / ".store").glob("tiny-*"))) == 1


def test_an_exporter_that_is_killed_fails_the_build_in_one_sentence(built_workshop: Workshop) -> None:
    before = contents(built_workshop.engine)
    built_workshop.write_spec('[build]\nquantization = "int8"')
    with start(built_workshop) as process:
        wait_for(lambda: any((built_workshop.root / "built").glob(MOMENTS["while torch is loaded"])), process)
        wait_for(psutil.Process(process.pid).children, process)
        for child in psutil.Process(process.pid).children():
            child.kill()
        _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert "error: export: its process was ended by SIGKILL; is there enough memory?" in said
    assert contents(built_workshop.engine) == before
    assert built_workshop.store == {"engine", "tiny.lock", "tiny.log"}


def test_of_two_builds_at_once_one_builds_and_the_other_waits_for_it(workshop: Workshop) -> None:
    with start(workshop) as first, start(workshop) as second:
        said = [process.communicate(timeout=DEADLINE_S)[1] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    waited = [text for text in said if "waiting for the build of process" in text]
    assert len(waited) == 1
    assert "up to date" in waited[0]
    assert sum("tiny: built in" in text for text in said) == 1


def test_a_directory_that_was_not_made_by_a_build_is_left_alone(workshop: Workshop) -> None:
    workshop.engine.mkdir(parents=True)
    (workshop.engine / "mine").write_text("precious")
    with pytest.raises(BuildError, match="a directory that was not made by a build"):
        workshop.build('[replay]\ntext = "a"', runtime="replay")
    assert contents(workshop.engine).keys() == {"mine"}


def test_engines_whose_names_begin_alike_do_not_sweep_each_other(workshop: Workshop) -> None:
    store = workshop.root / "built" / ".store"
    foreign = [store / name for name in (".partial-tiny-x-abcdefgh", "tiny-x-0123456789ab", "tiny-notes")]
    for directory in foreign:
        directory.mkdir(parents=True)
    (store / ".partial-tiny-abcdefgh").mkdir()
    workshop.build('[replay]\ntext = "a"', runtime="replay")
    assert [directory.exists() for directory in foreign] == [True] * 3
    assert not (store / ".partial-tiny-abcdefgh").exists()
