"""Engines that share the memory of a GPU, or of the machine: what fits, and what is said of what does not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from launch.placement.budgets import Claim, Memory, bytes_asked, check_budgets, most_taken
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.placement.memory import MemoryNeed

GPU = Memory("GPU 0 (H100)", 80_000, ", or choose other GPUs (placement.gpus)")
SIZES = st.integers(0, 50_000)


@st.composite
def needs(draw: st.DrawFn, *, share: bool = True, least: bool = False) -> MemoryNeed:
    """Of engines whose specs say how large their KV caches are."""
    weights, working, cache = draw(SIZES), draw(SIZES), draw(SIZES)
    if share and draw(st.booleans()):
        fraction = draw(st.floats(0.01, 1))
        return MemoryNeed(
            weight_bytes=weights,
            working_bytes=working,
            kv_cache_share=fraction,
            least_kv_cache_bytes=draw(st.integers(0, 5_000)) if least else 0,
            takes_what_is_free=True,
        )
    return MemoryNeed(weight_bytes=weights, working_bytes=working, kv_cache_bytes=cache, takes_what_is_free=True)


def claims(max_size: int = 5, *, share: bool = True) -> st.SearchStrategy[list[Claim]]:
    every = st.lists(st.tuples(needs(share=share), st.integers(1, 3)), max_size=max_size)
    return every.map(lambda pairs: [Claim(f"e{number}", *pair) for number, pair in enumerate(pairs)])


def fits(memory: Memory, engines: list[Claim]) -> bool:
    try:
        check_budgets(memory, engines)
    except LaunchError:
        return False
    return True


@given(claims(share=False), st.integers(0, 200_000))
def test_engines_of_stated_sizes_fit_exactly_where_their_sum_does(engines: list[Claim], num_bytes: int) -> None:
    memory = Memory("GPU 0", num_bytes)
    assert fits(memory, engines) == (sum(map(bytes_asked, engines)) <= num_bytes)


def all_start(engines: Sequence[Claim], num_bytes: int) -> bool:
    """Whether engines that start one after the other each find what they ask for."""
    free = num_bytes
    for need in (engine.need for engine in engines):
        free -= need.fixed_bytes
        cache = need.kv_cache_bytes if need.kv_cache_share is None else int(need.kv_cache_share * max(0, free))
        least = need.least_kv_cache_bytes if need.kv_cache_share else cache
        if free < 0 or cache is None or cache < (least or 0) or cache > free:
            return False
        free -= cache
    return True


@given(
    st.lists(needs(least=True), max_size=4).map(lambda every: [Claim(f"e{n}", need) for n, need in enumerate(every)]),
    st.integers(0, 400_000),
)
def test_engines_that_fit_start_in_any_order(engines: list[Claim], num_bytes: int) -> None:
    memory = Memory("GPU 0", num_bytes)
    starts = all(all_start(order, num_bytes) for order in permutations(engines))
    if fits(memory, engines):
        assert starts
    elif starts:  # one after the other, but not at once, or by less than what is rounded
        shares = sum(each.need.kv_cache_share or 0 for each in engines)
        assert shares > 1 or not fits(Memory("GPU 0", num_bytes - 8), engines)


def test_fractions_of_what_is_free_are_not_fractions_of_the_whole() -> None:
    """Of 80 GB the first takes 16 and 0.4 of 64, the second 16 and 0.4 of what is left: 66 in all, not 83."""
    need = MemoryNeed(weight_bytes=16_000, kv_cache_share=0.4, least_kv_cache_bytes=500, takes_what_is_free=True)
    check_budgets(GPU, [Claim("a", need), Claim("b", need)])
    assert most_taken([Claim("a", need), Claim("b", need)], GPU) == 41_600 + 16_000 + 8_960
    with pytest.raises(LaunchError, match=r"engine b: shares GPU 0 \(H100\) with a: together they ask for 1\.20 of"):
        check_budgets(GPU, [Claim(name, need.model_copy(update={"kv_cache_share": 0.6})) for name in "ab"])
    large = need.model_copy(update={"least_kv_cache_bytes": 9_000})
    with pytest.raises(LaunchError, match=r"engine b: does not fit GPU 0 .* beside a"):
        check_budgets(GPU, [Claim("a", need), Claim("b", large)])
    with pytest.raises(LaunchError, match=r"engine a: does not fit GPU 0 .* beside b"):
        check_budgets(GPU, [Claim("a", large), Claim("b", need)])


@given(claims(), st.randoms(use_true_random=False))
def test_their_order_makes_no_difference(engines: list[Claim], random: object) -> None:
    shuffled = [*engines]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fits(GPU, engines) == fits(GPU, shuffled)


@given(claims(), claims(max_size=2))
def test_what_does_not_fit_fits_no_better_beside_more(engines: list[Claim], more: list[Claim]) -> None:
    assume(not fits(GPU, engines))
    assert not fits(GPU, engines + more)


@given(claims(share=False), st.integers(0, 200_000), st.integers(0, 200_000))
def test_a_larger_memory_holds_what_a_smaller_one_holds(engines: list[Claim], size: int, more: int) -> None:
    if fits(Memory("GPU 0", size), engines):
        assert fits(Memory("GPU 0", size + more), engines)


@given(claims())
def test_an_error_names_one_engine_the_gpu_what_it_asks_for_and_what_there_is(engines: list[Claim]) -> None:
    assume(not fits(GPU, engines))
    with pytest.raises(LaunchError) as raised:
        check_budgets(GPU, engines)
    sentence = r"engine (e\d): (does not fit|shares) GPU 0 \(H100\).* [\d.]+ (GB )?of .*"
    match = re.fullmatch(sentence, str(raised.value))
    assert match is not None
    assert match[1] in {each.engine for each in engines}


def test_two_engines_on_one_gpu_must_both_say_how_large_their_caches_are() -> None:
    """TensorRT-LLM would give the first 0.9 of the GPU, and the second 0.9 of what that leaves."""
    says_none = MemoryNeed(weight_bytes=16_000, working_bytes=2_000, least_kv_cache_bytes=500, takes_what_is_free=True)
    says_it = MemoryNeed(weight_bytes=16_000, working_bytes=2_000, kv_cache_bytes=10_000, takes_what_is_free=True)
    check_budgets(GPU, [Claim("a", says_none)])
    with pytest.raises(LaunchError, match=r"engine b: shares GPU 0 \(H100\) with a, and without serve\.kv_cache_bytes"):
        check_budgets(GPU, [Claim("a", says_it), Claim("b", says_none)])
    check_budgets(GPU, [Claim("a", says_it), Claim("b", says_it)])


def test_one_engine_alone_must_hold_its_weights_and_one_sequence() -> None:
    need = MemoryNeed(weight_bytes=79_000, working_bytes=500, least_kv_cache_bytes=501, takes_what_is_free=True)
    with pytest.raises(LaunchError, match=r"engine a: does not fit GPU 0"):
        check_budgets(GPU, [Claim("a", need)])
    check_budgets(GPU, [Claim("a", need.model_copy(update={"least_kv_cache_bytes": 500}))])


def test_the_sentence_of_an_error_is_whole() -> None:
    need = MemoryNeed(weight_bytes=16_060_000_000, working_bytes=2_000_000_000, kv_cache_bytes=30_000_000_000)
    memory = Memory("GPU 1 (NVIDIA H100 80GB HBM3)", 85_520_809_984, ", or choose other GPUs (placement.gpus)")
    with pytest.raises(LaunchError) as raised:
        check_budgets(memory, [Claim("llama", need), Claim("qwen", need)])
    assert str(raised.value) == (
        "engine qwen: does not fit GPU 1 (NVIDIA H100 80GB HBM3): asks for 48.06 GB (16.06 GB of weights, 2.00 GB of "
        "working memory, 30.00 GB of KV cache), and 37.46 GB of 85.52 GB are available beside llama: lower "
        "serve.kv_cache_bytes, or choose other GPUs (placement.gpus)"
    )
