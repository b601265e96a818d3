"""`conch sweep`: its command line. What it needs beside typer is imported when it runs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from bench.load.distribution import GRAMMAR
from bench.options import Api
from bench.sweep.options import Objective, Search, SweepOptions

INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C ended


def sweep_command(  # noqa: PLR0913, PLR0917 - the options of a command
    spec: Annotated[str, typer.Argument(help="A spec file, or the name of one in engines/.")],
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE,…", help="A key of the spec, as serve.num_threads; repeatable."),
    ] = None,
    concurrency: Annotated[str, typer.Option(help="Clients at a time, for each settings in turn.")] = "1,8,32",
    objective: Annotated[Objective, typer.Option(help="What to have the most of.")] = "output-tokens",
    ttft_p99_ms: Annotated[float | None, typer.Option(min=0, help="SLO: p99 of the time to first token.")] = None,
    itl_p99_ms: Annotated[float | None, typer.Option(min=0, help="SLO: p99 of the time between tokens.")] = None,
    end_to_end_p99_ms: Annotated[float | None, typer.Option(min=0, help="SLO: p99 of a whole answer.")] = None,
    search: Annotated[Search, typer.Option(help="The whole grid, or one key at a time.")] = "full",
    max_points: Annotated[int, typer.Option(min=1, help="Refuse a grid that has more.")] = 200,
    requests: Annotated[int, typer.Option(min=1, help="Requests of each point.")] = 200,
    warmup: Annotated[int | None, typer.Option(min=0, help="Uncounted ones before; one per client if none.")] = None,
    prompt_tokens: Annotated[str, typer.Option(help=f"{GRAMMAR}; made of words, so approximate.")] = "128",
    output_tokens: Annotated[str, typer.Option(help=f"max_tokens: {GRAMMAR}.")] = "64",
    ignore_eos: Annotated[bool, typer.Option(help="Answers of exactly --output-tokens.")] = True,
    temperature: Annotated[float | None, typer.Option(min=0, max=2)] = None,
    api: Annotated[Api, typer.Option(help="Endpoint.")] = "chat",
    seed: Annotated[int, typer.Option(help="Of prompts and lengths.")] = 0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds after which a request has failed.")] = 120.0,
    output_dir: Annotated[Path | None, typer.Option(help="Points, engines, report (default: sweep/NAME).")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Measure points that failed again.")] = False,
) -> None:
    """Find the best settings of an engine under an SLO: serve each, load it, report. Goes on where it was stopped."""
    given = dict(locals())
    from bench.sweep.session import run_sweep

    with _stoppable():
        met = run_sweep(SweepOptions(**{**given, "vary": tuple(vary or ())}))
    if not met:
        raise typer.Exit(1)


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGINT and SIGTERM end the sweep in order: its server is stopped, what was measured is on file."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from here", err=True)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
