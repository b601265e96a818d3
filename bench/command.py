"""`conch bench`: its command line. What it needs beside typer is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.load.distribution import GRAMMAR
from bench.options import Api, Options
from triton_repo.contract.api_key import API_KEY_VARIABLE


def bench_command(  # noqa: PLR0913, PLR0917 - the options of a command
    url: Annotated[str, typer.Argument(help="Base URL of an OpenAI API.")] = "http://127.0.0.1:9000",
    model: Annotated[str | None, typer.Option(help="The first that the server lists, if not given.")] = None,
    api: Annotated[Api, typer.Option(help="Endpoint.")] = "chat",
    concurrency: Annotated[str, typer.Option(help="Closed loop: requests at a time; several runs as 1,8,32.")] = "1",
    rate: Annotated[str | None, typer.Option(help="Open loop: Poisson arrivals a second; several as 2,4,8.")] = None,
    requests: Annotated[int | None, typer.Option(min=1, help="Requests of each run; 100 if nothing bounds it.")] = None,
    duration: Annotated[float | None, typer.Option(min=0.1, help="Seconds in which each run sends requests.")] = None,
    warmup: Annotated[int, typer.Option(min=0, help="Uncounted requests before each run.")] = 4,
    prompt_tokens: Annotated[str, typer.Option(help=f"{GRAMMAR}; made of words, so approximate.")] = "128",
    output_tokens: Annotated[str, typer.Option(help=f"max_tokens: {GRAMMAR}.")] = "64",
    vocab_size: Annotated[
        int | None, typer.Option(min=2, help="Prompts of random token ids below this: exact lengths; completions only.")
    ] = None,
    ignore_eos: Annotated[
        bool, typer.Option("--ignore-eos", help="Answers of exactly --output-tokens; an extension of OpenAI's API.")
    ] = False,
    temperature: Annotated[float | None, typer.Option(min=0, max=2)] = None,
    seed: Annotated[int, typer.Option(help="Of prompts, lengths and arrivals.")] = 0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds after which a request has failed.")] = 600.0,
    ttft_slo_ms: Annotated[float | None, typer.Option(min=0, help="Goodput: the most to the first token.")] = None,
    itl_slo_ms: Annotated[float | None, typer.Option(min=0, help="Goodput: the most between tokens, mean.")] = None,
    cpu_of: Annotated[
        list[int] | None, typer.Option(help="Id of a process whose CPU, with all its descendants', is counted.")
    ] = None,
    api_key: Annotated[str | None, typer.Option(envvar=API_KEY_VARIABLE, show_envvar=True)] = None,
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the runs into this .png, .svg or .pdf file.")] = None,
) -> None:
    """Measure an OpenAI-compatible server: latencies, throughput, goodput, CPU per token."""
    given = dict(locals())
    from bench.session import run_session

    if not run_session(Options(**{**given, "cpu_of": tuple(cpu_of or ())})):
        raise typer.Exit(1)
