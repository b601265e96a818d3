"""What the preprocessing of an engine makes of a prompt, without the engine: token ids, and what is written in them."""

from __future__ import annotations

import logging
from typing import Any, Final

import grpc

from gateway.answers.backend import Prompt, PromptIds, TokenTexts
from gateway.triton.errors import call_error
from gateway.triton.responses import MalformedResponse, read_tokens
from gateway.triton.wire import tokenize_request
from triton_repo.contract.errors import EngineFailed

logger = logging.getLogger(__name__)

_TIMEOUT_S: Final = 30.0  # the bound on a chat template is a third of it
_NOTHING: Final = TokenTexts((), "", ())


class Tokenizer:
    """Those of all engines."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub

    async def tokens(self, model: str, prompt: Prompt, *, texts: bool) -> TokenTexts:
        """The ids of a prompt, and their texts if they are wanted.

        Raises:
            RequestError
        """
        if isinstance(prompt, PromptIds) and not prompt.packed:  # no tensor is empty
            return _NOTHING
        try:
            response = await self._stub.ModelInfer(tokenize_request(model, prompt, texts=texts), timeout=_TIMEOUT_S)
            return read_tokens(response)
        except grpc.aio.AioRpcError as error:
            raise call_error(error, model) from None
        except MalformedResponse as error:
            logger.error("malformed response of %s to a prompt: %s", model, error)
            raise EngineFailed("the engine failed") from None
