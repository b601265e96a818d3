"""Proves guides by the library that is to enforce them. One that was proved is not read again."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import InvalidRequest
from triton_repo.contract.sampling import GUIDE_FIELDS
from triton_repo.engine.guides.reader import GuideReader

# A server's schemas are few. Each is remembered with its text, all of them in 32 MiB at most.
MAX_PROVED: Final = 128


class GuideProver:
    """One thread calls it."""

    def __init__(self, reader: GuideReader, max_proved: int = MAX_PROVED) -> None:
        self._reader = reader
        # What raises is not remembered: a guide that took too long may have been read on a busy machine.
        self._read_once = lru_cache(max_proved)(self._read)

    def prove(self, kind: str, guide: str) -> None:
        """
        Raises:
            InvalidRequest: the library cannot read the guide.
            EngineFailed: the library itself is not there.
        """
        self._read_once(kind, guide)

    def close(self) -> None:
        self._reader.close()

    def _read(self, kind: str, guide: str) -> None:
        complaint = self._reader.complaint(kind, guide)
        if complaint is not None:
            param = GUIDE_FIELDS[1]
            raise InvalidRequest(f"{param}: {self._reader.backend} cannot read this {kind}: {complaint}", param)


def guide_prover(config: EngineConfig) -> GuideProver:
    """The prover of an engine's guides; `check_guide` lets none come to it where the engine has no backend for them."""
    backend = config.tensorrt_llm and config.tensorrt_llm.guided_decoding_backend
    return GuideProver(GuideReader(str(backend)))
