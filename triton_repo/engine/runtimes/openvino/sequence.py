"""One sequence of a batch: its generation, where it is, and what it has generated so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from triton_repo.engine.runtimes.runtime import Generation


class State(Enum):
    """Where a sequence is. One that has ended, or whose cancellation is complete, is not in the batch."""

    JOINED = auto()  # in the pipeline, which has made no step since
    RUNNING = auto()  # in the pipeline
    LEAVING = auto()  # cancelled, and still in the pipeline
    SUSPECT = auto()  # outside of the pipeline: a step failed, perhaps because of it


@dataclass(slots=True)
class Sequence:
    """A generation, its seed, the most blocks of the cache that it may need, and what it has generated so far."""

    generation: Generation
    seed: int
    num_blocks: int
    state: State = State.JOINED
    handle: Any = None
    prompt_read: bool = False  # by the present pipeline
    generated: list[int] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)  # what the present pipeline is to generate once more

    @property
    def key(self) -> int:
        return self.generation.key

    @property
    def is_guided(self) -> bool:
        return self.generation.sampling.guide is not None

    @property
    def carried_over(self) -> list[int]:
        """What it has generated in other pipelines that goes before what this one generates."""
        return [] if self.is_guided else self.generated

    def unrepeated(self, token_ids: list[int]) -> list[int] | None:
        """The ids that are new; None where the others are not those of before."""
        count = min(len(token_ids), len(self.repeated))
        expected, self.repeated = self.repeated[:count], self.repeated[count:]
        return token_ids[count:] if token_ids[:count] == expected else None
