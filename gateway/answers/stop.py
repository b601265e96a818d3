"""Stop strings, matched on text that arrives in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Cuts a text right before the stop string that starts first in it, however the text is chunked.

    Two stop strings that start at the same place cut the same text, so ties need no rule. Text is held back only
    while it may still turn out to belong to a stop string, and a match is reported by the call that makes it certain:
    when "c" has matched but a longer "abcd" that starts before it is still possible, the next text decides.

    `exempt` characters at the start of the whole text end no match: those of the first `min_tokens` tokens, as in vLLM.

    Args:
        keep_stop: the text is cut right behind the stop string; of two that start at the same place, the shorter one.
    """

    def __init__(self, stops: Sequence[str], *, keep_stop: bool = False) -> None:
        self._stops = tuple(stops)
        self._keep_stop = keep_stop
        self._held = ""
        self._passed = 0  # characters before those held
        self._exempt = 0

    def feed(self, text: str, exempt: int = 0) -> tuple[str, bool]:
        """The text that is safe to send on, and whether a stop string has cut it. After a cut, feed no more."""
        if not self._stops:
            return text, False
        self._held += text
        self._exempt = exempt
        cut = self._first_match()
        hold = self._first_possible_start()
        if cut <= hold and cut < len(self._held):
            return self._cut_text(cut), True
        safe, self._held = self._held[:hold], self._held[hold:]
        self._passed += len(safe)
        return safe, False

    def flush(self) -> tuple[str, bool]:
        """What was held back, now that the text has ended, and whether a stop string has cut it."""
        cut = self._first_match()
        return self._cut_text(cut), cut < len(self._held)

    @property
    def stop(self) -> str:
        """After a cut or a flush: the stop string that has cut the text, "" if none has."""
        at = self._first_match()
        return min((stop for stop in self._stops if self._find(stop) == at), key=len, default="")

    @property
    def num_dropped(self) -> int:
        """After a cut or a flush: characters of the stop string that are no part of the text."""
        return 0 if self._keep_stop else len(self.stop)

    def _cut_text(self, cut: int) -> str:
        return self._held[: cut + len(self.stop)] if self._keep_stop else self._held[:cut]

    def _first_match(self) -> int:
        """Where the first whole stop string starts; the length of the held text if there is none."""
        return min((at for at in map(self._find, self._stops) if at >= 0), default=len(self._held))

    def _find(self, stop: str) -> int:
        """Where the first match of one stop string starts that ends beyond the exempt text; -1 if there is none."""
        return self._held.find(stop, max(0, self._exempt - self._passed - len(stop) + 1))

    def _first_possible_start(self) -> int:
        """Where the longest tail starts that some stop string could still complete."""
        held = self._held
        first = len(held)
        for stop in self._stops:
            at = held.find(stop[0], max(0, len(held) - len(stop) + 1), first)
            while at >= 0:
                if stop.startswith(held[at:]):
                    first = at
                at = held.find(stop[0], at + 1, first)
        return first
