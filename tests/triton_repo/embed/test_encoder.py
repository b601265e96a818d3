"""Streams of one encoder that compute side by side, in a process that has computed nothing before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT

openvino: Any = pytest.importorskip("openvino")
DEADLINE_S = 240
CONFIG = {
    "name": "sums",
    "max_seq_len": 8,
    "max_batch_size": 4,
    "max_num_tokens": 64,
    "num_threads": 4,
    "facts": {"kind": "embed", "width": 1, "vocab_size": 9, "max_tokens": 8, "usual_tokens": 8},
    "card": {"max_seq_len": 8, "runtime": "embed", "created": 0},
}
# OpenVINO's bindings look numpy's version up for their first array: here that takes as long as on a busy machine.
FIRST_COMPUTATIONS = """
import sys, threading, time
from pathlib import Path
import numpy.lib
from triton_repo.embed.encoder import Encoder
from triton_repo.embed.settings import EncoderConfig
from triton_repo.embed.texts import Tokens

class SlowVersion(numpy.lib.NumpyVersion):
    def __init__(self, version):
        time.sleep(0.5)
        super().__init__(version)

numpy.lib.NumpyVersion = SlowVersion
encoder = Encoder(Path(sys.argv[1]), EncoderConfig.model_validate_json(sys.argv[2]))
computes = [encoder.compute() for _ in range(encoder.num_streams)]
found = [0.0] * len(computes)

def run(number):
    [[found[number]]] = computes[number]([Tokens([1, number], [0, 0])])

threads = [threading.Thread(target=run, args=(number,)) for number in range(len(computes))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print([float(each) for each in found])
"""


def save_sums(directory: Path) -> None:
    """A model whose numbers are the sums of the ids."""
    op = openvino.opset13
    inputs = [op.parameter([-1, -1], dtype=np.int64, name=name) for name in ("input_ids", "attention_mask")]
    for each in inputs:
        each.output(0).get_tensor().set_names({each.get_friendly_name()})
    sums = op.reduce_sum(op.convert(op.multiply(*inputs), "f32"), op.constant(np.array([1])), keep_dims=True)
    openvino.save_model(openvino.Model([sums], inputs), directory / "openvino_model.xml")


def test_streams_that_begin_at_once_do_not_wait_for_each_other_for_ever(tmp_path: Path) -> None:
    save_sums(tmp_path)
    command = [sys.executable, "-c", FIRST_COMPUTATIONS, str(tmp_path), json.dumps(CONFIG)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[1.0, 2.0, 3.0, 4.0]\n"
