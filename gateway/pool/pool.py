"""Several Triton servers as one backend: each request goes to the server with the least to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final, TypeVar

from gateway.admission.estimate import Estimate
from gateway.admission.estimate import Prompt as PromptSize
from gateway.answers.backend import Delta, Encoded, EngineLost, Generation, Prompt, PromptIds, Texts, TokenTexts
from gateway.pool.addresses import Addresses
from gateway.pool.member import Member
from gateway.pool.other_models import PooledModels
from gateway.triton.backend import TritonBackend
from gateway.triton.errors import model_not_found
from triton_repo.contract.errors import EngineUnavailable, RequestError
from triton_repo.contract.model_card import ModelCard

_FOLLOW_S: Final = 1.0
_POLL_S: Final = 0.1

T = TypeVar("T")


class TritonPool:
    """A `Backend` over servers that come and go. Created inside the event loop that uses it.

    A server that cannot be reached gets no requests until it answers again; one that is no longer listed gets none and
    is left once what it has is done. Requests that a lost server had not begun are lost as `EngineLost`: whoever asks
    again gets another server.
    """

    def __init__(self, addresses: Addresses, connect: Callable[[str], TritonBackend]) -> None:
        self._addresses = addresses
        self._connect = connect
        self._members: dict[str, Member] = {}
        self._cards: Mapping[str, ModelCard] | None = None  # of all together; None: a member has changed since
        self._asked: dict[str, Member] = {}  # by request id
        self.others = PooledModels(self._reachable)
        self._known = asyncio.create_task(self._begin())
        self._watching = asyncio.create_task(self._watch())

    @property
    def addresses(self) -> frozenset[str]:
        """Of the servers, those included that are no longer listed and have not ended what they have."""
        return frozenset(self._members)

    async def models(self) -> Mapping[str, ModelCard]:
        await asyncio.shield(self._known)
        return self.known()

    def known(self) -> Mapping[str, ModelCard]:
        if self._cards is None:
            staying = [member.cards for member in self._members.values() if not member.leaves]
            names = sorted({name for cards in staying for name in cards})
            self._cards = {name: together([cards[name] for cards in staying if name in cards]) for name in names}
        return self._cards

    async def card(self, model: str) -> ModelCard:
        cards = await self.models()
        if model in cards:
            return cards[model]
        if not self._members or any(member.may_have(model) for member in self._members.values()):
            raise EngineUnavailable("no server that may have this model is ready")
        raise model_not_found(model)

    async def ready(self) -> None:
        await asyncio.shield(self._known)
        if not any(member.can_serve(name) for member in self._members.values() for name in member.cards):
            raise EngineUnavailable("no server has a model that is ready")

    def check_progress(self, model: str) -> None:
        if self._able(model):
            return
        for member in self._members.values():
            if model in member.cards:
                member.backend.check_progress(model)
        raise EngineLost("no server has the model ready")

    async def is_back(self, model: str) -> None:
        while not self._able(model):
            await asyncio.sleep(_POLL_S)

    async def generate(
        self, generation: Generation, ended: Callable[[], None] = lambda: None, /
    ) -> AsyncGenerator[Delta, None]:
        member = self._least_loaded(generation.model)
        release = member.take(_work(generation, member.cards[generation.model]))
        self._asked[generation.request_id] = member  # until it has ended or is cancelled

        def through() -> None:
            release()
            ended()

        try:
            async with aclosing(member.backend.generate(generation, through)) as deltas:
                async for delta in deltas:
                    if delta.finish_reason:
                        self._asked.pop(generation.request_id, None)
                    yield delta
        except RequestError as error:
            self._asked.pop(generation.request_id, None)
            if isinstance(error, EngineLost):
                member.lose(generation.model)
            raise
        finally:
            release()

    def cancel(self, generation: Generation, error: RequestError | None = None) -> None:
        if member := self._asked.pop(generation.request_id, None):
            member.backend.cancel(generation, error)

    async def tokenize(self, model: str, prompt: Prompt) -> Sequence[int]:
        return await self._anywhere(model, lambda backend: backend.tokenize(model, prompt), prompt.num_bytes)

    async def token_texts(self, model: str, prompt: Prompt) -> TokenTexts:
        return await self._anywhere(model, lambda backend: backend.token_texts(model, prompt), prompt.num_bytes)

    async def encode(self, texts: Texts) -> Encoded:
        num_bytes = sum(map(len, (*texts.firsts, *texts.seconds)))
        return await self._anywhere(texts.model, lambda backend: backend.encode(texts), num_bytes)

    async def close(self) -> None:
        self._watching.cancel()
        self._known.cancel()
        await asyncio.gather(*(member.close() for member in self._members.values()))

    def _reachable(self) -> list[Member]:
        return [member for member in self._members.values() if not (member.leaves or member.is_down)]

    def _able(self, model: str) -> list[Member]:
        return [member for member in self._members.values() if member.can_serve(model)]

    def _least_loaded(self, model: str) -> Member:
        self.check_progress(model)
        member = min(self._able(model), key=lambda member: member.load(model))
        self._members[member.address] = self._members.pop(member.address)  # of equals, the one that waited longest
        return member

    async def _anywhere(self, model: str, ask: Callable[[TritonBackend], Awaitable[T]], work: int) -> T:
        """What one server answers; asking again harms nothing, so a server that is lost meanwhile is no error."""
        while True:
            member = self._least_loaded(model)
            release = member.take(work)
            try:
                return await ask(member.backend)
            except EngineLost:
                member.lose(model)
                if not self._able(model):
                    raise
            finally:
                release()

    def _changed(self) -> None:
        self._cards = None

    async def _begin(self) -> None:
        await self._follow()
        await asyncio.gather(*(member.known() for member in self._members.values()))

    async def _watch(self) -> None:
        await asyncio.shield(self._known)
        while True:
            await asyncio.sleep(_FOLLOW_S)
            await self._follow()

    async def _follow(self) -> None:
        """Take in the servers that are new, and let go of those that are no longer listed and have no requests."""
        listed = await self._addresses.current()
        for address in listed - self._members.keys():
            self._members[address] = Member(address, self._connect(address), self._changed)
        for address, member in list(self._members.items()):
            member.leaves = address not in listed
            self._changed()
            if member.leaves and not member.num_open:
                del self._members[address]
                await member.close()


def together(cards: Sequence[ModelCard]) -> ModelCard:
    """What servers with these engines of one name can do as one: all of them at once, and for one request the least."""
    first = cards[0]
    return replace(
        first,
        max_seq_len=min(card.max_seq_len for card in cards),
        guides=tuple(guide for guide in first.guides if all(guide in card.guides for card in cards)),
        unsupported=tuple(sorted({field for card in cards for field in card.unsupported})),
        max_logprobs=min(card.max_logprobs for card in cards),
        max_prompt_logprobs=_least([card.max_prompt_logprobs for card in cards]),
        logit_bias=all(card.logit_bias for card in cards),
        max_batch_size=_sum([card.max_batch_size for card in cards]),
        kv_cache_tokens=_sum([card.kv_cache_tokens for card in cards]),
    )


def _sum(numbers: Sequence[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


def _least(numbers: Sequence[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return min(known) if len(known) == len(numbers) else None


def _work(generation: Generation, card: ModelCard) -> int:
    prompt = generation.prompt
    num_tokens = prompt.num_ids if isinstance(prompt, PromptIds) else None
    size = PromptSize(prompt.num_bytes, num_tokens)
    return Estimate(card.max_seq_len).work(size, generation.sampling.max_tokens).cost
