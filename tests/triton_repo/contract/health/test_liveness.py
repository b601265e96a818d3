from __future__ import annotations

import os
import subprocess
import sys

from triton_repo.contract.health.liveness import Silence, cpu_ticks


def test_silence_lasts_for_as_long_as_the_sign_stays_the_same() -> None:
    silence = Silence()
    looks = [(1, 0.0), (1, 0.5), (1, 1.0), (2, 1.5), (2, 2.0)]
    assert [silence.look(sign, now_s) for sign, now_s in looks] == [0.0, 0.5, 1.0, 0.0, 0.5]


def test_an_observer_that_was_stopped_itself_counts_little_of_its_absence() -> None:
    silence = Silence(longest_look_s=1.0)
    silence.look(1, 0.0)
    assert silence.look(1, 3600.0) == 1.0


def test_a_process_that_works_uses_cpu_time_and_one_that_is_gone_has_none() -> None:
    before = cpu_ticks(os.getpid())
    while cpu_ticks(os.getpid()) == before:
        pass
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
        assert cpu_ticks(gone.pid) == 0
