"""Who is next where an engine has no room: the request of higher priority, through a real gateway and Triton."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.conftest import free_port
from tests.gateway.scrape import scrape, value
from tests.launch.replay_engine import write_spec
from tests.launch.server import KEY, serving
from tests.waiting import wait_for

pytestmark = pytest.mark.operate

HEADERS = {"authorization": f"Bearer {KEY}"}
AHEAD, LOW, HIGH = 3, 2, 1  # of a batch of one the engine has two; four may wait before its pace is known


@pytest.mark.parametrize(("high", "low"), [(0, 9), (0.9, 0.1)])
def test_those_of_higher_priority_begin_before_those_of_lower_that_came_first(
    tmp_path: Path, high: float, low: float
) -> None:
    spec = write_spec(tmp_path, tokens_per_second=20)
    spec.write_text(spec.read_text(encoding="utf-8").replace("max_batch_size = 64", "max_batch_size = 1"), "utf-8")
    began: list[float] = []
    with serving(spec, [free_port() for _ in range(4)], "--queue-timeout-s=120") as server:

        def ask(priority: float) -> None:
            body = {"model": "tale", "prompt": "x", "max_tokens": 40, "ignore_eos": True, "stream": True}
            request = {**body, "priority": priority}
            url = f"{server.url}/v1/completions"
            with httpx.stream("POST", url, json=request, headers=HEADERS) as response:
                assert response.status_code == 200
                for number, _ in enumerate(response.iter_text()):
                    if number == 0:
                        began.append(priority)

        with ThreadPoolExecutor(AHEAD + LOW + HIGH) as threads:
            asked = []
            for priority in [0.5 if low < 1 else 5] * AHEAD + [low] * LOW + [high] * HIGH:
                asked.append(threads.submit(ask, priority))
                wait_for(lambda: value(scrape(server.url), "conch_requests_in_flight") + len(began) >= len(asked))
            for each in asked:
                each.result()
    order = [priority for priority in began if priority in (high, low)]
    assert order == [high] * HIGH + [low] * LOW
