"""Engine configurations and a scripted runtime for tests of the engine model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import RequestError
from triton_repo.contract.model_card import ModelCard
from triton_repo.engine.loop.stream import Emission
from triton_repo.engine.runtimes.runtime import Generation, Load, TokenDelta


def engine_config(*, unsupported: tuple[str, ...] = (), **fields: Any) -> EngineConfig:
    defaults: dict[str, Any] = {
        "name": "demo",
        "runtime": "replay",
        "max_seq_len": 64,
        "max_batch_size": 4,
        "max_num_tokens": 32,
        "vocab_size": 100,
        "eos_token_ids": (2,),
        "dtype": "float32",
        "kv_cache_dtype": "float32",
        "max_tokens_in_paged_kv_cache": 256,
        "card": ModelCard(64, "replay", 0, True, "tests", unsupported),
    }
    return EngineConfig(**(defaults | fields))


class ScriptedRuntime:
    """Does what a test says: `steps` are handed out one by one, an exception among them is raised."""

    def __init__(self) -> None:
        self.steps: list[Sequence[TokenDelta] | Exception] = []
        self.submitted: list[Generation] = []
        self.cancelled: list[int] = []

    def submit(self, generation: Generation) -> None:
        self.submitted.append(generation)

    def cancel(self, key: int) -> None:
        self.cancelled.append(key)

    def step(self) -> Sequence[TokenDelta]:
        if not self.steps:
            return ()
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def idle_s(self) -> float | None:
        return 0 if self.steps else None

    def load(self) -> Load:
        return Load(len(self.submitted) - len(self.cancelled), 0, 0.0)

    def close(self) -> None: ...


@dataclass
class RecordingSink:
    """Keeps what a client would see; a message to a request's own sink holds one emission."""

    messages: list[Sequence[Emission]] = field(default_factory=list)
    errors: list[RequestError] = field(default_factory=list)
    gone: bool = False
    ends: int = 0

    def send(self, emissions: Sequence[Emission], *, final: bool) -> None:
        assert not self.ends, "nothing follows the end"
        self.messages.append(emissions)
        self.ends += final

    def end(self) -> None:
        assert not self.ends, "nothing follows the end"
        self.ends += 1

    def fail(self, error: RequestError) -> None:
        assert not self.ends, "nothing follows the end"
        self.errors.append(error)
        self.ends += 1

    def abandoned(self) -> bool:
        return self.gone

    @property
    def emissions(self) -> list[Emission]:
        return [emission for message in self.messages for emission in message]

    def ids_of(self, request_id: str) -> list[int]:
        mine = [emission for emission in self.emissions if emission.request_id == request_id]
        return [id for emission in mine for id in emission.output_ids[emission.window_length :]]

    @property
    def ids(self) -> list[int]:
        return [id for emission in self.emissions for id in emission.output_ids[emission.window_length :]]
