"""Results that cumulate what the executor sends them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from tensorrt_llm._stand_in.behaviour import Behaviour


@dataclass(slots=True)
class Logprob:
    logprob: float
    rank: int | None = None


def made_up_logprobs(token_id: int, num: int, behaviour: Behaviour) -> dict[int, Logprob]:
    own_rank = token_id % 3
    own = Logprob(-0.5 * (own_rank + 1), own_rank + 1 if behaviour.names_alternatives else 1)
    if not behaviour.names_alternatives:
        return {token_id: own}
    others = [3 + (token_id + offset) % 200 for offset in range(num + 2)]
    ranking = [other for other in others if other != token_id]
    ranking.insert(own_rank, token_id)
    named = {id: Logprob(-0.5 * (rank + 1), rank + 1) for rank, id in enumerate(ranking[:num])}
    return {token_id: own, **named} if behaviour.sampled_comes_first else {**named, token_id: own}


@dataclass(slots=True)
class CompletionOutput:
    index: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    finish_reason: Literal["stop", "length", "timeout", "cancelled"] | None = None
    stop_reason: int | str | None = None
    logprobs: list[dict[int, Logprob]] = field(default_factory=list)
    prompt_logprobs: list[dict[int, Logprob]] = field(default_factory=list)
    _last_token_ids_len: int = field(default=0, init=False, repr=False)
    _last_logprobs_len: int = field(default=0, init=False, repr=False)

    @property
    def token_ids_diff(self) -> list[int]:
        return self.token_ids[self._last_token_ids_len :]

    @property
    def logprobs_diff(self) -> list[dict[int, Logprob]]:
        return self.logprobs[self._last_logprobs_len :]


@dataclass(frozen=True, slots=True)
class Response:
    token_ids: tuple[int, ...] = ()
    finish: Literal["", "END_ID", "STOP_WORDS", "LENGTH", "CANCELLED"] = ""
    error: Exception | None = None
    cached_tokens: int = 0


_REASONS: dict[str, Any] = {"LENGTH": "length", "CANCELLED": "cancelled", "END_ID": "stop", "STOP_WORDS": "stop"}


class RequestOutput:
    def __init__(self, prompt: list[int], params: Any, behaviour: Behaviour, abort: Callable[[Any], None]) -> None:
        self._abort = abort
        self._behaviour = behaviour
        self.prompt_token_ids = prompt
        self.sampling_params = params
        self.outputs = [CompletionOutput(0)]
        self.finished = False
        self.cached_tokens = 0
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        self._queue: asyncio.Queue[Response] = asyncio.Queue()

    def abort(self) -> None:
        self._abort(self)

    def put(self, response: Response) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._queue.put_nowait, response)

    def __aiter__(self) -> RequestOutput:
        return self

    async def __anext__(self) -> RequestOutput:
        if self.finished:
            raise StopAsyncIteration
        assert self._loop is not None, "The asyncio event loop was not present during initialization"
        response = await self._queue.get()
        if response.error is not None:
            self.finished = True
            raise response.error
        self._take(response)
        return self

    def _take(self, response: Response) -> None:
        output = self.outputs[0]
        output._last_token_ids_len = len(output.token_ids)
        output.token_ids.extend(response.token_ids)
        self.cached_tokens = response.cached_tokens
        if self._wants_logprobs and response.token_ids:
            num = self.sampling_params.logprobs
            output._last_logprobs_len = len(output.logprobs)
            output.logprobs += [made_up_logprobs(id, num, self._behaviour) for id in response.token_ids]
        num_of_prompt = self.sampling_params.prompt_logprobs
        if self._behaviour.scores_prompts and num_of_prompt is not None and not output.prompt_logprobs:
            computed = [*self.prompt_token_ids[1:], *output.token_ids[:1]][response.cached_tokens :]
            output.prompt_logprobs = [made_up_logprobs(id, num_of_prompt, self._behaviour) for id in computed]
        self.finished = bool(response.finish)
        output.finish_reason = _REASONS.get(response.finish)
        if response.finish == "STOP_WORDS":
            output.stop_reason = output.token_ids[-1]
            if not self.sampling_params.include_stop_str_in_output:
                output.token_ids = output.token_ids[:-1]

    @property
    def _wants_logprobs(self) -> bool:
        asked, behaviour = self.sampling_params.logprobs, self._behaviour
        return behaviour.has_logprobs and asked is not None and (bool(asked) or behaviour.zero_is_the_sampled)
