from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.triton_repo.engine.loop.running_loop import eventually
from triton_repo.contract.health.heartbeat import HEARTBEATS_VARIABLE, read_beats
from triton_repo.contract.health.liveness import Age, Silence, cpu_ticks


def test_silence_lasts_for_as_long_as_the_sign_stays_the_same() -> None:
    silence = Silence()
    looks = [(1, 0.0), (1, 0.5), (1, 1.0), (2, 1.5), (2, 2.0)]
    assert [silence.look(sign, now_s) for sign, now_s in looks] == [0.0, 0.5, 1.0, 0.0, 0.5]


def test_an_observer_that_was_stopped_itself_counts_little_of_its_absence() -> None:
    silence = Silence(longest_look_s=1.0)
    silence.look(1, 0.0)
    assert silence.look(1, 3600.0) == 1.0


def test_work_is_as_old_as_its_process_was_there_to_see() -> None:
    age = Age(longest_look_s=60)
    began_s = time.monotonic() - 2
    first_s = age.look(began_s)
    assert 2 <= first_s <= age.look(began_s)
    assert age.look(began_s - 3600) < 3600  # the process was stopped meanwhile
    assert age.look(None) == 0
    assert age.look(float("inf")) == 0
    assert age.look(began_s) >= 2


def test_work_that_lets_nobody_look_is_as_old_as_the_cpu_time_it_has_used() -> None:
    age, began_s, ends_s = Age(longest_look_s=0.01), time.monotonic(), time.process_time() + 0.2
    while time.process_time() < ends_s:
        pass
    assert 0.199 <= age.look(began_s) <= time.monotonic() - began_s


STOPPED_AT_WORK = """
import time
from triton_repo.contract.health.heartbeat import Heart, Work
from triton_repo.engine.loop.watchdog import Progress
from triton_repo.engine.runtimes.replay import ReplayRuntime
from triton_repo.contract.engine_config import ReplayConfig
work, progress = Work(), Progress(ReplayRuntime(ReplayConfig(token_ids=(1,))))
hearts = Heart("work", work.age_s), Heart("step", progress.step_age_s)
with work:
    progress.begin_turn()
    time.sleep(600)
"""


def test_the_time_that_a_process_was_stopped_is_no_work(tmp_path: Path) -> None:
    environment = {**os.environ, HEARTBEATS_VARIABLE: str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", STOPPED_AT_WORK], env=environment) as process:
        try:
            eventually(lambda: len(read_beats(tmp_path)) == 2 and min(ages(tmp_path)) > 0)
            os.kill(process.pid, signal.SIGSTOP)
            before = read_beats(tmp_path)
            time.sleep(4)
            os.kill(process.pid, signal.SIGCONT)
            eventually(lambda: all(beat.number > before[name].number for name, beat in read_beats(tmp_path).items()))
            assert max(ages(tmp_path)) < max(beat.work_s for beat in before.values()) + 4
        finally:
            process.kill()


def ages(directory: Path) -> list[float]:
    return [beat.work_s for beat in read_beats(directory).values()]


def test_a_process_that_works_uses_cpu_time_and_one_that_is_gone_has_none() -> None:
    before = cpu_ticks(os.getpid())
    while cpu_ticks(os.getpid()) == before:
        pass
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
        assert cpu_ticks(gone.pid) == 0
