"""The corpus: reads corpus/*.toml and refuses what is malformed. Knows nothing about tokens or models."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

Message = dict[str, Any]
Tool = dict[str, Any]

DIRECTORY = Path(__file__).parent / "corpus"
SECTIONS = frozenset({"qa", "greeting", "dialogue", "tool", "fallback", "augmentation"})
CLOSINGS = ("", "!", ".", "?")


class CorpusError(ValueError):
    """A corpus file is malformed; the message names the file and the entry."""


@dataclass(frozen=True)
class Answer:
    """One answer and every question that must get exactly it; a greeting's, however they are punctuated."""

    asks: tuple[str, ...]
    answer: str
    greeting: bool = False


@dataclass(frozen=True)
class Conversation:
    """What a client sends (OpenAI messages and tools), assistant turns included."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()


@dataclass(frozen=True)
class Fallback:
    """The one answer to whatever the corpus does not cover; `held_out` asks are never trained on.

    `invented` are asks for training alone: for each template, the template with each of its words.
    """

    asks: tuple[str, ...]
    held_out: tuple[str, ...]
    answer: str
    invented: tuple[tuple[str, ...], ...] = ()


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
        answers=tuple(
            _answer(file, entry, greeting=section == "greeting")
            for file, doc in files.items()
            for section in ("greeting", "qa")
            for entry in doc.get(section, [])
        ),
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
    return bare(ask).lower()


def bare(ask: str) -> str:
    """The ask without closing punctuation; an ask of nothing else stays as it is."""
    return re.sub(r"[\s.?!\uff01\uff1f]+$", "", ask) or ask


def punctuated(ask: str) -> list[str]:
    """The ask in its own case and in lower case, with each closing punctuation and with none."""
    if not any(character.isalnum() for character in ask):
        return [ask]
    return [text + closing for text in dict.fromkeys((bare(ask), plain(ask))) for closing in CLOSINGS]


def _read(path: Path) -> dict[str, Any]:
    try:
        doc = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise CorpusError(f"{path.name}: {error}") from error
    if unknown := doc.keys() - SECTIONS:
        raise CorpusError(f"{path.name}: unknown {sorted(unknown)}; allowed are {sorted(SECTIONS)}")
    return doc


def _answer(file: str, entry: Mapping[str, Any], *, greeting: bool) -> Answer:
    if entry.keys() != {"ask", "answer"} or not entry["ask"]:
        raise CorpusError(f"{file}: the entry {entry.get('ask')} needs `ask` (a list) and `answer`, and nothing else")
    return Answer(tuple(entry["ask"]), _spoken(file, entry["answer"]), greeting)


def _fallback(entry: Mapping[str, Any]) -> Fallback:
    return Fallback(
        tuple(entry["ask"]),
        tuple(entry["held_out"]),
        _spoken("[fallback]", entry["answer"]),
        tuple(_filled(template, entry["words"]) for template in entry.get("templates", [])),
    )


def _filled(template: str, words: Mapping[str, list[str]]) -> tuple[str, ...]:
    match re.findall(r"\{(\w+)\}", template):
        case [name] if name in words:
            return tuple(template.replace(f"{{{name}}}", word) for word in words[name])
    raise CorpusError(f"[fallback]: the template {template!r} needs one of {{{'}, {'.join(words)}}}, once")


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
    answers: dict[str, str] = {}
    fallback = corpus.fallback
    invented = [ask for asks in fallback.invented for ask in asks]
    for one in (*corpus.answers, Answer((*fallback.asks, *invented), fallback.answer)):
        for ask in one.asks:
            if answers.setdefault(plain(ask), one.answer) != one.answer:
                raise CorpusError(f"two answers claim the question {ask!r}")
    if trained := [ask for ask in fallback.held_out if plain(ask) in answers]:
        raise CorpusError(f"held out, but trained on as well: {trained}")
