"""One request for a response: the call that it makes to an engine, what it goes on from, and how its answer is kept."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from secrets import token_hex
from typing import Any, Final

import orjson

from gateway.answers.backend import Chat
from gateway.answers.request import AnswerRequest
from gateway.dialects.dialect import Call, Head, Tokenize
from gateway.dialects.openai.requests.tools import offered_tools, template_tool
from gateway.dialects.responses.echo import echo
from gateway.dialects.responses.encoder import ResponsesEncoder, new_response
from gateway.dialects.responses.input import ItemReference, as_kept, resolved
from gateway.dialects.responses.items import Json
from gateway.dialects.responses.prompt import messages
from gateway.dialects.responses.request import ResponsesRequest
from gateway.dialects.responses.truncation import Shortenings, longest
from gateway.store.errors import DuplicateItem
from gateway.store.response_rows import ENDED, Kept, Read
from gateway.store.responses import ResponseStore
from triton_repo.contract.errors import ContextLengthExceeded, InvalidRequest, RequestError
from triton_repo.contract.model_card import ModelCard

_ROOM: Final = 8  # which part of the context is left to an answer without a limit of its own, once items are dropped
_UNTIL_RECALLED: Final = Chat(b"")  # the prompt of a request that refers to what is kept


class PreviousResponseNotFound(InvalidRequest):
    code = "previous_response_not_found"


class ConversationNotFound(InvalidRequest):
    status = 404
    code = "conversation_not_found"

    def __init__(self, id: str) -> None:
        super().__init__(f"conversation {id[:80]!r} does not exist, or is not kept any more", "conversation")


class ResponseSession:
    """`recall` comes before everything that keeps an answer."""

    def __init__(self, body: ResponsesRequest, ignored: str = "") -> None:
        self._body = body
        self._ignored = ignored
        self._echo = echo(body)
        self._listed, self._tools = offered_tools(body.tools, body.tool_choice, body.parallel_tool_calls)
        self._given = as_kept(body.input or (), token_hex(12))
        self._input: list[Mapping[str, Any]] = [item for item in self._given if not isinstance(item, ItemReference)]
        self._items: Sequence[Mapping[str, Any]] = self._input  # with those that it goes on from
        self._created: int | None = None
        self._encoder: ResponsesEncoder | None = None
        self._responses: ResponseStore | None = None
        self._owner = ""
        self._read: Read | None = None

    @property
    def is_background(self) -> bool:
        return bool(self._body.background)

    def call(self) -> Call:
        """With no prompt yet if it refers to what is kept."""
        return self._call(_UNTIL_RECALLED if self._refers else self._prompt(self._input))

    async def recall(self, responses: ResponseStore, owner: str, max_bytes: int) -> Call:
        self._responses, self._owner = responses, owner
        if not self._refers:
            return self.call()
        try:
            earlier = await self._earlier(responses, max_bytes)
            self._input = await resolved(self._given, responses, owner, max_bytes, "input")
        except OverflowError:
            raise InvalidRequest(f"the conversation is larger than {max_bytes} bytes", "input") from None
        self._check(earlier)
        self._items = [*earlier, *self._input]
        return self._call(self._prompt(self._items))

    async def fitted(self, call: Call, card: ModelCard, tokenize: Tokenize) -> Call:
        if self._body.truncation != "auto":
            return call
        limit = call.request.sampling.max_tokens

        async def fits(prompt: Chat, room: int) -> bool:
            asked = replace(call.request, prompts=[prompt], truncate_prompt_tokens=None)
            [generation] = asked.generations("", card, prompt.num_bytes)
            try:
                return len(await tokenize(asked.model, generation.prompt)) + room <= card.max_seq_len
            except ContextLengthExceeded:
                return False

        [whole] = call.request.prompts
        if not isinstance(whole, Chat) or await fits(whole, limit or 1):
            return call
        room = limit or max(1, card.max_seq_len // _ROOM)
        items = await longest(Shortenings(self._items), lambda items: fits(self._prompt(items), room))
        return call if items is None else replace(call, request=replace(call.request, prompts=[self._prompt(items)]))

    async def keep(self) -> None:
        if self._responses is None or self._encoder is None:
            return
        if self.is_background:
            await self._responses.finish(self._encoder.response)
        elif self._body.is_stored or self._read is not None:
            kept = Kept(self._owner, self._encoder.response, self._input, read=self._read)
            await (self._responses.add(kept) if self._body.is_stored else self._responses.add_to_conversation(kept))

    async def begin(self, id: str) -> bytes:
        self._created = int(time.time())
        response = new_response(self._head(id), self._echo, "queued")
        if self._responses is not None:
            await self._responses.add(Kept(self._owner, response, self._input, bool(self._body.stream), self._read))
        return orjson.dumps(response)

    async def fail(self, id: str, error: RequestError) -> bytes:
        encoder = self._encoder
        if encoder is None or not encoder.has_started:
            encoder = self._new_encoder(self._head(id))
            events = encoder.start() + encoder.fail(error)
        else:
            events = encoder.fail(error)
        await self.keep()
        return events

    @property
    def _refers(self) -> bool:
        has_references = any(isinstance(item, ItemReference) for item in self._given)
        return has_references or bool(self._body.previous_response_id or self._body.conversation)

    def _head(self, id: str) -> Head:
        return Head(id, self._created or int(time.time()), self._body.model, "")

    def _new_encoder(self, head: Head) -> ResponsesEncoder:
        head = head._replace(created=self._created or head.created)  # as `begin` has told
        self._encoder = ResponsesEncoder(head, self._echo, self.is_background)
        return self._encoder

    def _call(self, prompt: Chat) -> Call:
        body = self._body
        request = AnswerRequest(
            body.model,
            [prompt],
            body.sampling(),
            stops=body.stops,
            stream=bool(body.stream),
            batch=body.service_tier == "flex",
            tools=self._tools,
            effort=body.effort,
        )
        return Call(request, self._new_encoder, self._ignored, body.sent_as, self)

    def _prompt(self, items: Sequence[Mapping[str, Any]]) -> Chat:
        chat = {
            "messages": messages(self._body.instructions, items),
            "tools": [template_tool(tool) for tool in self._listed] or None,
            "template_arguments": self._body.chat_template_kwargs or {},
        }
        return Chat(orjson.dumps(chat))

    async def _earlier(self, responses: ResponseStore, max_bytes: int) -> Sequence[Json]:
        """The items of the conversation that this request goes on with."""
        if self._body.conversation is not None:
            return await self._of_conversation(responses, self._body.conversation, max_bytes)
        id = self._body.previous_response_id
        if id is None:
            return ()
        previous = await responses.get(self._owner, id)
        items = None if previous is None else await responses.conversation(self._owner, id, max_bytes)
        if previous is None or items is None:
            what = "is not kept" if previous is None else "goes on from one that is not kept any more"
            raise PreviousResponseNotFound(f"previous response {id[:80]!r} {what}", "previous_response_id")
        if previous["status"] not in ENDED:
            rule = f"is {previous['status']}; only a completed or incomplete response can be gone on from"
            raise InvalidRequest(f"previous response {id[:80]!r} {rule}", "previous_response_id")
        return items

    async def _of_conversation(self, responses: ResponseStore, id: str, max_bytes: int) -> Sequence[Json]:
        found = await responses.conversations.read(self._owner, id, max_bytes)
        if found is None:
            raise ConversationNotFound(id)
        self._read = Read(id, found.end)
        return found.items

    def _check(self, earlier: Sequence[Json]) -> None:
        """
        Raises:
            InvalidRequest: there is nothing to answer, or an item of the conversation is in the input, too.
        """
        if not earlier and not self._input:
            raise InvalidRequest("input: the conversation is empty, and so is the input", "input")
        if self._read is not None:
            known = {item["id"] for item in earlier}
            if twice := next((item["id"] for item in self._input if item["id"] in known), None):
                raise DuplicateItem(twice, "input")
