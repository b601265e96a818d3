"""The gate of an engine: what fits goes in, a bounded queue waits, more is rejected at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.admission.deadlines import Deadlines
from gateway.admission.errors import DeadlineExceeded, ServerOverloaded
from gateway.admission.estimate import Prompt
from gateway.admission.gate import Gate
from gateway.admission.quota import Limits, Quota
from gateway.admission.tally import Tally, create_slots
from gateway.admission.terms import ANYONES, Capacity, Policy, Terms
from gateway.admission.ticket import Ticket

BATCH = 8
ROOM = BATCH + 1  # with the one that keeps it fed
QUEUE_TIMEOUT_S = 60.0


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def gate(
    batch: int | None = BATCH,
    kv_tokens: int | None = None,
    queue_timeout_s: float = QUEUE_TIMEOUT_S,
    tally: Tally | None = None,
) -> Gate:
    capacity, policy = Capacity(batch, kv_tokens, 2048), Policy(queue_timeout_s)
    return Gate("demo", capacity, policy, tally or Tally(), Deadlines())


def enter(
    gate: Gate, terms: Terms = ANYONES, num: int = 1, prompt: int = 10, max_tokens: int | None = 90
) -> list[Ticket]:
    return gate.enter(terms, [(Prompt(4 * prompt, prompt), max_tokens)] * num)


def fill(gate: Gate, num: int = ROOM) -> list[Ticket]:
    return [enter(gate)[0] for _ in range(num)]


def running(tickets: list[Ticket]) -> list[bool]:
    return [not ticket.waits for ticket in tickets]


@in_loop
async def test_an_engine_gets_what_its_batch_holds_and_a_little_more() -> None:
    tickets = fill(gate(), ROOM + 3)
    assert running(tickets) == [True] * ROOM + [False] * 3


@in_loop
async def test_an_engine_that_is_built_again_gets_what_its_new_batch_and_cache_hold() -> None:
    built_again = gate()
    fill(built_again, BATCH)
    built_again.resize(Capacity(2 * BATCH, None, 2048))
    assert running(fill(built_again, BATCH)) == [True] * BATCH
    built_again.resize(Capacity(4 * BATCH, 400, 2048))
    assert running(fill(built_again, 1)) == [False]


@in_loop
async def test_what_waits_goes_in_when_something_ends_in_the_order_in_which_it_came() -> None:
    tickets = fill(gate(), ROOM + 3)
    for ended in (0, 4):
        tickets[ended].free()
        tickets[ended].free()  # once more is no other
    assert running(tickets[ROOM:]) == [True, True, False]
    await tickets[ROOM].turn()


@in_loop
async def test_an_engine_gets_no_more_than_its_cache_holds() -> None:
    entered = gate(kv_tokens=400)  # and an eighth
    tickets = [enter(entered)[0] for _ in range(5)]
    assert running(tickets) == [True] * 4 + [False]


@in_loop
async def test_the_usual_answer_and_not_the_context_counts_where_no_limit_is_given() -> None:
    entered = gate(kv_tokens=4096)  # two contexts
    assert running([enter(entered, max_tokens=None)[0] for _ in range(BATCH)]) == [True] * BATCH


@in_loop
async def test_what_is_larger_than_the_engine_runs_alone() -> None:
    entered = gate(kv_tokens=64)
    tickets = [enter(entered)[0] for _ in range(2)]
    assert running(tickets) == [True, False]
    tickets[0].free()
    assert running(tickets) == [True, True]


@in_loop
async def test_the_choices_of_one_request_go_in_one_by_one() -> None:
    entered = gate()
    tickets = enter(entered, num=3 * ROOM)
    assert sum(running(tickets)) == ROOM
    tickets[0].free()
    assert sum(running(tickets)) == ROOM + 1


@in_loop
async def test_an_engine_of_unknown_size_gets_everything() -> None:
    assert all(running(fill(gate(batch=None), 1000)))


@in_loop
async def test_before_it_is_known_how_fast_an_engine_is_four_batches_wait_and_more_are_rejected() -> None:
    entered = gate()
    fill(entered, ROOM + 4 * BATCH)
    with pytest.raises(ServerOverloaded, match="model demo is busy: 32 wait for their turn") as rejected:
        enter(entered)
    assert 2 <= rejected.value.retry_after_s <= 3
    assert entered.num_waiting == 4 * BATCH


def measured(queue_timeout_s: float, one_takes_s: float) -> tuple[Gate, list[Ticket]]:
    """A gate that has seen its engine work off two batches, one request after the other, and is full again."""
    entered = gate(queue_timeout_s=queue_timeout_s)
    tickets = fill(entered, ROOM + 2 * BATCH)
    for ticket in tickets[: 2 * BATCH]:
        time.sleep(one_takes_s)
        ticket.settle(10, 90)
        ticket.free()
    return entered, tickets[2 * BATCH :]


@in_loop
async def test_no_more_waits_than_an_engine_does_within_the_timeout_but_a_batch_in_any_case() -> None:
    entered, _ = measured(1e-6, one_takes_s=0.01)
    fill(entered, BATCH)
    with pytest.raises(ServerOverloaded):
        enter(entered)


@in_loop
async def test_retry_after_is_what_the_engine_needs_for_what_waits() -> None:
    entered, _ = measured(1e-6, one_takes_s=0.05)
    fill(entered, BATCH - 1)
    with pytest.raises(ServerOverloaded) as rejected:
        enter(entered, num=100)
    drain_s = entered.drain_s()
    assert drain_s is not None
    assert drain_s > 0.1
    assert drain_s <= rejected.value.retry_after_s <= max(1, 2 * drain_s + 1)


@in_loop
async def test_a_request_is_rejected_at_once_where_its_turn_would_come_too_late_for_its_client() -> None:
    entered, _ = measured(QUEUE_TIMEOUT_S, one_takes_s=0.05)
    fill(entered, BATCH)
    now_s = time.monotonic()
    with pytest.raises(ServerOverloaded, match="later than the client waits"):
        enter(entered, Terms(complete_by_s=now_s + 0.2))
    with pytest.raises(ServerOverloaded, match="later than the client waits"):
        enter(entered, Terms(begin_by_s=now_s + 0.2))
    enter(entered, Terms(complete_by_s=now_s + 1000))


@in_loop
async def test_what_has_waited_too_long_is_dropped() -> None:
    entered = gate(queue_timeout_s=0.05)
    *_, waits = fill(entered, ROOM + 1)
    with pytest.raises(ServerOverloaded, match=r"no turn within 0\.05 s"):
        await waits.turn()
    assert entered.num_waiting == 0


@in_loop
async def test_what_its_client_does_not_wait_for_any_more_is_dropped_and_not_run() -> None:
    entered = gate()
    first, *_ = fill(entered)
    (waits,) = enter(entered, Terms(complete_by_s=time.monotonic() + 0.05))
    with pytest.raises(DeadlineExceeded):
        await waits.turn()
    first.free()
    assert entered.num_waiting == 0
    assert not running(fill(entered, 2))[1]


@in_loop
async def test_what_fits_goes_in_when_what_waits_before_it_leaves() -> None:
    entered = gate(kv_tokens=1000)
    enter(entered, max_tokens=490)
    (large,), (small,) = enter(entered, max_tokens=900), enter(entered)
    assert (large.waits, small.waits) == (True, True)
    large.drop(ServerOverloaded("its client has left"))
    await asyncio.wait_for(small.turn(), 10)


@in_loop
async def test_processes_share_an_engine(tmp_path: Path) -> None:
    create_slots(tmp_path / "slots", 2)
    one, two = (gate(tally=Tally.shared(tmp_path / "slots", slot)) for slot in range(2))
    firsts = fill(one, ROOM)
    (waits,) = enter(two)
    assert waits.waits
    firsts[0].free()
    await asyncio.wait_for(waits.turn(), 60)


@in_loop
async def test_what_has_left_the_queue_of_one_process_leaves_its_share_to_another(tmp_path: Path) -> None:
    create_slots(tmp_path / "slots", 2)
    one, two = (gate(tally=Tally.shared(tmp_path / "slots", slot)) for slot in range(2))
    (first, *rest), (waits,) = fill(one, ROOM), enter(two)
    waits.drop(ServerOverloaded("its client has left"))
    first.free()
    assert not enter(one)[0].waits
    for ticket in rest:
        ticket.free()
    assert running(fill(one, ROOM)).count(True) == ROOM - 1


@in_loop
async def test_a_process_with_much_to_do_leaves_another_its_share(tmp_path: Path) -> None:
    create_slots(tmp_path / "slots", 2)
    one, two = (gate(tally=Tally.shared(tmp_path / "slots", slot)) for slot in range(2))
    hogs = fill(one, ROOM + 2 * BATCH)
    few = fill(two, BATCH)
    for hog in hogs[:BATCH]:  # each time one ends, the hog could have taken its place
        hog.free()
        two.dispatch()
    assert sum(running(few)) == ROOM // 2
    assert sum(running(hogs)) == BATCH + ROOM // 2


def processes(tmp_path: Path, num: int, batch: int, kv_tokens: int | None = None) -> list[Gate]:
    create_slots(tmp_path / "slots", num)
    return [gate(batch, kv_tokens, tally=Tally.shared(tmp_path / "slots", slot)) for slot in range(num)]


async def use(ticket: Ticket, takes_s: float = 0.001) -> None:
    await ticket.turn()
    await asyncio.sleep(takes_s)
    ticket.free()


@in_loop
@pytest.mark.parametrize("num", [4, 16])
@pytest.mark.parametrize("kv_tokens", [None, 120])
async def test_more_processes_than_an_engine_runs_requests_are_all_served(
    tmp_path: Path, num: int, kv_tokens: int | None
) -> None:
    gates = processes(tmp_path, num, batch=1, kv_tokens=kv_tokens)
    tickets = [enter(entered)[0] for _ in range(3) for entered in gates]
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, gates[0].num_running)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    await asyncio.wait_for(asyncio.gather(*map(use, tickets)), 60)
    watching.cancel()
    assert most <= 2


@in_loop
async def test_processes_whose_share_is_less_than_one_request_take_turns(tmp_path: Path) -> None:
    gates = processes(tmp_path, 4, batch=1)

    async def hog(entered: Gate) -> None:
        while True:
            await use(enter(entered)[0], 0.01)

    hogs = [asyncio.create_task(hog(entered)) for _ in range(3) for entered in gates[:2]]
    await asyncio.sleep(0)
    await asyncio.wait_for(asyncio.gather(*[use(enter(entered)[0]) for entered in gates[2:]]), 60)
    for task in hogs:
        task.cancel()


@in_loop
async def test_a_request_larger_than_the_share_of_its_process_has_a_turn_when_it_fits(tmp_path: Path) -> None:
    one, two = processes(tmp_path, 2, BATCH, kv_tokens=400)
    hogs = [enter(one)[0] for _ in range(8)]
    (large,) = enter(two, max_tokens=290)
    hogs[0].free()
    for hog in hogs[1:4]:
        hog.free()
    await asyncio.wait_for(asyncio.gather(large.turn(), *map(use, hogs[4:])), 60)


def tokens_left(terms: Terms) -> int:
    return int(terms.quota.headers()["x-ratelimit-remaining-tokens"])


@in_loop
async def test_what_is_stopped_before_its_engine_has_told_what_it_cost_is_charged_the_estimate() -> None:
    entered = gate(batch=1)
    terms = Terms(quota=Quota("alice", Limits(tokens_per_minute=10_000), Tally()))
    begun, also_begun, waits = (enter(entered, terms)[0] for _ in range(3))
    waits.drop(ServerOverloaded("its client has left"))
    for ticket in (begun, also_begun, waits):
        ticket.free()
        ticket.settle(0, 0)
    assert 9_800 <= tokens_left(terms) < 9_900


@in_loop
async def test_what_has_ended_is_charged_what_it_cost() -> None:
    terms = Terms(quota=Quota("alice", Limits(tokens_per_minute=10_000), Tally()))
    (ticket,) = enter(gate(), terms)
    ticket.free()
    ticket.settle(10, 20)
    assert 9_970 <= tokens_left(terms) < 10_000


Steps = st.lists(
    st.tuples(st.sampled_from(["enter", "free", "drop", "settle"]), st.integers(0, 5), st.booleans()), max_size=60
)


@settings(deadline=None, max_examples=200)
@given(Steps, st.integers(1, 4), st.sampled_from([None, 300]))
def test_whatever_comes_and_goes_the_engine_is_kept_full_and_never_over_full(
    steps: Any, batch: int, kv_tokens: int | None
) -> None:
    @in_loop
    async def play() -> None:
        entered = gate(batch, kv_tokens)
        tickets: list[Ticket] = []
        for action, number, is_batch in steps:
            if action == "enter":
                try:
                    tickets += enter(
                        entered, Terms(f"key {number}", batch=is_batch), num=1 + number % 3, prompt=10 * number
                    )
                except ServerOverloaded:
                    assert entered.num_waiting
            elif tickets:
                ticket = tickets[number * len(tickets) // 6]
                if action == "free":
                    ticket.free()
                elif action == "drop":
                    ticket.drop(ServerOverloaded("dropped"))
                else:
                    ticket.settle(5, 5)
            runs = [ticket for ticket in tickets if ticket._runs]
            assert len(runs) <= batch + 1
            assert len(runs) == entered._shares.requests.own
            assert entered.num_waiting == sum(ticket.waits for ticket in tickets)
            assert runs or not entered.num_waiting
        for _ in tickets:
            for ticket in tickets:
                ticket.free()
        assert entered.num_waiting == entered._shares.requests.own == entered._shares._tokens.own == 0

    play()


@in_loop
async def test_batch_requests_that_have_waited_for_long_have_their_turns_with_all_others() -> None:
    crowded = gate(queue_timeout_s=0.4)
    first = fill(crowded)
    (batch,) = enter(crowded, Terms(batch=True))
    before = enter(crowded)[0]
    first.pop().free()
    assert running([before, batch]) == [True, False]
    await asyncio.sleep(0.25)
    after = fill(crowded, 2)  # the first of them is before it: flows have their turns, and these share one
    first.pop().free()
    first.pop().free()
    assert running([*after, batch]).count(True) == 2
    first.pop().free()
    assert running([batch]) == [True]
    await batch.turn()


@in_loop
async def test_what_was_cancelled_counts_for_the_pace_with_what_had_been_done() -> None:
    whole, cut = gate(), gate()
    for one, done in ((whole, None), (cut, 10)):
        tickets = fill(one, 3 * BATCH)
        await asyncio.sleep(0.05)
        for ticket in tickets[:BATCH]:
            ticket.free(done)
    paces = [one.drain_s() for one in (whole, cut)]
    assert paces[0] is not None
    assert paces[1] is not None
    assert paces[1] > 3 * paces[0]
