"""The gates of all engines."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import TypedDict

from gateway.admission.deadlines import Deadlines
from gateway.admission.estimate import Prompt
from gateway.admission.gate import Gate
from gateway.admission.tally import Tally
from gateway.admission.terms import Capacity, Policy, Terms
from gateway.admission.ticket import Ticket


class EngineStatus(TypedDict):
    """`drain_s`: how long it needs for what waits; None is not known."""

    running: int
    waiting: int
    drain_s: float | None


class Admission:
    """Used inside one event loop; `tally` may be shared with other processes."""

    def __init__(self, queue_timeout_s: float, tally: Tally, max_key_share: float | None = 1.0) -> None:
        self._policy = Policy(queue_timeout_s, max_key_share)
        self._tally = tally
        self._gates: dict[str, Gate] = {}  # by the name of a model that is, or was, served
        self.deadlines = Deadlines()

    def enter(
        self, model: str, capacity: Capacity, terms: Terms, asked: Sequence[tuple[Prompt, int | None]]
    ) -> list[Ticket]:
        """A ticket for each generation, its prompt and its `max_tokens`, of one request to a model that is served.

        Raises:
            ServerOverloaded: at once, where it could not have its turn in time.
        """
        gate = self._gates.get(model)
        if gate is None:
            gate = self._gates[model] = Gate(model, capacity, self._policy, self._tally, self.deadlines)
        gate.resize(capacity)
        return gate.enter(terms, asked)

    def check_open(self, model: str, terms: Terms) -> None:
        """Reject what `enter` would reject, before more is done for it.

        Raises:
            ServerOverloaded
        """
        gate = self._gates.get(model)
        if gate is not None and gate.is_closed_to(terms):
            raise gate.overloaded()

    @property
    def num_waiting(self) -> int:
        return sum(gate.num_waiting for gate in self._gates.values())

    def status(self) -> dict[str, EngineStatus]:
        """What each engine has been given, by its name, and what waits here."""
        return {
            name: {"running": gate.num_running, "waiting": gate.num_waiting, "drain_s": gate.drain_s()}
            for name, gate in self._gates.items()
        }
