"""When a stream's waiting tokens leave: messages are the unit of cost, not tokens."""

from __future__ import annotations

from typing import Final

# One message costs about 0.2 ms of CPU on its way through Triton, the stubs and the gateway. A stream may send one
# per `live × MESSAGE_COST_S`, so that all live streams together keep to about one core, however many they are.
MESSAGE_COST_S: Final = 0.0002


def flush_interval_s(setting_s: float, live_streams: int) -> float:
    """Seconds between two emissions of one stream: the setting, stretched when many streams are live.

    A setting of 0 sends every token at once and is never stretched.
    """
    return max(setting_s, live_streams * MESSAGE_COST_S) if setting_s > 0 else 0.0
