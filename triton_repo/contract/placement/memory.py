"""What an engine takes of the memory that it runs in: part of `engine.json` and `encoder.json`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_Bytes = Annotated[int, Field(ge=0)]


class MemoryNeed(BaseModel):
    """Of each GPU that one instance's ranks use, or of the machine's memory where it runs on the CPU.

    Attributes:
        weight_bytes: of the largest rank.
        working_bytes: activations, and what the process itself takes.
        kv_cache_bytes: as the spec says; None where it does not.
        kv_cache_share: of the memory that the weights leave free, as the spec says; None where it does not.
        least_kv_cache_bytes: for one sequence of full length.
        takes_what_is_free: an engine whose spec says nothing takes nearly all of the memory that it finds free.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    weight_bytes: _Bytes = 0
    working_bytes: _Bytes = 0
    kv_cache_bytes: _Bytes | None = None
    kv_cache_share: Annotated[float, Field(gt=0, le=1)] | None = None
    least_kv_cache_bytes: _Bytes = 0
    takes_what_is_free: bool = False

    @property
    def fixed_bytes(self) -> int:
        return self.weight_bytes + self.working_bytes
