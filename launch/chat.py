"""`conch chat`: a dialogue in the terminal, over the official OpenAI client."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.text import Text

from launch.journal import printable
from triton_repo.contract.api_key import API_KEY_VARIABLE
from triton_repo.contract.errors import ConchError
from triton_repo.contract.model_card import GENERATE

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletionMessageParam
    from openai.types.chat.chat_completion_chunk import ChoiceDelta

HELP = "/model NAME  talk to another model    /reset  forget the dialogue    /quit  leave    Ctrl-C  stop the answer"


@dataclass(frozen=True, slots=True)
class ChatOptions:
    url: str
    model: str | None = None
    api_key: str | None = None
    system: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None


@dataclass
class Pace:
    """When an answer's first token came, and how many came until its end."""

    asked: float = field(default_factory=time.monotonic)
    first: float | None = None
    ended: float | None = None
    num_tokens: int | None = None  # as the server counts; None if it did not say

    def summary(self) -> str:
        """`first token 12 ms · 34 tokens · 56.7 tokens/s`, as far as it is known."""
        if self.first is None or self.ended is None:
            return "no token"
        parts = [f"first token {(self.first - self.asked) * 1000:.0f} ms"]
        if self.num_tokens is not None:
            parts.append(f"{self.num_tokens} token{'s' * (self.num_tokens != 1)}")
            if self.num_tokens > 1 and self.ended > self.first:
                parts.append(f"{(self.num_tokens - 1) / (self.ended - self.first):.1f} tokens/s")
        return " · ".join(parts)


class Piece(NamedTuple):
    """A part of an answer; or, where `is_aside`, of its reasoning or its calls, which are shown and not kept."""

    text: str
    is_aside: bool = False


class Dialogue:
    """The messages so far, and the model they go to."""

    def __init__(self, client: OpenAI, options: ChatOptions, model: str) -> None:
        self._client = client
        self._options = options
        self.model = model
        self.messages: list[ChatCompletionMessageParam] = []
        self.pace = Pace()
        self.reset()

    def reset(self) -> None:
        system = self._options.system
        self.messages = [{"role": "system", "content": system}] if system else []

    def answer(self, text: str) -> Generator[Piece, None, None]:
        """The answer piece by piece; closing the generator stops the server, and what came so far is kept.

        A question that got no answer at all is forgotten, so that the dialogue stays one of turns.
        """
        import openai

        self.messages.append({"role": "user", "content": text})
        self.pace = Pace()
        pieces: list[str] = []
        try:
            for piece in self._stream():
                if not piece.is_aside:
                    pieces.append(piece.text)
                yield piece
        except openai.APIStatusError as error:
            raise ConchError(f"{self._options.url} answered {error.status_code}: {error.message}") from error
        except openai.APIConnectionError as error:
            raise _unreachable(self._options.url) from error
        except openai.APIError as error:  # sent inside a stream
            raise ConchError(f"the answer broke off: {error.message}") from error
        finally:
            self.pace.ended = time.monotonic()
            if pieces:
                self.messages.append({"role": "assistant", "content": "".join(pieces)})
            else:
                self.messages.pop()

    def _stream(self) -> Iterator[Piece]:
        from openai import omit

        options = self._options
        with self._client.chat.completions.create(
            model=self.model,
            messages=self.messages,
            temperature=omit if options.temperature is None else options.temperature,
            max_completion_tokens=omit if options.max_tokens is None else options.max_tokens,
            stream=True,
            stream_options={"include_usage": True},
        ) as chunks:
            for chunk in chunks:
                if chunk.usage:
                    self.pace.num_tokens = chunk.usage.completion_tokens
                for piece in pieces_of(chunk.choices[0].delta) if chunk.choices else ():
                    self.pace.first = self.pace.first or time.monotonic()
                    yield piece


