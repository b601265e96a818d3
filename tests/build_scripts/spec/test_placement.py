"""`[placement]` of a spec: what is allowed, and what Triton and the engine are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from build_scripts.spec.reading import read_spec
from triton_repo.contract.errors import SpecError
from triton_repo.contract.placement.settings import Placement, RateLimiter

GPU = 'name = "llama"\nmodel = "m"\nruntime = "tensorrt_llm"\n'
CPU = 'name = "demo"\nmodel = "m"\n'
ENCODER = 'name = "minilm"\nmodel = "m"\nruntime = "embed"\n'


def placement(tmp_path: Path, text: str) -> Placement:
    file = tmp_path / "spec.toml"
    file.write_text(text, encoding="utf-8")
    return read_spec(file).placement.config()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CPU, Placement()),
        (CPU + '[placement]\ncpus = "0-2,5"', Placement(cpus=((0, 1, 2, 5),))),
        (GPU + "[placement]\ngpus = [3]", Placement(gpus=((3,),))),
        (GPU + "[build]\ntensor_parallel = 2\n[placement]\ngpus = [[2, 3]]", Placement(gpus=((2, 3),))),
        (ENCODER + '[placement]\ncpus = ["0", "1"]', Placement(instances=2, cpus=((0,), (1,)))),
        (
            ENCODER + "[placement]\npriority_levels = 3",
            Placement(priority_levels=3, default_priority_level=2),
        ),
        (
            ENCODER + "[placement.rate_limiter]\nresources = { encoders = 2 }",
            Placement(rate_limiter=RateLimiter(resources={"encoders": 2})),
        ),
    ],
)
def test_a_placement_is_read(tmp_path: Path, text: str, expected: Placement) -> None:
    assert placement(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (CPU + "[placement]\ngpus = [0]", "placement.gpus = [[0]]; needs runtime tensorrt_llm: remove the key"),
        (GPU + '[placement]\ncpus = "0"', 'placement.cpus = ["0"]; needs runtime openvino or runtime embed'),
        (GPU + "[placement]\ngpus = [0, 1]", "must be 1 different GPUs"),
        (GPU + "[build]\npipeline_parallel = 2\n[placement]\ngpus = [1, 1]", "must be 2 different GPUs"),
        (GPU + "[placement]\ngpus = []", "placement.gpus = []; must have at least 1 of them"),
        (GPU + "[placement]\ngpus = [-1]", "placement.gpus.0.0 = -1; must be ≥ 0"),
        (GPU + '[placement]\ngpus = "0"', 'placement.gpus.0 = "0"; must be a list'),
        (CPU + '[placement]\ncpus = "3-1"', "must be a list of CPUs such as 0-3,8"),
        (CPU + "[placement]\nthreads = 3", "placement.threads = 3; unknown key; allowed: instances, gpus, cpus"),
        (CPU + "[placement.rate_limiter]\nresources = { a = 1 }", "needs runtime embed: remove the table"),
        (ENCODER + "[placement.rate_limiter]\nresources = {}", "must have at least 1 of them"),
        (ENCODER + "[placement.rate_limiter]\nresources = { a = 0 }", "must be ≥ 1"),
        (ENCODER + "[placement.rate_limiter]\nresources = { a = 1 }\npriority = 101", "must be ≤ 100"),
        (ENCODER + "[placement]\ndefault_priority_level = 1", "placement.priority_levels (which is not given)"),
        (
            ENCODER + "[placement]\npriority_levels = 2\ndefault_priority_level = 3",
            "placement.default_priority_level = 3; must be ≤ placement.priority_levels (2)",
        ),
        (
            ENCODER + '[placement]\ninstances = 3\ncpus = ["0", "1"]',
            'placement.cpus = ["0", "1"]; must have a set for each of placement.instances (3)',
        ),
        (
            CPU + '[serve]\nnum_threads = 2\n[placement]\ncpus = "4"',
            "serve.num_threads = 2; must be ≤ the CPUs of placement.cpus (4)",
        ),
    ],
)
def test_a_placement_that_cannot_be_is_rejected_by_its_key(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SpecError) as raised:
        placement(tmp_path, text)
    assert problem in str(raised.value)
