"""One call of `conch bench`: from its options to a table, a JSON file and a plot."""

from __future__ import annotations

from rich.console import Console

from bench import machine, report
from bench.load import plot
from bench.load.connection import Target
from bench.load.distribution import parse_lengths
from bench.load.generator import Bounds, ClosedLoop, Loop, OpenLoop
from bench.load.run import Plan, first_model, run_all
from bench.load.summary import Slo
from bench.load.workload import Workload
from bench.options import Options
from triton_repo.contract.errors import BenchError

DEFAULT_REQUESTS = 100


def run_session(options: Options) -> bool:
    """Measure and tell. Whether every run had a request that succeeded.

    Raises:
        BenchError: an option is not allowed, or there is nothing to measure.
    """
    if options.plot is not None:
        plot.check(options.plot)
    loops = parse_loops(options)
    plan = make_plan(options)
    console = Console()
    title = f"{plan.workload.model} at {plan.target.url}"
    console.print(f"{title}\n{machine.one_line(machine.describe())}", style="dim", soft_wrap=True, highlight=False)
    with console.status("") as status:
        summaries = run_all(plan, loops, lambda loop: status.update(f"{loop.name} …"))
    console.print(report.table(summaries))
    for remark in report.remarks(summaries):
        console.print(remark, style="yellow", markup=False, soft_wrap=True, highlight=False)
    if options.json is not None:
        report.write_json(options.json, report.document(summaries, options.told() | {"model": plan.workload.model}))
    if options.plot is not None:
        plot.draw(options.plot, summaries, title)
    return all(summary.succeeded for summary in summaries)


def make_plan(options: Options) -> Plan:
    """What the options ask for; the server is asked for its model if they name none."""
    if options.vocab_size is not None and options.api != "completions":
        raise BenchError(f"--vocab-size = {options.vocab_size}; needs --api completions: a chat takes no token ids")
    prompt_tokens = parse_lengths("--prompt-tokens", options.prompt_tokens)
    output_tokens = parse_lengths("--output-tokens", options.output_tokens)
    target = Target.parse(options.url, options.api_key)
    workload = Workload(
        model=options.model or first_model(target),
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        api=options.api,
        vocab_size=options.vocab_size,
        ignore_eos=options.ignore_eos,
        temperature=options.temperature,
        seed=options.seed,
    )
    return Plan(
        target=target,
        workload=workload,
        bounds=Bounds(options.requests or (None if options.duration else DEFAULT_REQUESTS), options.duration),
        warmup=options.warmup,
        timeout_s=options.timeout,
        slo=Slo(options.ttft_slo_ms, options.itl_slo_ms),
        cpu_of=options.cpu_of,
    )


def parse_loops(options: Options) -> list[Loop]:
    """The runs, in their order; a rate makes them open loops."""
    if options.rate is not None:
        return [OpenLoop(rate, options.seed) for rate in _numbers("--rate", options.rate)]
    return list(parse_concurrency(options.concurrency))


def parse_concurrency(text: str) -> list[ClosedLoop]:
    numbers = _numbers("--concurrency", text)
    if any(not number.is_integer() for number in numbers):
        raise BenchError(f"--concurrency = {text!r}; must be whole numbers of at least 1, as 1,8,32")
    return [ClosedLoop(int(number)) for number in numbers]


def _numbers(option: str, text: str) -> list[float]:
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0 < number < float("inf") for number in numbers):
        raise BenchError(f"{option} = {text!r}; must be numbers above 0, separated by commas")
    return numbers
