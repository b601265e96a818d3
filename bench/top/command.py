"""`conch top`: a live view of a server's latencies, rates and load, from its /metrics."""

from __future__ import annotations

import json as json_module
import time
from collections import deque
from collections.abc import Sequence
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from bench.top.exposition import Scrape, scrape
from bench.top.rows import Row, rows

WINDOW_S: Final = 60.0  # of the latencies in the live view
_COLUMNS: Final = ("first token", "inter-token", "whole answer")
_NONE: Final = "-"


def top_command(
    url: Annotated[str, typer.Argument(help="Base URL of a gateway.")] = "http://127.0.0.1:9000",
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 2.0,
    once: Annotated[
        bool, typer.Option("--once", help="Print one table and end: latencies since the server's start.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="With --once: print JSON, times in seconds.")] = False,
) -> None:
    """Watch a server: p50, p95 and p99 of its latencies, requests and tokens a second, queue and KV cache by model."""
    if once or json:
        shown = look_once(url, interval)
        if json:
            print(json_module.dumps([row.as_json() for row in shown], indent=2))
        else:
            Console().print(table(shown, "since the start"))
        return
    _watch(url, interval)


def look_once(url: str, interval_s: float) -> list[Row]:
    """Latencies are those since the start of the server, rates those of an interval."""
    before, began_s = scrape(url), time.monotonic()
    time.sleep(interval_s)
    now = scrape(url)
    return rows(now, before, time.monotonic() - began_s, all_since_start=True)


def _watch(url: str, interval_s: float) -> None:
    history: deque[tuple[float, Scrape]] = deque([(time.monotonic(), scrape(url))])
    with Live(console=Console(), screen=True, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(interval_s)
                now_s, now = time.monotonic(), scrape(url)
                history.append((now_s, now))
                while len(history) > 2 and history[1][0] <= now_s - WINDOW_S:
                    history.popleft()
                before_s, before = history[0]
                live.update(table(rows(now, before, now_s - before_s), f"{now_s - before_s:.0f} s"), refresh=True)
        except KeyboardInterrupt:
            return


def table(shown: Sequence[Row], window: str) -> Table:
    made = Table(title=f"Conch: latencies at p50 / p95 / p99, in ms, {window}")
    made.add_column("model")
    for name in (*_COLUMNS, "req/s", "tok/s", "running", "waiting", "KV cache"):
        made.add_column(name, justify="right")
    for row in shown:
        latencies = [_latencies(each) for each in (row.first_token_s, row.inter_token_s, row.whole_s)]
        cache = _NONE if row.kv_cache is None else f"{row.kv_cache:.0%}"
        rates = (f"{row.requests_per_s:.1f}", f"{row.tokens_per_s:.0f}", f"{row.running:.0f}", f"{row.waiting:.0f}")
        made.add_row(row.model, *latencies, *rates, cache)
    return made


def _latencies(values: Sequence[float | None]) -> str:
    return " / ".join(_NONE if value is None else f"{1000 * value:.3g}" for value in values)
