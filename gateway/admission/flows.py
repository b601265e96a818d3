"""Whose turn it is: a queue that is fair between flows, in tokens.

A flow is all that one key asks for. Each has a counter of the tokens that it was given; the next turn is that of the
flow with the smallest ("virtual token counter", Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024).
A flow that comes back goes on with its own counter, or with the smallest of those that wait if that is larger: none
saves up turns, and none gets more of them by leaving after each. Once nothing waits all begin alike. Unlike deficit
round robin this takes a correction at any time: a turn is charged for what it is expected to cost, and the counter
corrected once that is known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Costly(Protocol):
    """What waits: its `cost` in tokens; `left` once it does not wait any more, for another reason than its turn.

    Of one flow those of higher `priority` are first.
    """

    @property
    def cost(self) -> int: ...

    @property
    def left(self) -> bool: ...

    @property
    def priority(self) -> float: ...


Item = TypeVar("Item", bound=Costly)


@dataclass(slots=True, eq=False)
class Flow(Generic[Item]):
    """`served` is its counter; `num_waiting` and `waiting_cost` are those of the items that still wait."""

    name: str
    served: int = 0
    num_waiting: int = 0
    waiting_cost: int = 0
    items: deque[Item] = field(default_factory=deque)

    def join(self, item: Item) -> None:
        """Behind all that have as high a priority."""
        place = len(self.items)
        while place and self.items[place - 1].priority < item.priority:
            place -= 1
        self.items.insert(place, item)

    def cost_before(self, priority: float) -> int:
        """Of what has its turn before one more of this priority."""
        if not self.items or self.items[-1].priority >= priority:
            return self.waiting_cost
        return sum(item.cost for item in self.items if item.priority >= priority and not item.left)

    def newest_first(self) -> Iterator[Item]:
        """What waits, those of the lowest priority first; nothing may come or leave meanwhile."""
        while self.items and self.items[-1].left:
            self.items.pop()
        return (item for item in reversed(self.items) if not item.left)


class FairQueue(Generic[Item]):
    """Items in the order of their turns. To join and to leave takes no longer when many wait."""

    def __init__(self) -> None:
        self._flows: dict[str, Flow[Item]] = {}  # those that wait
        self._known: dict[str, Flow[Item]] = {}  # and those that did since the queue was last empty
        self.num_waiting = 0
        self.waiting_cost = 0

    @property
    def num_flows(self) -> int:
        return len(self._flows)

    def flow(self, name: str) -> Flow[Item]:
        """The flow of that name."""
        return self._known.get(name) or Flow(name, self._least_served())

    def push(self, flow: Flow[Item], item: Item) -> None:
        if not flow.num_waiting:
            flow.served = max(flow.served, self._least_served())
        self._flows[flow.name] = self._known[flow.name] = flow
        flow.join(item)
        self._count(flow, 1, item.cost)

    def head(self, but: Collection[str] = ()) -> tuple[Flow[Item], Item] | None:
        """What has the next turn, of all flows but those of these names."""
        while flows := [flow for flow in self._flows.values() if flow.name not in but] if but else self._flows.values():
            flow = min(flows, key=_served)
            while flow.items and flow.items[0].left:
                flow.items.popleft()
            if flow.items:
                return flow, flow.items[0]
            del self._flows[flow.name]
        return None

    def firsts(self) -> list[tuple[Flow[Item], Item]]:
        """What has the next turn of each flow."""
        found = ((flow, next((item for item in flow.items if not item.left), None)) for flow in self._flows.values())
        return [(flow, item) for flow, item in found if item is not None]

    def take(self, flow: Flow[Item]) -> None:
        """The head of this flow has its turn."""
        item = flow.items.popleft()
        self._count(flow, -1, -item.cost)
        flow.served += item.cost

    def pull(self, flow: Flow[Item], item: Item) -> None:
        """Take out an item that waits, without its turn."""
        flow.items.remove(item)
        self._count(flow, -1, -item.cost)

    def leave(self, flow: Flow[Item], item: Item) -> None:
        """Count an item out that waits and has just `left`."""
        self._count(flow, -1, -item.cost)

    def in_the_way(
        self, flow: Flow[Item], cost: int, priority: float, is_full: Callable[[int, int], bool]
    ) -> list[Item] | None:
        """What to drop so that items of this cost may join a flow: the newest of the flow of which most waits then, or,
        once no flow has more waiting than this one would have, its own newest of lower priority.

        None where that would not do. `is_full` tells whether there is no room yet without so many items of such a cost.
        """
        items: list[Item] = []
        costs = {other.name: other.waiting_cost for other in self._flows.values()}
        newest = {name: self._flows[name].newest_first() for name in costs}
        freed = 0
        while is_full(len(items), freed):
            longest = max(costs, key=lambda name: costs[name], default=flow.name)
            if costs.get(longest, 0) <= costs.get(flow.name, 0) + cost:
                longest = flow.name
            item = next(newest.get(longest, iter(())), None)
            if item is None or (longest == flow.name and item.priority >= priority):
                return None
            items.append(item)
            costs[longest] -= item.cost
            freed += item.cost
        return items

    def _count(self, flow: Flow[Item], num: int, cost: int) -> None:
        flow.num_waiting += num
        flow.waiting_cost += cost
        self.num_waiting += num
        self.waiting_cost += cost
        if not flow.num_waiting:
            flow.items.clear()
            self._flows.pop(flow.name, None)
        if not self._flows:
            self._known.clear()

    def _least_served(self) -> int:
        """The counter of one that comes: before the others."""
        return min(map(_served, self._flows.values()), default=0) - 1


def _served(flow: Flow[Item]) -> int:
    return flow.served
