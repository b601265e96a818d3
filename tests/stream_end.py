"""How a stream of events ended."""

from __future__ import annotations

from collections.abc import Sequence


def stream_end(events: Sequence[str]) -> str:
    """complete; error: one, as the last event; cut: neither; or broken. `events` are the data of each."""
    errors = [event for event in events if event.startswith('{"error"')]
    done = events.count("[DONE]")
    if errors:
        return "error" if errors == [*events[-1:]] and not done else "broken"
    return "complete" if done == 1 and events[-1] == "[DONE]" else "broken" if done else "cut"
