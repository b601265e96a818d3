from __future__ import annotations

import statistics
from itertools import islice
from random import Random
from typing import Any

import orjson
import pytest

from bench.load.distribution import Fixed, LogNormal, Uniform, parse_lengths
from bench.load.workload import Workload
from triton_repo.contract.errors import BenchError


def bodies(workload: Workload, count: int, salt: str = "") -> list[dict[str, Any]]:
    return [orjson.loads(body) for body in islice(workload.bodies(salt), count)]


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("128", Fixed(128)),
        ("uniform:64:256", Uniform(64, 256)),
        ("lognormal:128:0.5", LogNormal(128, 0.5)),
    ],
)
def test_a_law_of_lengths_is_named_by_one_word(text: str, lengths: Fixed | Uniform | LogNormal) -> None:
    assert parse_lengths("--prompt-tokens", text) == lengths


@pytest.mark.parametrize(
    "text", ["0", "-1", "1.5", "", "many", "uniform:5", "uniform:9:3", "uniform:1.5:3", "lognormal:0:1", "normal:1:2"]
)
def test_a_law_that_is_none_is_refused_by_name_value_and_grammar(text: str) -> None:
    with pytest.raises(BenchError, match=rf"--output-tokens = '{text}'; allowed: N, uniform:LOW:HIGH"):
        parse_lengths("--output-tokens", text)


def test_draws_follow_their_law() -> None:
    random = Random(1)
    uniform = [Uniform(2, 5).draw(random) for _ in range(500)]
    assert set(uniform) == {2, 3, 4, 5}
    lognormal = [LogNormal(100, 0.5).draw(random) for _ in range(4000)]
    assert statistics.median(lognormal) == pytest.approx(100, rel=0.1)
    assert min(LogNormal(1, 3).draw(random) for _ in range(500)) == 1


def test_the_same_seed_asks_the_same_and_another_salt_asks_otherwise() -> None:
    workload = Workload("m", Uniform(3, 30), Uniform(1, 9), seed=7)
    assert bodies(workload, 20) == bodies(workload, 20)
    assert bodies(workload, 20) != bodies(workload, 20, "warm-up")


def test_a_chat_asks_for_a_stream_with_usage() -> None:
    (body,) = bodies(Workload("m", Fixed(5), Fixed(3)), 1)
    (message,) = body.pop("messages")
    assert body == {"model": "m", "max_tokens": 3, "stream": True, "stream_options": {"include_usage": True}}
    assert message["role"] == "user"
    assert len(message["content"].split()) == 5


def test_prompts_of_token_ids_have_exactly_the_length_and_no_special_tokens() -> None:
    workload = Workload("m", Fixed(50), Fixed(3), "completions", vocab_size=100, ignore_eos=True, temperature=0.0)
    (body,) = bodies(workload, 1)
    assert workload.path == "/v1/completions"
    assert len(body["prompt"]) == 50
    assert all(50 <= token_id < 100 for token_id in body["prompt"])
    assert (body["ignore_eos"], body["temperature"]) == (True, 0.0)
