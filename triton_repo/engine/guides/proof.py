"""Proves guides with the library that is to enforce them, in a process of its own.

The length of a guide is bounded, the time and memory to compile it are not, and the libraries are native code. What is
proved is what the engine gets: a library may have its own form of a guide.
"""

from __future__ import annotations

import json
import logging
from typing import Final, NamedTuple

from triton_repo.bounded_process import Answer, BoundedProcess, Bounds, ProcessEnded
from triton_repo.contract.errors import EngineFailed
from triton_repo.contract.sampling import Guide
from triton_repo.engine.guides.libraries import LIBRARIES

logger = logging.getLogger(__name__)

LIMIT_S: Final = 2.0
# What proving may take on top of the library itself. A guide has 64 Ki characters: some kilobytes for each are more
# than a normal one needs, and little compared with the memory of a machine that serves an engine.
LIMIT_BYTES: Final = 1 << 30
_MAX_ERROR_LENGTH: Final = 200  # characters


class Proof(NamedTuple):
    """What the engine is to get of a guide, or why it cannot get it."""

    guide: Guide
    error: str | None = None


class GuideProver:
    """Used by one thread. The process starts with the first guide, and again after one that ended it.

    Args:
        library: one of `LIBRARIES`; `arguments` are its own.
        cpu_time: whether `limit_s` is of CPU time, and not of a clock.
    """

    def __init__(self, library: str, *arguments: str, limit_s: float = LIMIT_S, cpu_time: bool = False) -> None:
        self.library = library
        self._arguments = arguments
        self._bounds = Bounds(limit_s, LIMIT_BYTES, cpu_time=cpu_time)
        self._process: BoundedProcess | None = None

    def prove(self, guide: Guide) -> Proof:
        """
        Raises:
            EngineFailed: the library is not installed.
        """
        self._process = self._process or self._start()
        self._process.ask(json.dumps(guide).encode())
        try:
            enforced, error = json.loads(self._process.answer())
        except ProcessEnded as ended:
            self._process = None
            if ended.status >= 0:
                raise EngineFailed(f"guides: {self.library} could not be started") from ended
            return Proof(guide, f"parsing it {self._bounds.exceeded(ended.status) or ended}")
        return Proof(Guide(*enforced), error)

    def close(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None

    def _start(self) -> BoundedProcess:
        process = BoundedProcess(prover_of, self._bounds, self.library, *self._arguments)
        process.give_way()
        return process


def prover_of(library: str, *arguments: str) -> Answer:
    """For the process: what answers the JSON of a guide with that of its proof."""
    enforced = LIBRARIES[library](*arguments)

    def proof_of(message: bytes) -> tuple[bytes]:
        guide = Guide(*json.loads(message))
        try:
            proof = Proof(enforced(guide))
        except (RuntimeError, ValueError, TypeError) as error:  # a RecursionError is a RuntimeError
            proof = Proof(guide, _first_line(error))
        except MemoryError:  # the bound of this process
            raise
        except Exception as error:  # the boundary of one guide: the library is code of others
            logger.exception("the library of guides failed on one")
            proof = Proof(guide, f"the library fails on it ({type(error).__name__})")
        return (json.dumps(proof).encode(),)

    return proof_of


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:_MAX_ERROR_LENGTH]
