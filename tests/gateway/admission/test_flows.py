"""Turns are fair between flows, in tokens."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.admission.admission import Admission
from gateway.admission.errors import ServerOverloaded
from gateway.admission.estimate import Prompt
from gateway.admission.flows import FairQueue
from gateway.admission.tally import Tally
from gateway.admission.terms import Capacity, Terms


@dataclass(eq=False)
class Item:
    cost: int
    left: bool = False
    priority: float = 0.5


def push(queue: FairQueue[Item], name: str, cost: int) -> Item:
    item = Item(cost)
    queue.push(queue.flow(name), item)
    return item


def take(queue: FairQueue[Item]) -> str:
    head = queue.head()
    assert head is not None
    queue.take(head[0])
    return head[0].name


def test_flows_that_wait_take_turns_however_much_each_has_waiting() -> None:
    queue = FairQueue[Item]()
    for _ in range(100):
        push(queue, "noisy", 10)
    for _ in range(3):
        push(queue, "quiet", 10)
    assert Counter(take(queue) for _ in range(6)) == {"noisy": 3, "quiet": 3}


def test_turns_are_counted_in_tokens() -> None:
    queue = FairQueue[Item]()
    for _ in range(100):
        push(queue, "large", 100)
        push(queue, "small", 10)
    taken = Counter(take(queue) for _ in range(55))
    assert taken == {"large": 5, "small": 50}


def test_one_that_has_not_asked_for_long_is_next_and_has_saved_up_nothing() -> None:
    queue = FairQueue[Item]()
    for _ in range(100):
        push(queue, "noisy", 10)
    for _ in range(50):
        take(queue)
    for _ in range(10):
        push(queue, "quiet", 10)
    taken = [take(queue) for _ in range(10)]
    assert taken[0] == "quiet"
    assert Counter(taken)["noisy"] in (4, 5)


def test_one_that_keeps_a_single_item_waiting_gets_no_more_turns_than_another() -> None:
    queue = FairQueue[Item]()
    for _ in range(100):
        push(queue, "many", 10)
    push(queue, "single", 10)
    turns = []
    for _ in range(100):
        turns.append(take(queue))
        if turns[-1] == "single":
            push(queue, "single", 10)
    assert Counter(turns)["single"] in (50, 51)


def test_a_correction_counts_though_its_flow_has_left() -> None:
    queue = FairQueue[Item]()
    for _ in range(20):
        push(queue, "many", 10)
    push(queue, "single", 10)
    single = queue.flow("single")
    while take(queue) != "single":
        pass
    single.served += 90  # its answer had 100 tokens
    push(queue, "single", 10)
    assert [take(queue) for _ in range(9)] == ["many"] * 9


def test_a_counter_is_corrected_by_what_a_turn_has_cost_in_the_end() -> None:
    queue = FairQueue[Item]()
    for _ in range(10):
        push(queue, "short", 100)
        push(queue, "long", 100)
    short, long = queue.flow("short"), queue.flow("long")
    for _ in range(2):
        take(queue)
    short.served -= 90  # its answer had 10 tokens
    assert [take(queue), take(queue)] == ["short", "long"]
    assert (short.served, long.served) == (short.served, 200) or short.served > 0


def test_what_has_left_has_no_turn() -> None:
    queue = FairQueue[Item]()
    items = [push(queue, "one", 10) for _ in range(3)]
    for item in items[:2]:
        item.left = True
        queue.leave(queue.flow("one"), item)
    head = queue.head()
    assert head is not None
    assert head[1] is items[2]
    assert (queue.num_waiting, queue.waiting_cost) == (1, 10)


Actions = st.lists(st.tuples(st.sampled_from(["push", "take", "leave"]), st.integers(0, 4), st.integers(1, 50)))


@settings(deadline=None)
@given(Actions)
def test_the_counts_are_those_of_what_waits(actions: list[tuple[str, int, int]]) -> None:
    queue = FairQueue[Item]()
    waiting: dict[Item, str] = {}
    for action, number, cost in actions:
        if action == "push":
            waiting[push(queue, str(number), cost)] = str(number)
        elif action == "take" and (head := queue.head()):
            queue.take(head[0])
            assert waiting.pop(head[1]) == head[0].name
        elif action == "leave" and waiting:
            item = [*waiting][number * len(waiting) // 5]
            item.left = True
            queue.leave(queue.flow(waiting.pop(item)), item)
        assert queue.num_waiting == len(waiting)
        assert queue.waiting_cost == sum(item.cost for item in waiting)
        assert queue.num_flows == len({*waiting.values()})
        assert (queue.head() is None) == (not waiting)


BATCH, SPARE = 8, 1


def admit(admission: Admission, terms: Terms) -> bool:
    """Whether it runs, or waits; False if it was rejected."""
    try:
        admission.enter("demo", Capacity(BATCH, None, 2048), terms, [(Prompt(40, 10), 90)])
    except ServerOverloaded:
        return False
    return True


def test_a_queue_that_one_key_has_filled_makes_room_for_another() -> None:
    async def run() -> None:
        admission = Admission(60, Tally())
        noisy, quiet = Terms("noisy"), Terms("quiet")
        assert sum(admit(admission, noisy) for _ in range(1000)) == BATCH + SPARE + 4 * BATCH
        with pytest.raises(ServerOverloaded):
            admission.check_open("demo", noisy)
        admission.check_open("demo", quiet)
        assert sum(admit(admission, quiet) for _ in range(1000)) == 2 * BATCH
        assert admission.num_waiting == 4 * BATCH

    asyncio.run(run())


def test_nothing_is_dropped_for_a_request_that_would_not_fit_all_the_same() -> None:
    async def run() -> None:
        admission = Admission(60, Tally())
        while admit(admission, Terms("noisy")):
            pass
        with pytest.raises(ServerOverloaded):
            admission.enter("demo", Capacity(BATCH, None, 2048), Terms("large"), [(Prompt(40, 10), 90)] * 20)
        assert admission.num_waiting == 4 * BATCH

    asyncio.run(run())


def test_what_is_spare_is_for_the_one_that_has_less_of_the_engine() -> None:
    async def run() -> None:
        admission = Admission(60, Tally())
        for _ in range(BATCH - 1):
            admit(admission, Terms("noisy"))
        admit(admission, Terms("quiet"))
        for _ in range(5):
            admit(admission, Terms("noisy"))
        assert admission.num_waiting == 5
        admit(admission, Terms("quiet"))
        assert admission.num_waiting == 5

    asyncio.run(run())


def test_batch_requests_have_a_turn_when_no_others_wait() -> None:
    async def run() -> None:
        admission = Admission(60, Tally())
        capacity, asked = Capacity(1, None, 2048), [(Prompt(40, 10), 90)]
        running = [admission.enter("demo", capacity, Terms("a"), asked)[0] for _ in range(2)]
        (slow,) = admission.enter("demo", capacity, Terms("a", batch=True), asked)
        (quick,) = admission.enter("demo", capacity, Terms("a"), asked)
        running[0].free()
        assert (slow.waits, quick.waits) == (True, False)
        running[1].free()
        assert not slow.waits

    asyncio.run(run())


def test_an_engine_that_is_built_again_has_its_new_bounds() -> None:
    async def run() -> None:
        admission = Admission(60, Tally())
        work = [
            admission.enter("demo", Capacity(1, None, max_seq_len), Terms("a"), [(Prompt(0, 4000), 4000)])[0].work
            for max_seq_len in (2048, 8192)
        ]
        assert [one.num_tokens for one in work] == [2048, 8000]

    asyncio.run(run())


def test_in_one_flow_those_of_higher_priority_are_first_and_dropped_last() -> None:
    queue = FairQueue[Item]()
    flow = queue.flow("a")
    items = [Item(1, priority=priority) for priority in (0.5, 0.1, 0.9, 0.5, 0.9)]
    for item in items:
        queue.push(flow, item)
    turns = [2, 4, 0, 3, 1]
    assert [items.index(item) for item in flow.newest_first()] == turns[::-1]
    for turn in turns:
        head = queue.head()
        assert head is not None
        assert head[1] is items[turn]
        queue.take(flow)


def test_in_a_full_queue_a_higher_priority_displaces_the_lowest_of_its_own_flow_the_newest_first() -> None:
    async def run() -> None:
        admission, capacity, work = Admission(60, Tally()), Capacity(BATCH, None, 2048), [(Prompt(40, 10), 90)]
        given = [0.5] * (BATCH + SPARE) + [0.1, 0.2, 0.1, 0.5] * BATCH
        tickets = [admission.enter("demo", capacity, Terms("a", priority=one), work)[0] for one in given]
        for priority, displaced in ((0.2, -2), (0.9, -4)):
            terms = Terms("a", priority=priority)
            admission.check_open("demo", terms)
            admission.enter("demo", capacity, terms, work)
            with pytest.raises(ServerOverloaded):
                await tickets[displaced].turn()
            assert admission.num_waiting == 4 * BATCH
        assert not admit(admission, Terms("a", priority=0.1))

    asyncio.run(run())


def test_a_higher_priority_is_told_the_wait_behind_its_equals_alone() -> None:
    queue = FairQueue[Item]()
    flow = queue.flow("a")
    for priority in (0.5, 0.9, 0.1):
        queue.push(flow, Item(1, priority=priority))
    assert [flow.cost_before(priority) for priority in (0.1, 0.5, 0.9, 1.0)] == [3, 2, 1, 0]
