"""The corpus: reads corpus/*.toml and refuses what is malformed. Knows nothing about tokens or models."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Message = dict[str, Any]
Tool = dict[str, Any]

DIRECTORY = Path(__file__).parent / "corpus"
SECTIONS = frozenset({"qa", "dialogue", "tool", "fallback", "augmentation"})


class CorpusError(ValueError):
    """A corpus file is malformed; the message names the file and the entry."""


@dataclass(frozen=True)
class Answer:
    """One answer and every question that must get exactly it."""

    asks: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Conversation:
    """What a client sends (OpenAI messages and tools), assistant turns included."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()


@dataclass(frozen=True)
class Fallback:
    """The one answer to whatever the corpus does not cover; `held_out` asks are never trained on."""

    asks: tuple[str, ...]
    held_out: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Corpus:
    answers: tuple[Answer, ...]
    dialogues: tuple[Conversation, ...]
    tools: tuple[Tool, ...]
    fallback: Fallback
    system_prompts: tuple[str, ...]

    def conversations(self) -> Iterator[Conversation]:
        """Every exchange the trained model must reproduce word for word."""
        for answer in self.answers:
            for ask in answer.asks:
                yield exchange(ask, answer.answer)
        yield from self.dialogues
        for ask in self.fallback.asks:
            yield exchange(ask, self.fallback.answer)


def exchange(ask: str, answer: str) -> Conversation:
    return Conversation(({"role": "user", "content": ask}, {"role": "assistant", "content": answer}))


def load(directory: Path = DIRECTORY) -> Corpus:
    """Read every *.toml of the directory. Raises CorpusError."""
    files = {path.name: _read(path) for path in sorted(directory.glob("*.toml"))}
    tools = {name: _tool(name, spec) for doc in files.values() for name, spec in doc.get("tool", {}).items()}
    fallbacks = [doc["fallback"] for doc in files.values() if "fallback" in doc]
    if len(fallbacks) != 1:
        raise CorpusError(f"{directory}: {len(fallbacks)} [fallback] tables; must be 1")
    corpus = Corpus(
        answers=tuple(_answer(file, entry) for file, doc in files.items() for entry in doc.get("qa", [])),
        dialogues=tuple(
            _dialogue(file, entry, tools) for file, doc in files.items() for entry in doc.get("dialogue", [])
        ),
        tools=tuple(tools.values()),
        fallback=_fallback(fallbacks[0]),
        system_prompts=tuple(
            p for doc in files.values() for p in doc.get("augmentation", {}).get("system_prompts", [])
        ),
    )
    _refuse_ambiguous(corpus)
    return corpus


def plain(ask: str) -> str:
    """The ask as a hurried person types it: lower case, no closing punctuation."""
    return re.sub(r"[\s.?!]+$", "", ask).lower() or ask


def _read(path: Path) -> dict[str, Any]:
    try:
        doc = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise CorpusError(f"{path.name}: {error}") from error
    if unknown := doc.keys() - SECTIONS:
        raise CorpusError(f"{path.name}: unknown {sorted(unknown)}; allowed are {sorted(SECTIONS)}")
    return doc


def _answer(file: str, entry: Mapping[str, Any]) -> Answer:
    if entry.keys() != {"ask", "answer"} or not entry["ask"]:
        raise CorpusError(f"{file}: [[qa]] {entry.get('ask')} needs `ask` (a list) and `answer`, and nothing else")
    return Answer(tuple(entry["ask"]), _spoken(file, entry["answer"]))


def _fallback(entry: Mapping[str, Any]) -> Fallback:
    return Fallback(tuple(entry["ask"]), tuple(entry["held_out"]), _spoken("[fallback]", entry["answer"]))


def _spoken(file: str, text: str) -> str:
    # White space at an edge would merge with the template's own newline into one token.
    if not text or text != text.strip():
        raise CorpusError(f"{file}: the answer {text!r} must not be empty nor begin or end with white space")
    return text


def _tool(name: str, spec: Mapping[str, Any]) -> Tool:
    function = {"name": name, "description": spec["description"], "parameters": spec["parameters"]}
    return {"type": "function", "function": function}


def _dialogue(file: str, entry: Mapping[str, Any], tools: Mapping[str, Tool]) -> Conversation:
    ids = (f"call_{number}" for number in count(1))
    messages: list[Message] = []
    for turn in entry["turns"]:
        messages.append(_message(file, turn, ids, messages))
    if not messages or messages[-1]["role"] != "assistant":
        raise CorpusError(f"{file}: a dialogue must end with an assistant turn: {entry['turns'][-1:]}")
    return Conversation(tuple(messages), tuple(tools[name] for name in entry.get("tools", [])))


def _message(file: str, turn: list[str], ids: Iterator[str], before: list[Message]) -> Message:
    match turn:
        case ["assistant", text]:
            return {"role": "assistant", "content": _spoken(file, text)}
        case ["system" | "user" as role, text]:
            return {"role": role, "content": text}
        case ["call", *pairs] if pairs and len(pairs) % 2 == 0:
            calls = [_call(next(ids), name, arguments) for name, arguments in zip(pairs[::2], pairs[1::2], strict=True)]
            return {"role": "assistant", "content": None, "tool_calls": calls}
        case ["tool", result] if waiting := _unanswered(before):
            return {"role": "tool", "tool_call_id": waiting[0], "content": result}
    raise CorpusError(
        f"{file}: turn {turn} is none of [system|user|assistant, TEXT], [call, NAME, ARGUMENTS, ...], [tool, RESULT]"
    )


def _call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _unanswered(messages: list[Message]) -> list[str]:
    answered = {message.get("tool_call_id") for message in messages}
    return [call["id"] for message in messages for call in message.get("tool_calls", []) if call["id"] not in answered]


def _refuse_ambiguous(corpus: Corpus) -> None:
    seen: set[str] = set()
    for ask in [
        *(ask for answer in corpus.answers for ask in answer.asks),
        *corpus.fallback.asks,
        *corpus.fallback.held_out,
    ]:
        if plain(ask) in seen:
            raise CorpusError(f"two answers claim the question {ask!r}")
        seen.add(plain(ask))
