"""Many inputs for each reader of outside bytes: `python -m tests.soak.fuzz --examples 100000 --seed 1 [NAME …]`.

Every reader runs in a process of its own. An input that makes it raise, takes longer than LIMIT_S, or ends its process
is kept in a file, and the same seed finds it again. With `--atheris SECONDS`, and atheris installed, the inputs are
those of libFuzzer, which follows the branches that they take.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import logging
import random
import resource
import signal
import subprocess
import sys
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


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="readers (default: all)")
    parser.add_argument("--examples", type=int, default=100_000, help="inputs for each (default: %(default)s)")
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
    print(f"| {'reader':16} | {'inputs':>8} | {'seconds':>7} | {'slowest, ms':>11} | {'growth, MiB':>11} | outcome")
    return sum([_report(name, options) for name in options.names or [target.name for target in all_targets()]]) and 1


def _report(name: str, options: argparse.Namespace) -> bool:
    """Run one in a child; whether it failed."""
    words = ["--examples", options.examples, "--seed", options.seed, "--found", options.found]
    words += ["--atheris", options.atheris] if options.atheris else []
    command = [sys.executable, "-m", "tests.soak.fuzz", "--in-this-process", name, *map(str, words)]
    began_s = time.monotonic()
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = child.stdout.splitlines()
    result: dict[str, Any] = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    outcome = result.get("failure") or (
        "ok" if child.returncode == 0 else f"ended with {child.returncode}: {child.stderr[-300:]}"
    )
    seconds, slowest, growth = time.monotonic() - began_s, result.get("slowest_ms", 0), result.get("growth_mib", 0)
    print(
        f"| {name:16} | {result.get('inputs', 0):8} | {seconds:7.0f} | {slowest:11.0f} | {growth:11.0f} | {outcome}",
        flush=True,
    )
    return outcome != "ok"


def run(target: Target, options: argparse.Namespace) -> int:
    logging.disable()
    warnings.simplefilter("ignore")
    for seed in target.seeds:
        target.run(seed)
    if options.atheris:
        return _run_atheris(target, options)
    chance = random.Random(f"{options.seed} {target.name}")
    result: dict[str, Any] = {"inputs": 0, "slowest_ms": 0.0, "growth_mib": 0}
    before = _max_rss_mib()
    kept = options.found / f"{target.name}-{options.seed}"
    data = b""
    signal.signal(signal.SIGPROF, lambda *_: _give_up(kept, data, result))
    try:
        for _ in range(options.examples):
            data = generated(target, chance)
            began_s = time.thread_time()
            if result["inputs"] % 20 == 0:
                signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
                # Also of code that takes no signal, or waits.
                faulthandler.dump_traceback_later(30 * LIMIT_S, exit=True, file=sys.__stderr__ or sys.stderr)
            _keep(kept, data)  # before it can end this process
            target.run(data)
            result["slowest_ms"] = max(result["slowest_ms"], 1e3 * (time.thread_time() - began_s))
            result["inputs"] += 1
        kept.unlink(missing_ok=True)
    except Exception:  # noqa: BLE001 - whatever it is, it is what is looked for
        result["failure"] = f"{_keep(kept, data)}: {traceback.format_exc().splitlines()[-1][:200]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
    result["growth_mib"] = _max_rss_mib() - before
    print(json.dumps(result))
    return 1 if "failure" in result else 0


def _give_up(kept: Path, data: bytes, result: dict[str, Any]) -> None:
    print(json.dumps({**result, "failure": f"{_keep(kept, data)}: takes longer than {LIMIT_S} s"}), flush=True)
    raise SystemExit(1)


def _keep(file: Path, data: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def _instrumented(by_atheris: object) -> AbstractContextManager[Any]:
    """Of what is imported meanwhile, Conch's own packages tell which branches they take."""
    if not by_atheris:
        return nullcontext()
    importing: AbstractContextManager[Any] = importlib.import_module("atheris").instrument_imports(include=_OURS)
    return importing


def _run_atheris(target: Target, options: argparse.Namespace) -> int:
    atheris: Any = importlib.import_module("atheris")

    corpus = options.found / "corpus" / target.name
    for number, seed in enumerate(target.seeds):
        _keep(corpus / f"seed-{number}", seed)
    flags = [f"-max_total_time={options.atheris}", f"-seed={options.seed}", f"-timeout={LIMIT_S}", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], *flags, f"-artifact_prefix={options.found}/{target.name}-", str(corpus)], target.run)
    atheris.Fuzz()
    return 0


def _max_rss_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    sys.exit(main())
