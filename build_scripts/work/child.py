"""Runs a step of a build in a child process.

Exporting imports torch and prints a lot, and a chat template is untrusted code. A child keeps all of that out of the
process that goes on to serve: its memory is freed, its output goes to a log, its crash is one sentence.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, ParamSpec

from triton_repo.contract.errors import BuildError

P = ParamSpec("P")

_ROOT: Final = str(Path(__file__).resolve().parents[2])
# Isolated (-I): whatever lies in the working directory, which may be a downloaded checkpoint, is never imported.
_PROGRAM: Final = f"import sys; sys.path.append({_ROOT!r}); from build_scripts.work.child import main; main()"
# A step works on files that are already here; fetching them was the parent's part.
_ENVIRONMENT: Final = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
# Packages that others import wherever they are installed, and that are needed for nothing here. The first reports to
# Google Analytics that nncf and OpenVINO's converter are used, the others take more than a second.
_KEPT_OUT: Final = ("openvino_telemetry", "sentence_transformers", "sklearn")
_HINTS: Final[dict[int, str]] = {signal.SIGKILL: "; is there enough memory?", signal.SIGXCPU: "; it took too long"}
_MAX_MESSAGE = 500  # characters; must fit into a pipe's buffer, because it is read after the child's end


@dataclass(frozen=True, slots=True)
class Child:
    """Runs functions of modules, with JSON values as arguments, in child processes that die with their parent."""

    step: str  # begins its errors
    log: Path
    timeout_s: float | None = None

    def call(self, function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Run `function` to its end.

        Raises:
            BuildError: the function raised, the child died, or `timeout_s` passed.
        """
        job = json.dumps([function.__module__, function.__name__, args, kwargs])
        problem = self._run([sys.executable, "-I", "-c", _PROGRAM, job])
        if problem is not None:
            raise BuildError(f"{self.step}: {problem} (log: {self.log})")

    def _run(self, command: list[str]) -> str | None:
        # Nothing is ever written to stdin: it is open for as long as this process lives, which the child watches.
        pipe = subprocess.PIPE
        with (
            self.log.open("ab") as log,
            subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=log, env={**os.environ, **_ENVIRONMENT}
            ) as process,
        ):
            try:
                process.wait(self.timeout_s)
            except subprocess.TimeoutExpired:
                return f"took longer than {self.timeout_s:g} s"
            finally:
                process.kill()
            problem = process.stdout.read().decode(errors="replace") if process.stdout else ""
        return None if process.returncode == 0 else problem or _death(process.returncode)


def _death(returncode: int) -> str:
    if returncode >= 0:
        return f"its process ended with exit code {returncode}"
    return f"its process was ended by {signal.Signals(-returncode).name}{_HINTS.get(-returncode, '')}"


def main() -> None:
    """The child's side: the job is the one argument, an error message is all that it prints."""
    report = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")  # of half a character in a name
    os.dup2(2, 1)  # whatever a library prints goes to the log
    threading.Thread(target=_die_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.WARNING)
    keep_out()
    module, name, args, kwargs = json.loads(sys.argv[1])
    try:
        getattr(importlib.import_module(module), name)(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - the process boundary: the log gets the traceback, the parent one line
        traceback.print_exc()
        text = " ".join(str(error).split()) or type(error).__name__
        report.write(text if len(text) <= _MAX_MESSAGE else f"{text[: _MAX_MESSAGE - 3]}...")
        report.close()
        sys.exit(1)


def keep_out() -> None:
    """Before anything imports them."""
    sys.modules.update(dict.fromkeys(_KEPT_OUT))  # type: ignore[arg-type]  # None: Python takes it for not installed


def _die_with_parent() -> None:
    os.read(0, 1)
    os._exit(1)
