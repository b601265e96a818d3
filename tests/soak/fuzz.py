"""Many inputs for each reader of outside bytes: `python -m tests.soak.fuzz --examples 100000 --seed 1 [NAME …]`.

Every reader runs in a process of its own. An input that makes it raise, takes longer than LIMIT_S, or ends its process
is kept in a file that is named by reader, seed and number. Those three alone decide what the input is: `--first NUMBER`
begins there, to go on behind it or with what a bound of time left out. With `--atheris SECONDS`, and atheris installed,
the inputs are those of libFuzzer, which follows the branches that they take.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import logging
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Final

from tests.fuzz.inputs import generated
from tests.fuzz.target import Target
from tests.fuzz.targets import all_targets

_OURS: Final = ["gateway", "triton_repo", "build_scripts"]
LIMIT_S: Final = 20  # for one input, of CPU time: what else this machine does is no fault of the reader
_PROGRESS_S: Final = 30


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="readers (default: all)")
    parser.add_argument("--examples", type=int, default=100_000, help="inputs for each (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first input (default: %(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="at most so long for each (default: no bound)"
    )
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--atheris", type=int, metavar="SECONDS", help="fuzz each for so long with atheris instead")
    parser.add_argument(
        "--found", type=Path, default=Path("found"), help="directory of inputs that fail (default: %(default)s)"
    )
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.in_this_process:
        with _instrumented(options.atheris):  # the readers are imported here
            target = next(target for target in all_targets() if target.name == options.names[0])
        return run(target, options)
    numbers = f"{'inputs':>8} | {'seconds':>7} | {'slowest, ms':>11} | {'at':>8} | {'growth, MiB':>11}"
    print(f"| {'reader':17} | {numbers} | outcome", flush=True)
    return sum([_report(name, options) for name in options.names or [target.name for target in all_targets()]]) and 1


def _report(name: str, options: argparse.Namespace) -> bool:
    """Run one in a child; whether it failed."""
    began_s = time.monotonic()
    result: dict[str, Any] = {"inputs": 0, "slowest_ms": 0, "slowest_at": 0}
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(_command(name, options), stdout=subprocess.PIPE, stderr=errors, text=True) as child:
            for line in child.stdout or ():
                result = json.loads(line) if line.startswith("{") else result
                print(f"{name}: {result['inputs']} inputs in {time.monotonic() - began_s:.0f} s", file=sys.stderr)
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    if runs := re.findall(r"^Done (\d+) runs", said, re.MULTILINE):  # by libFuzzer
        result["inputs"] = int(runs[-1])
    ended = "ok" if child.returncode == 0 else f"ended with {child.returncode}: {said[-300:]}"
    outcome = result.get("failure") or ended
    counts = f"{result['inputs']:8} | {time.monotonic() - began_s:7.0f} | {result['slowest_ms']:11.0f}"
    print(
        f"| {name:17} | {counts} | {result['slowest_at']:8} | {result.get('growth_mib', 0):11} | {outcome}", flush=True
    )
    return outcome != "ok"


def _command(name: str, options: argparse.Namespace) -> list[str]:
    passed = ["examples", "first", "minutes", "seed", "found", *(["atheris"] if options.atheris else [])]
    words = [f"--{option}={getattr(options, option)}" for option in passed]
    return [sys.executable, "-m", "tests.soak.fuzz", "--in-this-process", name, *words]


def run(target: Target, options: argparse.Namespace) -> int:
    logging.disable()
    warnings.simplefilter("ignore")
    for seed in target.seeds:
        target.run(seed)
    if options.atheris:
        return _run_atheris(target, options)
    result: dict[str, Any] = {"inputs": 0, "slowest_ms": 0.0, "slowest_at": options.first}
    before, told_s, end_s = _max_rss_mib(), time.monotonic(), time.monotonic() + 60 * options.minutes
    signal.signal(signal.SIGPROF, lambda *_: _give_up(result))
    options.found.mkdir(parents=True, exist_ok=True)
    try:
        for number in range(options.first, options.first + options.examples):
            if result["inputs"] % 20 == 0:
                _limit()
            _read(target, number, options, result)
            result["growth_mib"] = _max_rss_mib() - before
            if time.monotonic() > end_s:
                break
            if time.monotonic() > told_s + _PROGRESS_S:
                told_s = time.monotonic()
                print(json.dumps(result), flush=True)
    except Exception:  # noqa: BLE001 - whatever it is, it is what is looked for
        result["failure"] = f"{result['kept']}: {traceback.format_exc().splitlines()[-1][:200]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
    print(json.dumps(result))
    return 1 if "failure" in result else 0


def _read(target: Target, number: int, options: argparse.Namespace, result: dict[str, Any]) -> None:
    data = generated(target, random.Random(f"{options.seed} {target.name} {number}"))
    kept = options.found / f"{target.name}-{options.seed}-{number}"
    kept.write_bytes(data)  # before it can end this process
    result["kept"] = str(kept)
    began_s = time.thread_time()
    target.run(data)
    took_ms = 1e3 * (time.thread_time() - began_s)
    if took_ms > result["slowest_ms"]:
        result |= {"slowest_ms": took_ms, "slowest_at": number}
    kept.unlink()
    result["inputs"] += 1


def _limit() -> None:
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    # Also of code that takes no signal, or waits.
    faulthandler.dump_traceback_later(30 * LIMIT_S, exit=True, file=sys.__stderr__ or sys.stderr)


def _give_up(result: dict[str, Any]) -> None:
    print(json.dumps({**result, "failure": f"{result['kept']}: takes longer than {LIMIT_S} s"}), flush=True)
    raise SystemExit(1)


def _instrumented(by_atheris: object) -> AbstractContextManager[Any]:
    """Of what is imported meanwhile, Conch's own packages tell which branches they take."""
    if not by_atheris:
        return nullcontext()
    importing: AbstractContextManager[Any] = importlib.import_module("atheris").instrument_imports(include=_OURS)
    return importing


def _run_atheris(target: Target, options: argparse.Namespace) -> int:
    atheris: Any = importlib.import_module("atheris")

    corpus = options.found / "corpus" / target.name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    flags = [f"-max_total_time={options.atheris}", f"-seed={options.seed}", f"-timeout={LIMIT_S}", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], *flags, f"-artifact_prefix={options.found}/{target.name}-", str(corpus)], target.run)
    atheris.Fuzz()
    return 0


def _max_rss_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    sys.exit(main())
