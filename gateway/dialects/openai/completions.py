"""POST /v1/completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.answers.backend import Prompt
from gateway.dialects.openai.logprobs import Token, completion_logprobs
from gateway.dialects.openai.requests import MAX_GENERATIONS, CompletionRequest
from gateway.dialects.openai.shape import FinalReason, Head, Json, Usage
from triton_repo.contract.errors import InvalidRequest
from triton_repo.contract.tensors import ModelCard


class CompletionShape:
    body: Final = CompletionRequest
    id_prefix: Final = "cmpl-"

    def prompts(self, body: CompletionRequest, _: ModelCard) -> list[Prompt]:
        if len(body.prompts) * (body.n or 1) > MAX_GENERATIONS:
            raise InvalidRequest(
                f"n = {body.n} for {len(body.prompts)} prompts: at most {MAX_GENERATIONS} answers per request", "n"
            )
        return [*body.prompts]

    def opening(self, _: int) -> None:
        return None

    def addition(self, index: int, text: str, tokens: Sequence[Token] | None = None) -> Json:
        return _choice(index, text, None, tokens)

    def ending(self, index: int, reason: FinalReason) -> Json:
        return _choice(index, "", reason)

    def chunk(self, head: Head, choices: Sequence[Json]) -> Json:
        return {
            "id": head.id,
            "object": "text_completion",
            "created": head.created,
            "choices": choices,
            "model": head.model,
            "system_fingerprint": head.fingerprint,
        }

    def choice(self, index: int, text: str, reason: FinalReason, tokens: Sequence[Token] | None = None) -> Json:
        return _choice(index, text, reason, tokens)

    def whole(self, head: Head, choices: Sequence[Json], usage: Usage) -> Json:
        return {
            "id": head.id,
            "object": "text_completion",
            "created": head.created,
            "model": head.model,
            "system_fingerprint": head.fingerprint,
            "choices": choices,
            "usage": usage.to_json(),
        }


def _choice(index: int, text: str, reason: FinalReason | None, tokens: Sequence[Token] | None = None) -> Json:
    return {"text": text, "index": index, "logprobs": completion_logprobs(tokens), "finish_reason": reason}
