"""The proof of a tokenizer and its chat template, by the code that serves, in a child process with bounds.

A template is code from outside: its own processes bound its time and memory, the sandbox its reach.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from build_scripts.vocabulary.files import CONFIG
from build_scripts.work.bounds import bound
from triton_repo.contract.errors import RequestError
from triton_repo.tokenizer_config import token_text

PROOF_S: Final = 300.0  # for a slow disk, and a busy machine: what a template may take is CPU time
_TOKENS: Final = 100_000
MEMORY_BYTES: Final = 4 << 30  # of address space, beyond what the libraries have mapped
_SHORT_CHAT_S: Final = 2.0  # of CPU time, where milliseconds are usual: a longer chat would take too long
_CPU_S: Final = 20  # of each process; a chat template has a bound of its own
_ANSWER: Final = "Hello. How can I help?"
_TURN: Final[Sequence[Mapping[str, Any]]] = (
    {"role": "user", "content": "Hello!"},
    {"role": "assistant", "content": _ANSWER},
)
# Every template takes turns of a user and an assistant; a system prompt and tools are beyond some.
_PROBE: Final = (*_TURN, {"role": "user", "content": "Who are you?"})


def prove(tokenizer_directory: str, found: str) -> None:
    """Encode a short conversation, and write what was found out into the file `found`. For a child process.

    Raises:
        ValueError: a chat template is not valid Jinja.
        RequestError: the template renders no such conversation, whatever the variables.
    """
    from triton_repo.preprocess.chat_template import ChatTemplate
    from triton_repo.preprocess.prompt import Prompt, PromptEncoder
    from triton_repo.preprocess.template_processes import BOUNDS

    bound(_CPU_S, MEMORY_BYTES)
    directory, notes = Path(tokenizer_directory), list[str]()
    ChatTemplate.load(directory)
    encoder = PromptEncoder.load(directory, _TOKENS, replace(BOUNDS, limit_s=_SHORT_CHAT_S))
    try:
        if encoder.renderer is None:
            encoder.encode(Prompt(text=b"Hello!"))
        elif (note := _prove_template(encoder)) is not None:
            notes.append(note)
        ends = _end_tokens(encoder, json.loads((directory / CONFIG).read_bytes()))
    finally:
        encoder.close()
    Path(found).write_text(json.dumps({"notes": notes, "end_token_ids": ends}), encoding="utf-8")


def _prove_template(encoder: Any) -> str | None:
    """A note for people, if the template renders a conversation only with variables that requests must give."""
    from triton_repo.contract.errors import InvalidRequest
    from triton_repo.preprocess.chat_template import ARGUMENTS
    from triton_repo.preprocess.prompt import Prompt

    try:
        encoder.encode(Prompt(chat=_chat(_PROBE)))
    except InvalidRequest as error:
        if error.param != ARGUMENTS:
            raise
        return f"requests must give {error.message}"
    return None


def _chat(messages: Sequence[Mapping[str, Any]]) -> bytes:
    return json.dumps({"messages": messages}).encode()


def _end_tokens(encoder: Any, config: Mapping[str, Any]) -> list[int]:
    """Ids of the tokenizer's own EOS, and of the token that the template writes after an answer."""
    texts = [token_text(config.get("eos_token"))]
    if encoder.renderer is not None:
        texts.append(_end_of_turn(encoder))
    ids = [encoder.tokenizer.token_to_id(text) for text in texts if text is not None]
    return [number for number in dict.fromkeys(ids) if number is not None]


def _end_of_turn(encoder: Any) -> str | None:
    """The token that follows an answer which stands where the model writes its own; None if there is none.

    Where the template puts something else in front of an earlier answer than the model is given (the channels of
    gpt-oss), what follows it may not be what ends the whole.
    """
    rendered = encoder.render([_chat(_PROBE[:1]), _chat(_PROBE)])
    if any(isinstance(each, RequestError) for each in rendered):
        return None
    asked, whole = (each.plain for each in rendered)
    if not whole.startswith(asked + _ANSWER):
        return None
    rest = whole.removeprefix(asked + _ANSWER).lstrip()
    tokens = [token.content for token in encoder.tokenizer.get_added_tokens_decoder().values()]
    return max((token for token in tokens if rest.startswith(token)), key=len, default=None)
