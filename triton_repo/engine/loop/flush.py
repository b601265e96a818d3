"""When a stream's waiting tokens leave: messages are the unit of cost, not tokens."""

from __future__ import annotations

from typing import Final

# One message costs 0.2 to 0.4 ms of CPU on its way through Triton, the stubs and the gateway. With one per stream and
# `live × MESSAGE_SPACING_S`, all live streams together take a third of a core, however many they are, and a burst
# does not feed on itself: messages take the CPU from the engine, so that each of them brings fewer tokens.
MESSAGE_SPACING_S: Final = 0.001
# What a reader still takes for a flowing text; from 80 streams on the share of CPU grows instead.
LONGEST_STRETCH_S: Final = 0.08


def flush_interval_s(setting_s: float, live_streams: int) -> float:
    """Seconds between two emissions of one stream: the setting, stretched when many streams are live.

    A setting of 0 sends every token at once and is never stretched.
    """
    if setting_s == 0:
        return 0.0
    return max(setting_s, min(live_streams * MESSAGE_SPACING_S, LONGEST_STRETCH_S))
