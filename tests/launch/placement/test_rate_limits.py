"""Units of Triton's rate limiter, as flags of `conch serve` and as encoders take them."""

from __future__ import annotations

import pytest

from launch.placement.rate_limits import read_resources, resource_arguments
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.model_card import ModelCard
from triton_repo.contract.placement.settings import Placement, RateLimiter
from triton_repo.embed.settings import EncoderConfig, EncoderFacts

FACTS = EncoderFacts(kind="embed", width=1, vocab_size=9, max_tokens=8, usual_tokens=8)


def encoder(name: str, **units: int) -> EncoderConfig:
    limiter = RateLimiter(resources=units) if units else None
    return EncoderConfig(
        name=name,
        max_seq_len=8,
        max_batch_size=4,
        max_num_tokens=64,
        placement=Placement(rate_limiter=limiter),
        facts=FACTS,
        card=ModelCard(8, "embed"),
    )


def test_nothing_is_limited_where_no_model_and_no_flag_says_so() -> None:
    assert resource_arguments({}, [encoder("a")]) == ()


def test_where_no_units_are_given_triton_finds_them_out() -> None:
    assert resource_arguments({}, [encoder("a", one=2)]) == ("--rate-limit=execution_count",)


def test_resources_that_are_not_given_are_added_to_those_that_are() -> None:
    """Triton would have none of them, and not load the model."""
    arguments = resource_arguments(
        read_resources(["two:4", "other:1"]), [encoder("a", one=2, two=3), encoder("b", one=5)]
    )
    assert arguments[0] == "--rate-limit=execution_count"
    assert sorted(arguments[1:]) == [f"--rate-limit-resource={each}" for each in ("one:5", "other:1", "two:4")]


def test_fewer_units_than_a_call_takes_are_rejected() -> None:
    with pytest.raises(LaunchError, match="--rate-limit-resource two:1: must be ≥ 3, which a call of a takes"):
        resource_arguments({"two": 1}, [encoder("a", two=3)])


@pytest.mark.parametrize("flag", ["", "a", "a:", "a:0", ":1", "a:1.5", "a:1:2", "a b:1", "1a:1", "a:-1"])
def test_what_is_no_resource_is_rejected(flag: str) -> None:
    with pytest.raises(LaunchError, match="must be NAME:UNITS"):
        read_resources([flag])


def test_a_resource_that_is_given_twice_is_rejected() -> None:
    with pytest.raises(LaunchError, match="a is given twice"):
        read_resources(["a:1", "a:2"])
