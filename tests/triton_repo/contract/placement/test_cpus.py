"""Which CPUs an engine runs on, and the threads that OpenVINO computes with there."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.placement.cpus import check_cpus, read_cpus, run_on_cpus, thread_properties, usable_cpus

# A model of a few products, computed while another thread reads where the busy threads of the process may run.
ALLOWED_WHILE_COMPUTING = """
import os, sys, threading
import numpy as np, openvino, openvino.opset13 as ops
from triton_repo.contract.placement.cpus import thread_properties
parameter = ops.parameter([512, 512], np.float32)
product = parameter
for _ in range(8): product = ops.matmul(product, parameter, False, False)
model = openvino.Model([product], [parameter])
properties = thread_properties(1) if sys.argv[1] == "ours" else {"INFERENCE_NUM_THREADS": 1}
compiled = openvino.Core().compile_model(model, "CPU", {**properties, "NUM_STREAMS": 1})
request, computed, seen = compiled.create_infer_request(), threading.Event(), set()
def compute():
    while not computed.is_set(): request.infer([np.ones((512, 512), np.float32)])
worker = threading.Thread(target=compute)
worker.start()
while len(seen) < 200:
    seen.add((len(seen), frozenset(os.sched_getaffinity(worker.native_id))))
    computed.wait(0.002)
computed.set(); worker.join()
print(min(len(cpus) for _, cpus in seen), compiled.get_property("INFERENCE_NUM_THREADS"))
"""


def test_cpus_are_read_as_taskset_reads_them() -> None:
    assert read_cpus("0-3,8") == (0, 1, 2, 3, 8)
    assert read_cpus("7") == (7,)


@pytest.mark.parametrize("text", ["", "a", "3-1", "0,0", "0-2,1", "-1", "0--1", "1,", "0x1", "99999", "１"])
def test_what_is_no_list_of_cpus_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="CPU"):
        read_cpus(text)


@given(st.sets(st.integers(0, 200), min_size=1))
def test_a_list_of_cpus_comes_back_as_it_was_written(cpus: set[int]) -> None:
    assert set(read_cpus(",".join(map(str, cpus)))) == cpus


def test_a_cpu_that_this_process_may_not_use_is_named() -> None:
    with pytest.raises(LaunchError, match=r"engine demo: placement\.cpus: CPU 4, 9: may run on 0, 1 here"):
        check_cpus("demo", (9, 0, 4), frozenset({0, 1}))


def test_threads_that_end_meanwhile_are_no_error() -> None:
    done = threading.Event()

    def start_and_end() -> None:
        while not done.is_set():
            thread = threading.Thread(target=lambda: None)
            thread.start()
            thread.join()

    busy = threading.Thread(target=start_and_end)
    busy.start()
    try:
        for _ in range(2000):
            run_on_cpus("demo", usable_cpus())
    finally:
        done.set()
        busy.join()


@pytest.mark.skipif(len(usable_cpus()) < 2, reason="needs two CPUs")
def test_few_threads_are_not_pinned_to_the_cpu_that_every_other_engine_would_pin_its_own_to() -> None:
    """OpenVINO pins a single thread to the first CPU, of every process alike."""
    command = [sys.executable, "-c", ALLOWED_WHILE_COMPUTING, "ours"]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=os.environ).stdout
    assert output.split() == [str(len(usable_cpus())), "1"]


def test_a_thread_for_every_cpu_may_be_pinned() -> None:
    assert thread_properties(len(usable_cpus())) == {"INFERENCE_NUM_THREADS": len(usable_cpus())}
    assert thread_properties(None) == {}
