"""What the tokens of an answer cost while they are kept."""

from __future__ import annotations

import json
import tracemalloc

from gateway.answers.tokens import TokenQueue


def test_a_token_takes_little_more_than_its_json() -> None:
    entry = {"token": "abc", "logprob": -1.25, "bytes": [97, 98, 99], "top_logprobs": [], "text_length": 3}
    queue, arrived, most = TokenQueue(), json.dumps([entry] * 1000), 1000 * 600
    tracemalloc.start()
    try:
        queue.add(arrived)
        assert tracemalloc.get_traced_memory()[0] < most
    finally:
        tracemalloc.stop()
    assert len(queue.take("abc" * 1000, None)) == 1000
