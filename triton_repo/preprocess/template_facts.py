"""What the build finds out about a chat template, by rendering it in a bounded process."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import TypeAdapter, ValidationError

from triton_repo.bounded_process import Answer, BoundedProcess, ProcessEnded
from triton_repo.contract.errors import RequestError
from triton_repo.contract.model_card import REASONING_EFFORT, REASONING_SWITCHES
from triton_repo.preprocess.chat_template import ChatTemplate
from triton_repo.preprocess.template_processes import BOUNDS

Thinking = Literal["default", "on", "off"]

_TAIL_CHARACTERS: Final = 400
_MAX_CHARACTERS: Final = 1 << 20
_ASKED: Final = [{"role": "user", "content": "a"}]


@dataclass(frozen=True, slots=True)
class TemplateFacts:
    """
    Attributes:
        reads_tools: it tells the model of the tools; where it does not, Conch tells them in words.
        switch: its argument that turns reasoning on and off, if it has one.
        reads_effort: it reads the argument `reasoning_effort`.
        tails: how a prompt ends, right before the answer, by what the switch says.
    """

    reads_tools: bool = False
    switch: str | None = None
    reads_effort: bool = False
    tails: Mapping[Thinking, str] = field(default_factory=dict)


_ADAPTER: Final = TypeAdapter(TemplateFacts)


def template_facts(tokenizer_directory: Path) -> TemplateFacts:
    """The facts of the template in a tokenizer's directory; the defaults of one that fails."""
    process = BoundedProcess(prober, BOUNDS, str(tokenizer_directory))
    try:
        process.ask(b"")
        return _ADAPTER.validate_json(process.answer())
    except (ProcessEnded, ValidationError):
        return TemplateFacts()
    finally:
        process.end()


def prober(tokenizer_directory: str) -> Answer:
    """For the process: what answers with the facts as JSON. Raises: ValueError: there is no template, or it is none."""
    template = ChatTemplate.load(Path(tokenizer_directory))
    if template is None:
        raise ValueError(f"{tokenizer_directory}: no chat template")

    def probe(_: bytes) -> Iterator[bytes]:
        yield json.dumps(asdict(_facts(template))).encode()

    return probe


def _facts(template: ChatTemplate) -> TemplateFacts:
    switch = next((name for name in REASONING_SWITCHES if _reads(template, name)), None)
    arguments: dict[Thinking, dict[str, bool]] = {"default": {}}
    if switch is not None:
        arguments |= {"on": {switch: True}, "off": {switch: False}}
    tails = {thinking: _tail(template, given) for thinking, given in arguments.items()}
    return TemplateFacts(template.reads_tools, switch, _reads(template, REASONING_EFFORT), tails)


def _reads(template: ChatTemplate, argument: str) -> bool:
    return re.search(rf"\b{argument}\b", template.source) is not None


def _tail(template: ChatTemplate, arguments: Mapping[str, Any]) -> str:
    try:
        prompt = template.render({"messages": _ASKED, "template_arguments": arguments}, _MAX_CHARACTERS)
    except RequestError:
        return ""
    return prompt[-_TAIL_CHARACTERS:]
