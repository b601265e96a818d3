"""Where the instances of an engine run, and what Triton lets run beside them: part of `engine.json`, `encoder.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

_Index = Annotated[int, Field(ge=0)]
Indices = tuple[_Index, ...]
MAX_PRIORITY: Final = 100


class RateLimiter(BaseModel):
    """Triton's rate limiter: an execution starts only while `resources`, units by name, are free.

    `priority`: of models that wait for the same, one with priority 2 gets half the turns of one with 1.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    resources: Mapping[str, Annotated[int, Field(ge=1)]]
    priority: Annotated[int, Field(ge=1, le=MAX_PRIORITY)] = 1


class Placement(BaseModel):
    """
    Attributes:
        instances: how many run side by side.
        gpus: of each instance, those that its ranks use, by their index among those that the server sees; empty is
            the first ones.
        cpus: of each instance, those that its threads run on; empty is every one.
        priority_levels: of requests that wait in Triton, 1 is served first; 0 makes no difference.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    instances: Annotated[int, Field(ge=1)] = 1
    gpus: tuple[Indices, ...] = ()
    cpus: tuple[Indices, ...] = ()
    rate_limiter: RateLimiter | None = None
    priority_levels: Annotated[int, Field(ge=0)] = 0
    default_priority_level: Annotated[int, Field(ge=0)] = 0

    @property
    def waits_for_answers(self) -> bool:
        """Whether a call of the model lasts until its requests are answered: Triton limits and queues calls alone."""
        return self.rate_limiter is not None or self.priority_levels > 0

    def gpus_of(self, instance: int) -> Indices:
        """Empty: the first ones."""
        return self.gpus[instance] if self.gpus else ()

    def cpus_of(self, instance: int) -> Indices:
        """Empty: every one."""
        return self.cpus[instance] if self.cpus else ()