def pieces_of(delta: ChoiceDelta) -> Iterator[Piece]:
    if reasoning := getattr(delta, "reasoning_content", None):  # which is no field of OpenAI's
        yield Piece(reasoning, is_aside=True)
    for call in delta.tool_calls or ():
        if call.function is not None:
            name = f"\ncalls {call.function.name}: " if call.function.name else ""
            yield Piece(name + (call.function.arguments or ""), is_aside=True)
    if delta.content:
        yield Piece(delta.content)


def _unreachable(url: str) -> ConchError:
    return ConchError(f"no server answers at {url}: start one with conch serve, or name another with --url")


def connect(options: ChatOptions) -> Dialogue:
    """A dialogue with the wanted model, or with the first that the server lists."""
    import openai

    # The client insists on a key; a server without one ignores it.
    client = openai.OpenAI(base_url=options.url, api_key=options.api_key or "none", max_retries=0)
    try:
        # Of Conch's own models those that write text; other servers do not say.
        names = [model.id for model in client.models.list() if getattr(model, "kind", GENERATE) == GENERATE]
    except openai.AuthenticationError as error:
        raise ConchError(f"{options.url} wants an API key: set {API_KEY_VARIABLE} or give --api-key") from error
    except openai.APIStatusError as error:
        raise ConchError(f"{options.url} answered {error.status_code}: {error.message}") from error
    except openai.APIConnectionError as error:
        raise _unreachable(options.url) from error
    if not names:
        raise ConchError(f"{options.url} serves no model that chats")
    return Dialogue(client, options, choose_model(options.model or names[0], names))


def choose_model(name: str, names: list[str]) -> str:
    if name not in names:
        raise ConchError(f"model {name!r} is not served; there is {', '.join(names)}")
    return name


class Terminal:
    """Reads turns and commands, shows answers; on a pipe, one line is one turn and only answers are written."""

    def __init__(self, dialogue: Dialogue, interactive: bool) -> None:
        self._dialogue = dialogue
        self._interactive = interactive
        self._notes = Console(stderr=True)

    def run(self) -> None:
        if self._interactive:
            self._note(f"{self._dialogue.model}: /help lists the commands, Ctrl-D leaves")
        while (line := self._read()) is not None:
            if line.startswith("/"):
                if not self._command(*line.split(maxsplit=1)):
                    return
            elif line:
                self._turn(line)

    def _read(self) -> str | None:
        try:
            return input("> " if self._interactive else "").strip()
        except EOFError:
            return None
        except KeyboardInterrupt:  # at the prompt it clears the line, as in a shell
            sys.stdout.write("\n")
            return ""

    def _command(self, verb: str, argument: str = "") -> bool:
        """False to leave."""
        if verb == "/quit":
            return False
        if verb == "/reset":
            self._dialogue.reset()
            self._note("the dialogue is forgotten")
        elif verb == "/model" and argument:
            self._dialogue.model = argument
            self._note(f"now talking to {argument}")
        else:
            self._note(HELP)
        return True

    def _turn(self, line: str) -> None:
        answer = self._dialogue.answer(line)
        was_aside = False
        try:
            for text, is_aside in answer:
                if was_aside and not is_aside:
                    self._note("\n")
                was_aside = is_aside
                if is_aside:
                    self._note(printable(text), end="")
                    continue
                sys.stdout.write(printable(text))
                sys.stdout.flush()
        except KeyboardInterrupt:
            self._note("\nstopped")
        except ConchError as error:
            if not self._interactive:
                raise
            self._notes.print(Text(str(error), style="red"), soft_wrap=True)
            return
        finally:
            answer.close()
        sys.stdout.write("\n")
        self._note(self._dialogue.pace.summary())

    def _note(self, text: str, end: str = "\n") -> None:
        self._notes.print(Text(text, style="dim"), soft_wrap=True, highlight=False, end=end)


def chat(options: ChatOptions) -> None:
    """Chat until Ctrl-D or /quit. ConchError if the server cannot be reached."""
    with suppress(ImportError):  # some builds of Python lack it
        import readline  # noqa: F401 - gives `input` line editing and history
    Terminal(connect(options), interactive=sys.stdin.isatty()).run()
