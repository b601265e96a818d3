"""The requests that are being answered: bounded in number, and brought to an end when the process has to go."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

from gateway.admission.admission import Admission
from gateway.admission.deadlines import Deadline
from gateway.admission.errors import DeadlineExceeded, ServerOverloaded
from gateway.admission.estimate import Prompt
from gateway.admission.tally import Tally
from gateway.admission.terms import ANYONES, KEY_SHARE, KEY_SHARES, Capacity, Terms
from gateway.answers.answer import Answer
from gateway.answers.backend import Backend, Generation, PromptIds
from gateway.answers.encoding import MAX_ENCODINGS, MAX_TEXTS, Encoding, EncodingRequest
from gateway.answers.inference.models import OpenInference
from triton_repo.contract.errors import EngineUnavailable, RequestTimedOut
from triton_repo.contract.model_card import ModelCard

logger = logging.getLogger(__name__)

Open = Answer | Encoding | OpenInference

_CANCEL_TIMEOUT_S: Final = 1.0  # for a cancelled engine to confirm it, and for its stream to be written


class InFlight:
    """Opens answers and knows which are open.

    Args:
        max_answers: bound on the `tally`, which other processes may share.
        timeout_s: time for a whole answer; 0 is no limit.
    """

    def __init__(
        self, backend: Backend, admission: Admission, max_answers: int, tally: Tally, timeout_s: float = 0
    ) -> None:
        self._backend = backend
        self._admission = admission
        self._max_answers = max_answers
        self._tally = tally
        self._timeout_s = timeout_s or math.inf
        self._answers: dict[Open, Deadline | None] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._grace_ended = asyncio.Event()
        self.draining = False

    def open(
        self, generations: Sequence[Generation], num_prompts: int, card: ModelCard, terms: Terms = ANYONES
    ) -> Answer:
        """An answer that the caller must close.

        Raises:
            EngineUnavailable: the process is going down, or as many answers as allowed are open or wait.
        """
        with self._one_more():
            self._backend.check_progress(generations[0].model)
            tickets = self._admission.enter(generations[0].model, capacity_of(card), terms, [*map(_asked, generations)])
            answer = Answer(self._backend, generations, tickets, num_prompts, self._release)
            self._answers[answer] = self._deadline(answer, terms)
        return answer

    def open_encoding(self, request: EncodingRequest, card: ModelCard, max_bytes: int, terms: Terms) -> Encoding:
        """What an encoder is to make of the texts of a request; the caller must close it.

        Raises:
            EngineUnavailable: as `open`.
            InvalidRequest: the model is of another kind, or the texts are more than one request may send.
        """
        texts = request.texts(card, max_bytes)
        with self._one_more():
            capacity = Capacity(MAX_ENCODINGS, None, MAX_TEXTS * card.max_seq_len)
            asked = Prompt(request.num_bytes, request.num_ids)
            (ticket,) = self._admission.enter(request.model, capacity, terms, [(asked, 0)])
            encoding = Encoding(self._backend, request, texts, ticket, self._release)
            self._answers[encoding] = self._deadline(encoding, terms)
        return encoding

    def open_inference(self, terms: Terms) -> OpenInference:
        """Around a request to a model that is no engine, which waits in Triton for its turn.

        Raises:
            EngineUnavailable: as `open`.
        """
        with self._one_more():
            inference = OpenInference(self._release)
            self._answers[inference] = self._deadline(inference, terms)
        return inference

    async def drain(self, grace_s: float) -> None:
        """Open nothing more; give open answers `grace_s` to end, then end them with an error, then the backend."""
        self.draining = True
        idle = asyncio.create_task(self._idle_within(grace_s))
        grace_ended = asyncio.create_task(self._grace_ended.wait())
        await asyncio.wait({idle, grace_ended}, return_when=asyncio.FIRST_COMPLETED)
        idle.cancel()
        grace_ended.cancel()
        for answer in self._answers:
            answer.stop_engines()
        await self._idle_within(_CANCEL_TIMEOUT_S)
        await self._backend.close()  # the streams of an engine that hangs end with this
        await self._idle_within(_CANCEL_TIMEOUT_S)

    def end_grace(self) -> None:
        """No grace any more, for the drain that is under way or comes."""
        self._grace_ended.set()

    def check_open(self) -> None:
        """Reject what `open` would reject whatever it asks for, before it is parsed. Raises: EngineUnavailable."""
        if self.draining:
            raise EngineUnavailable("the server is shutting down")
        self._check_num(self._tally.total() + 1)

    @contextmanager
    def _one_more(self) -> Iterator[None]:
        """Around the opening of an answer. Raises: EngineUnavailable: no more may be open."""
        if self.draining:
            raise EngineUnavailable("the server is shutting down")
        try:
            self._count_another()
            yield
        finally:
            self._tally.set(len(self._answers))
        self._idle.clear()

    def _count_another(self) -> None:
        self._tally.set(len(self._answers) + 1)
        self._check_num(self._tally.total())  # after it was counted: other processes check at the same time

    def _check_num(self, num_answers: int) -> None:
        if num_answers > self._max_answers:
            raise ServerOverloaded(f"the server is busy with {self._max_answers} requests")

    def _deadline(self, answer: Open, terms: Terms) -> Deadline | None:
        now_s = time.monotonic()
        overdue_s = min(now_s + self._timeout_s, terms.complete_by_s)
        if overdue_s == math.inf:
            return None
        kind = DeadlineExceeded if overdue_s == terms.complete_by_s else RequestTimedOut
        error = kind(f"the answer was not complete within {overdue_s - now_s:g} s")
        return self._admission.deadlines.add(overdue_s, partial(answer.stop_engines, error))

    def _release(self, answer: Open) -> None:
        if deadline := self._answers.pop(answer, None):
            deadline.cancel()
        self._tally.set(len(self._answers))
        if not self._answers:
            self._idle.set()

    async def _idle_within(self, timeout_s: float) -> None:
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            if self._answers:
                logger.warning("%d requests still open after %g s", len(self._answers), timeout_s)


def capacity_of(card: ModelCard) -> Capacity:
    """Of an engine that generates."""
    share = KEY_SHARES.get(card.runtime, KEY_SHARE)
    return Capacity(card.max_batch_size, card.kv_cache_tokens, card.max_seq_len, share)


def _asked(generation: Generation) -> tuple[Prompt, int | None]:
    prompt = generation.prompt
    num_tokens = prompt.num_ids if isinstance(prompt, PromptIds) else None
    return Prompt(prompt.num_bytes, num_tokens), generation.sampling.max_tokens
