"""Every CPU engine is compared with transformers, through the pipeline that serves it, before it is published."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino
import pytest
import transformers

from bench.architectures.catalog import named
from bench.architectures.checkpoint import write_checkpoint
from bench.architectures.page import Measurement
from bench.architectures.trial import Result
from build_scripts.build import build
from build_scripts.openvino.verify.answers import ask, reason
from build_scripts.openvino.verify.prompts import NEW_TOKENS, make_prompts
from build_scripts.openvino.verify.result import Answer, Expected, compare
from build_scripts.openvino.verify.settings import settings_of
from build_scripts.openvino.verify.when import SMALL, decide, known_wrong
from build_scripts.plan import BuildRequest
from build_scripts.spec.reading import read_spec
from tests.build_scripts.conftest import Workshop
from triton_repo.contract.errors import BuildError

DIFFERS = "verify: the engine does not compute what transformers does"
GB = 10**9


def request(model: Path, built: Path, **build: object) -> BuildRequest:
    spec = {"model": str(model), "name": "tried", "build.max_seq_len": 256}
    return BuildRequest(read_spec(None, {**spec, **build}), "flags", model, built)


def test_what_the_pipeline_computes_wrong_is_rejected_and_nothing_is_published(tmp_path: Path) -> None:
    write_checkpoint(named("falcon, alibi"), tmp_path / "model")
    with pytest.raises(BuildError, match=DIFFERS):
        build(request(tmp_path / "model", tmp_path / "built"))
    assert not (tmp_path / "built" / "tried").exists()


def test_what_is_known_to_be_wrong_is_rejected_where_it_is_not_compared(tmp_path: Path) -> None:
    write_checkpoint(named("falcon, alibi"), tmp_path / "model")
    unseen = replace(request(tmp_path / "model", tmp_path / "built"), compare=False)
    with pytest.raises(BuildError, match=r"model: config\.json: alibi = true; OpenVINO's continuous batching loses"):
        build(unseen)


@pytest.mark.parametrize("result", Measurement.load().results, ids=lambda it: it.name)
def test_what_was_measured_to_be_wrong_is_known_to_be(result: Result) -> None:
    architecture = named(result.name)
    config = getattr(transformers, f"{architecture.config}Config")(**architecture.values).to_dict()
    assert (known_wrong(config) is not None) == (result.reason or "").startswith("verify: ")


def test_a_wrong_engine_is_found_before_compression_hides_what_is_wrong(tmp_path: Path) -> None:
    write_checkpoint(named("falcon, alibi"), tmp_path / "model")
    with pytest.raises(BuildError, match=DIFFERS):
        build(request(tmp_path / "model", tmp_path / "built", **{"build.quantization": "int4"}))


def test_what_the_pipeline_cannot_serve_is_rejected_with_its_reason(tmp_path: Path) -> None:
    ids = openvino.opset13.parameter([-1, -1], dtype=np.int64, name="input_ids")
    ids.output(0).get_tensor().set_names({"input_ids"})
    table = openvino.opset13.constant(np.zeros((300, 300), dtype=np.float32))
    logits = openvino.opset13.gather(table, ids, openvino.opset13.constant(0))
    logits.output(0).get_tensor().set_names({"logits"})
    openvino.save_model(openvino.Model([logits], [ids]), tmp_path / "openvino_model.xml")
    spec = request(tmp_path, tmp_path).spec
    with pytest.raises(BuildError, match=r"continuous batching cannot serve it: \w+"):
        ask(tmp_path, settings_of(spec, 300, 256, [[1]]), [[1]])


def test_a_right_engine_says_how_far_it_is_from_transformers(built: Workshop) -> None:
    found = json.loads((built.engine / "model" / "verified.json").read_bytes())
    assert found["prompts"] == [1, 2, 17, 160]
    assert found["tokens"] == sum(found["prompts"]) + len(found["prompts"]) * (NEW_TOKENS - 1)
    assert found["largest_difference"] < 1e-3 < found["tolerance"]


def test_an_engine_that_was_not_compared_is_when_someone_asks_for_it(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    verified = workshop.engine / "model" / "verified.json"
    asked = request(workshop.checkpoint, workshop.root / "built")
    asked = replace(asked, spec=asked.spec.model_copy(update={"name": "tiny"}))
    build(replace(asked, compare=False))
    assert "not compared with transformers: --no-verify" in capsys.readouterr().err
    assert not verified.exists()
    build(replace(asked, compare=True))
    assert "tiny: building (not verified yet)" in capsys.readouterr().err
    assert verified.exists()


def test_small_engines_are_compared_by_default_and_large_ones_when_memory_allows() -> None:
    assert decide(None, SMALL - 1, 32 * GB) is None
    assert decide(True, 3 * SMALL, 32 * GB) is None
    assert decide(False, 1, 32 * GB) == "--no-verify"
    assert decide(None, 7 * SMALL, 128 * GB) == "7.0 billion parameters; --verify does it all the same"
    assert decide(None, SMALL // 2, 2 * GB) == "that needs about 5.6 GB of memory; 2.0 GB are free"
    with pytest.raises(BuildError, match=r"--verify: that needs about 64\.1 GB of memory; 32\.0 GB are free"):
        decide(True, 7 * SMALL, 32 * GB)


@pytest.mark.parametrize(
    ("config", "longest"),
    [
        ({}, 160),
        ({"sliding_window": None}, 160),
        ({"sliding_window": 512}, 552),
        ({"text_config": {"attention_chunk_size": 300}}, 340),
        ({"attention": {"window_size": 256}}, 296),
        ({"sliding_window": 4096}, 160),
    ],
)
def test_a_prompt_leaves_every_window_that_it_can(config: dict[str, object], longest: int) -> None:
    prompts = make_prompts(config, vocab_size=300, max_seq_len=8192)
    assert [len(prompt) for prompt in prompts] == [1, 2, 17, longest]
    assert prompts == make_prompts(config, vocab_size=300, max_seq_len=8192)


def test_no_prompt_is_longer_than_the_engine_takes() -> None:
    lengths = [len(prompt) for prompt in make_prompts({"sliding_window": 64}, vocab_size=3, max_seq_len=20)]
    assert lengths == [1, 2, 16]


EXPECTED = Expected(
    prompt=np.array([3, 1, 2]),
    given=np.array([-1.0, -2.0], dtype=np.float32),
    steps=np.array([[-0.1, -3.0, -4.0], [-0.2, -0.3, -5.0]], dtype=np.float32),
)


@pytest.mark.parametrize(
    ("ids", "logprobs", "largest", "position"),
    [
        ([3, 1, 2, 0, 0], [-1.0, -2.0, -0.1, -0.2], 0.0, 1),
        ([3, 1, 2, 0, 0], [-1.0, -2.5, -0.1, -0.2], 0.5, 2),
        ([3, 1, 2, 0, 0], [-1.0, -2.0, -0.1, -0.5], 0.3, 4),
        ([3, 1, 2, 0, 1], [-1.0, -2.0, -0.1, -0.3], 0.1, 4),  # another token, nearly as likely
        ([3, 1, 2, 2, 0], [-1.0, -2.0, -4.0, -9.0], 3.9, 3),  # and what follows it is not compared
    ],
)
def test_logprobs_and_greedy_tokens_are_compared(
    ids: list[int], logprobs: list[float], largest: float, position: int
) -> None:
    found = compare(EXPECTED, Answer(np.array(ids), np.array(logprobs, dtype=np.float32)))
    assert found.largest == pytest.approx(largest, abs=1e-6)
    assert found.position == position


def test_a_logprob_that_is_no_number_is_within_no_tolerance() -> None:
    answer = Answer(np.array([3, 1, 2, 0, 0]), np.array([-1.0, np.nan, -0.1, -0.2], dtype=np.float32))
    assert not compare(EXPECTED, answer).within(1e9)


def test_what_openvino_says_is_told_without_the_places_in_its_source() -> None:
    text = (
        "Exception from src/inference/src/cpp/core.cpp:117:\n"
        "Exception from src/plugins/intel_cpu/src/transformations/attention.cpp:60:\n"
        "expect kvcache type f32, current: bf16 , bf16\n\n"
    )
    assert reason(text) == "expect kvcache type f32, current: bf16 , bf16"
