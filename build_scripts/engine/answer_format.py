"""How an engine's model writes its calls and its reasoning: as its chat template tells, or as the spec says."""

from __future__ import annotations

from typing import Final, NamedTuple

from build_scripts.engine.manifest import Manifest
from build_scripts.spec.engine_spec import NO_PARSER
from triton_repo.answer_format import detect_answer_format
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.model_card import ReasoningCard
from triton_repo.preprocess.chat_template import TOOL_TEMPLATE
from triton_repo.preprocess.template_facts import TemplateFacts, template_facts

_THINK: Final = "qwen3"  # between <think> and </think>
_IN_WORDS: Final = "hermes"  # in this form `preprocess.generic_tools` tells a model of tools


class CardFormat(NamedTuple):
    """Fields of the model card."""

    tool_parser: str | None = None
    reasoning: ReasoningCard | None = None

    @property
    def shown(self) -> str:
        """For people, where there is something to tell."""
        parsers = {"tool calls": self.tool_parser, "reasoning": self.reasoning.parser if self.reasoning else None}
        return ", ".join(f"{what}: {name}" for what, name in parsers.items() if name)


def card_format(manifest: Manifest, directory: EngineDirectory) -> CardFormat:
    if not manifest.chat:
        return CardFormat()
    facts = manifest.template or template_facts(directory.tokenizer)  # an earlier version built it
    detected = detect_answer_format(_source(directory))
    serve = manifest.spec.serve
    tool_parser = _chosen(serve.tool_parser, detected.tools if facts.reads_tools else _IN_WORDS)
    reasoning_parser = _chosen(serve.reasoning_parser, detected.reasoning or _opened(facts))
    return CardFormat(tool_parser, _reasoning(reasoning_parser, facts))


def _source(directory: EngineDirectory) -> str:
    """Of the template of chats with tools, where there is one of its own: it tells of both."""
    with_tools = directory.tokenizer / TOOL_TEMPLATE
    file = with_tools if with_tools.exists() else directory.chat_template
    return file.read_text(encoding="utf-8")


def _opened(facts: TemplateFacts) -> str | None:
    """The parser of a model whose prompts end with a marker that its template says nothing else of."""
    return _THINK if facts.tails.get("default", "").rstrip().endswith("<think>") else None


def _chosen(said: str | None, detected: str | None) -> str | None:
    if said == NO_PARSER:
        return None
    return detected if said is None else said


def _reasoning(parser: str | None, facts: TemplateFacts) -> ReasoningCard | None:
    if parser is None and facts.switch is None and not facts.reads_effort:
        return None
    tails = facts.tails
    return ReasoningCard(
        parser, facts.switch, facts.reads_effort, tails.get("default", ""), tails.get("on", ""), tails.get("off", "")
    )
