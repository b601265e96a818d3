"""How each family of models writes reasoning, by the names that vLLM gives to their parsers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.parsers.parser import Parser, Schemas
from gateway.parsers.reasoning.think import Think
from gateway.parsers.tools import harmony


@dataclass(frozen=True, slots=True)
class ReasoningFamily:
    """How a family writes reasoning: between `start` and `end`.

    Attributes:
        parser: makes the parser of one answer: whether the prompt ends within the reasoning, the functions that may be
            called, and the marker that starts a call.
        keep_special: special tokens that the parser must see in the text, if the tokenizer has them as such.
        calls: the tool family whose calls this parser reads too.
        behind: what stands between the end of the reasoning and what comes next.
    """

    reads: str
    models: str
    parser: Callable[[bool, Schemas | None, str], Parser]
    start: str
    end: str
    keep_special: tuple[str, ...]
    calls: str = ""
    behind: str = ""


def _think(
    models: str, start: str = "<think>", end: str = "</think>", *, ends_at_call: bool = False
) -> ReasoningFamily:
    grammar = Think(start, end, ends_at_call=ends_at_call)

    def parser(is_open: bool, _schemas: Schemas | None, call_start: str) -> Parser:
        return grammar.parser(is_open=is_open, call_start=call_start)

    return ReasoningFamily(f"{start}…{end}", models, parser, start, end, (start, end))


REASONING_PARSERS: Final[Mapping[str, ReasoningFamily]] = {
    "qwen3": _think("Qwen 3, QwQ, SmolLM 3, EXAONE 4"),
    "deepseek_r1": _think("DeepSeek R1 and its distillations"),
    "deepseek_v3": _think("DeepSeek V3.1, V3.2"),
    "glm45": _think("GLM 4.5, 4.6, 4.7"),
    "kimi_k2": _think("Kimi K2 Thinking", ends_at_call=True),
    "minimax_m2": _think("MiniMax M2"),
    "nemotron_v3": _think("Nemotron 3, Nemotron Nano 2"),
    "olmo3": _think("Olmo 3 Think"),
    "step3": _think("Step 3"),
    "gemma4": _think("Gemma 4", "<|channel>thought\n", "<channel|>"),
    "mistral": _think("Magistral", "[THINK]", "[/THINK]"),
    "seed_oss": _think("Seed-OSS", "<seed:think>", "</seed:think>"),
    "cohere_command3": _think("Command A Reasoning", "<|START_THINKING|>", "<|END_THINKING|>"),
    "granite": _think("Granite 3.2", "Here is my thought process:", "Here is my response:"),
    "openai_gptoss": ReasoningFamily(
        "<|channel|>analysis<|message|>…<|end|>",
        "gpt-oss",
        lambda _is_open, schemas, _call_start: harmony.harmony(schemas),
        "<|channel|>analysis<|message|>",
        "<|end|>",
        harmony.SPECIAL,
        calls="openai",
        behind="<|start|>assistant",
    ),
}
