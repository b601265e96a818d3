"""Choosing among outcomes. Pure: what is equal keeps the order that it was measured in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from bench.sweep.goal import Goal, p99_ms
from bench.sweep.grid import Value
from bench.sweep.outcome import Outcome

T = TypeVar("T")


def ranked(outcomes: Iterable[Outcome], goal: Goal) -> list[Outcome]:
    """Best first: those that meet the goal, then those that miss it, then those that failed."""
    return sorted(outcomes, key=goal.rank, reverse=True)


def winner(outcomes: Iterable[Outcome], goal: Goal) -> Outcome | None:
    """The best of those that meet the goal."""
    return next(filter(goal.met_by, ranked(outcomes, goal)), None)


def nearest(outcomes: Iterable[Outcome], goal: Goal) -> Outcome | None:
    """The one that misses the goal by least; None if nothing was measured."""
    return next((outcome for outcome in ranked(outcomes, goal) if outcome.measured), None)


def pareto_front(points: Iterable[T], gain: Callable[[T], float], cost: Callable[[T], float]) -> list[T]:
    """The points that no other betters in one without being worse in the other, by falling gain."""
    front: list[T] = []
    for point in sorted(points, key=lambda point: (-gain(point), cost(point))):
        last = front[-1] if front else None
        if last is None or cost(point) < cost(last) or (gain(point), cost(point)) == (gain(last), cost(last)):
            front.append(point)
    return front


def front(outcomes: Sequence[Outcome], goal: Goal, latency: str) -> list[Outcome]:
    """The Pareto front of the goal's gain and the p99 of one latency, of points where every request succeeded."""
    costs = {outcome.fingerprint: p99_ms(outcome, latency) for outcome in outcomes if outcome.whole}
    known = {key: cost for key, cost in costs.items() if cost is not None}
    eligible = [outcome for outcome in outcomes if outcome.fingerprint in known]
    return pareto_front(eligible, goal.gain, lambda outcome: known[outcome.fingerprint])


def effects(outcomes: Sequence[Outcome], goal: Goal) -> Mapping[str, Mapping[Value, Outcome]]:
    """Key -> value -> the best outcome that was had with it; only keys of which several values were tried."""
    best: dict[str, dict[Value, Outcome]] = {}
    for outcome in ranked(outcomes, goal):
        for key, value in outcome.settings.items():
            best.setdefault(key, {}).setdefault(value, outcome)
    return {key: by_value for key, by_value in best.items() if len(by_value) > 1}
