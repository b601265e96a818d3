"""Regular languages as rules of a grammar, one for each state of an automaton that always knows what comes next.

XGrammar 0.1.31 makes an automaton of each rule itself, and merges states that are not the same where two alternatives
begin alike: of "b", "bbab" and "babbb" it also makes "bbaa". Where no two begin alike there is nothing to merge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

from triton_repo.engine.schema.grammar import Grammar, NoValue

Ranges = tuple[tuple[int, int], ...]  # of code points, both ends included

LAST: Final = 0x10FFFF
_MOST_STATES: Final = 1 << 13
_MOST_PARTS: Final = 1 << 23  # of the stacks of all states: about a second
_TOO_COMPLEX: Final = "a pattern is too complex to be enforced"
_ESCAPES: Final = {0x22: '"', 0x5C: "\\", 8: "b", 9: "t", 10: "n", 12: "f", 13: "r"}  # by the letter behind a backslash
# What a JSON string has as it is: neither controls, quotes and backslashes, nor surrogates.
_PLAIN: Final[Ranges] = ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0xD7FF), (0xE000, LAST))
ANY: Final[Ranges] = ((0, 0xD7FF), (0xE000, LAST))
IN_STRING: Final[Ranges] = (*_PLAIN, *((code, code) for code in _ESCAPES))


class Chars(NamedTuple):
    """One character of these."""

    ranges: Ranges


class Sequence(NamedTuple):
    parts: tuple[Node, ...]


class Choice(NamedTuple):
    parts: tuple[Node, ...]


class Repeat(NamedTuple):
    part: Node
    least: int
    most: int | None


Node = Chars | Sequence | Choice | Repeat
Stack = tuple[Node, ...]  # what is still to be matched


def text(characters: str) -> Node:
    """Raises: ValueError: half a surrogate pair is no character."""
    characters.encode()
    return Sequence(tuple(Chars(((ord(each), ord(each)),)) for each in characters))


def complement(ranges: Iterable[tuple[int, int]]) -> Ranges:
    inverse, start = [], 0
    for low, high in sorted(ranges):
        if start < low:
            inverse.append((start, low - 1))
        start = max(start, high + 1)
    return (*inverse, (start, LAST)) if start <= LAST else tuple(inverse)


class State(NamedTuple):
    """For each language what may still be to match, and how many characters were read, as far as that matters."""

    stacks: tuple[frozenset[Stack], ...]
    length: int


@dataclass
class Automaton:
    """Of the texts of an alphabet that are in all of the languages, of at least and at most so many characters."""

    languages: tuple[Node, ...]
    alphabet: Ranges = ANY
    least: int = 0
    most: int | None = None
    edges: dict[State, list[tuple[Ranges, State]]] = field(default_factory=dict)
    ends: set[State] = field(default_factory=set)
    _num_parts: int = 0

    def __post_init__(self) -> None:
        self.start = State(tuple(frozenset([(language,)]) for language in self.languages), 0)
        waiting = [self.start]
        while waiting:
            state = waiting.pop()
            if state in self.edges:
                continue
            if len(self.edges) >= _MOST_STATES:
                raise ValueError(_TOO_COMPLEX)
            self.edges[state] = edges = [*self._edges(state)]
            waiting += [target for _, target in edges]
        self._drop_dead_ends()
        if self.start not in self.edges:
            raise NoValue("no text matches")

    def _edges(self, state: State) -> Iterator[tuple[Ranges, State]]:
        heads = [[head for stack in stacks for head in _heads(stack)] for stacks in state.stacks]
        within = self.least <= state.length and (self.most is None or state.length <= self.most)
        if within and all(any(head is None for head in each) for each in heads):
            self.ends.add(state)
        if self.most is not None and state.length >= self.most:
            return
        length = state.length + 1 if self.most is not None else min(state.length + 1, self.least)
        by_target: dict[State, list[tuple[int, int]]] = {}
        steps = [[head for head in each if head is not None] for each in heads]
        pieces = _pieces([self.alphabet, *(ranges for each in steps for ranges, _ in each)])
        for low, high in pieces:
            if not any(a <= low and high <= b for a, b in self.alphabet):
                continue
            rests = tuple(
                frozenset(rest for ranges, rest in each if any(a <= low and high <= b for a, b in ranges))
                for each in steps
            )
            self._num_parts += sum(len(rest) for each in rests for rest in each)
            if self._num_parts > _MOST_PARTS:
                raise ValueError(_TOO_COMPLEX)
            if all(rests):
                by_target.setdefault(State(rests, length), []).append((low, high))
        yield from ((tuple(ranges), target) for target, ranges in by_target.items())

    def _drop_dead_ends(self) -> None:
        """States from which no end is reached."""
        sources: dict[State, list[State]] = {}
        for source, edges in self.edges.items():
            for _, target in edges:
                sources.setdefault(target, []).append(source)
        alive, waiting = set(self.ends), list(self.ends)
        while waiting:
            for source in sources.get(waiting.pop(), ()):
                if source not in alive:
                    alive.add(source)
                    waiting.append(source)
        self.edges = {
            state: [edge for edge in edges if edge[1] in alive] for state, edges in self.edges.items() if state in alive
        }

    def rules(self, grammar: Grammar) -> str:
        """The first of its rules; inside of a JSON string its closing quote is the end."""
        in_string = self.alphabet is IN_STRING
        names = {state: grammar.new_rule() for state in self.edges}
        for state, edges in self.edges.items():
            bodies = [
                body for ranges, target in edges for body in _class(ranges, names[target], _PLAIN if in_string else ANY)
            ]
            if in_string and (escaped := _escaped(edges, names)):
                bodies.append(f'"\\\\" {grammar.rule(" | ".join(escaped))}')
            if state in self.ends:
                bodies.append('"\\""' if in_string else '""')
            grammar.define(names[state], " | ".join(bodies) or '""')
        return names[self.start]


def _heads(stack: Stack) -> Iterator[tuple[Ranges, Stack] | None]:
    """The characters that may come next, each with what is to match then; None if it may end."""
    waiting, seen = [stack], {stack}
    while waiting:
        current = waiting.pop()
        if not current:
            yield None
            continue
        for following in _unfolded(current[0], current[1:]):
            if isinstance(following, Chars):
                yield following.ranges, current[1:]
            elif following not in seen:
                seen.add(following)
                waiting.append(following)


def _unfolded(node: Node, rest: Stack) -> Iterator[Chars | Stack]:
    match node:
        case Chars():
            yield node
        case Sequence(parts):
            yield (*parts, *rest)
        case Choice(parts):
            yield from ((part, *rest) for part in parts)
        case Repeat(part, least, most):
            if least == 0:
                yield rest
            if most != 0:
                yield (part, Repeat(part, max(least - 1, 0), None if most is None else most - 1), *rest)


def _pieces(sets: Iterable[Ranges]) -> Iterator[tuple[int, int]]:
    """The ranges cut where any of them begins or ends, so that no two overlap in part."""
    ranges = {each for ranges in sets for each in ranges}
    cuts = sorted({low for low, _ in ranges} | {high + 1 for _, high in ranges})
    for low, after in pairwise(cuts):
        if any(a <= low and after - 1 <= b for a, b in ranges):
            yield low, after - 1


def _class(ranges: Ranges, target: str, allowed: Ranges) -> Iterator[str]:
    cut = [(max(a, low), min(b, high)) for a, b in ranges for low, high in allowed if max(a, low) <= min(b, high)]
    if cut:
        yield "[" + "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in cut) + f"] {target}"


def _escaped(edges: list[tuple[Ranges, State]], names: dict[State, str]) -> list[str]:
    return [
        f"[\\U{ord(letter):08x}] {names[target]}"
        for code, letter in _ESCAPES.items()
        for ranges, target in edges
        if any(low <= code <= high for low, high in ranges)
    ]
