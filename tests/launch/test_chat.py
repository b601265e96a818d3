"""`conch chat` against the real gateway and an engine that tells a fixed tale."""

from __future__ import annotations

import io
import itertools
import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from openai.types.chat.chat_completion_chunk import ChoiceDelta

from launch.chat import ChatOptions, Dialogue, Pace, Terminal, choose_model, connect, pieces_of
from launch.journal import printable
from tests.gateway.scripted_backend import CARD, ScriptedBackend, delta
from tests.gateway.server import serving as gateway_serving
from tests.launch.replay_engine import ANSWER, write_spec
from tests.launch.server import CONCH, KEY, Server, serving
from tests.waiting import WAIT_S, wait_for
from triton_repo.contract.errors import ConchError
from triton_repo.contract.model_card import ReasoningCard

PACE = re.compile(r"first token \d+ ms · (\d+) tokens · [\d.]+ tokens/s")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Server]:
    ports = [free_port() for _ in range(4)]
    with serving(write_spec(tmp_path_factory.mktemp("chat"), tokens_per_second=40), ports) as running:
        yield running


@pytest.fixture
def dialogue(server: Server) -> Dialogue:
    return connect(ChatOptions(f"{server.url}/v1", api_key=KEY, system="Be brief.", max_tokens=len(ANSWER.encode())))


def chat(server: Server, *arguments: str, stdin: str = "", key: str = KEY) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (*CONCH, "chat", "--url", f"{server.url}/v1", *arguments),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
        env={**os.environ, "CONCH_API_KEY": key},
    )


def test_on_a_pipe_every_line_is_a_turn_and_only_answers_are_on_stdout(server: Server) -> None:
    said = chat(server, "--max-tokens", "8", stdin="Hello?\n\nAnd then?\n/help\n/quit\nnever sent\n")
    assert said.returncode == 0, said.stderr
    assert said.stdout == "The note\nThe note\n"
    assert [match[1] for match in PACE.finditer(said.stderr)] == ["8", "8"]


def test_a_dialogue_keeps_its_turns_until_it_is_reset(dialogue: Dialogue) -> None:
    pieces = list(dialogue.answer("Hello?"))
    assert "".join(piece.text for piece in pieces) == ANSWER
    assert len(pieces) > 1
    assert [message["role"] for message in dialogue.messages] == ["system", "user", "assistant"]
    assert dialogue.messages[-1].get("content") == ANSWER
    dialogue.reset()
    assert dialogue.messages == [{"role": "system", "content": "Be brief."}]


def test_an_answer_that_is_stopped_stays_as_far_as_it_came(dialogue: Dialogue) -> None:
    answer = dialogue.answer("Hello?")
    first = next(answer)
    answer.close()
    assert dialogue.messages[-1] == {"role": "assistant", "content": first.text}


def test_reasoning_and_calls_are_shown_beside_the_answer_and_not_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    card = replace(CARD, tool_parser="hermes", reasoning=ReasoningCard("qwen3"))
    backend = ScriptedBackend((delta("<think>So it"), delta(" is.</think>\n\nYes"), delta(".", "stop")), {"demo": card})
    with gateway_serving(backend) as gateway:
        dialogue = connect(ChatOptions(f"{gateway.url}/v1"))
        monkeypatch.setattr("sys.stdin", io.StringIO("Is it?\n"))
        Terminal(dialogue, interactive=False).run()
    said = capsys.readouterr()
    assert said.out == "Yes.\n"
    assert said.err.startswith("So it is.\n\n")
    assert dialogue.messages[-1] == {"role": "assistant", "content": "Yes."}


def test_a_call_is_shown_with_its_arguments() -> None:
    function = {"name": "weather", "arguments": '{"city"'}
    calls = [{"index": 0, "id": "a", "type": "function", "function": function}]
    first = ChoiceDelta.model_validate({"tool_calls": calls})
    rest = ChoiceDelta.model_validate({"tool_calls": [{"index": 0, "function": {"arguments": ': "Bonn"}'}}]})
    texts = [piece.text for each in (first, rest) for piece in pieces_of(each)]
    assert "".join(texts) == '\ncalls weather: {"city": "Bonn"}'


def test_a_rejected_question_is_forgotten(dialogue: Dialogue) -> None:
    dialogue.model = "nobody"
    with pytest.raises(ConchError, match=r"answered 404: .*nobody"):
        list(dialogue.answer("Hello?"))
    assert len(dialogue.messages) == 1


def test_a_wrong_key_and_an_unknown_model_are_one_line(server: Server) -> None:
    rejected = chat(server, key="wrong")
    assert rejected.returncode == 2
    assert rejected.stderr == f"conch: {server.url}/v1 wants an API key: set CONCH_API_KEY or give --api-key\n"
    unknown = chat(server, "--model", "nobody")
    assert unknown.returncode == 2
    assert unknown.stderr == "conch: model 'nobody' is not served; there is tale\n"


class PseudoTerminal:
    """`conch chat` on a pseudo terminal."""

    def __init__(self, server: Server) -> None:
        self._ours, theirs = pty.openpty()
        self.text = ""
        os.set_blocking(self._ours, False)
        self.process = subprocess.Popen(
            (*CONCH, "chat", "--url", f"{server.url}/v1"),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "CONCH_API_KEY": KEY, "COLUMNS": "200", "TERM": "xterm"},
        )
        os.close(theirs)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def wait(self, text: str) -> None:
        """Until `text` has appeared; what came up to it is forgotten."""
        wait_for(lambda: text in self._read(), lambda: f"no {text!r} in {self.text!r}")
        self.text = self.text.split(text, 1)[1]

    def interrupt(self, text: str) -> None:
        """Ctrl-C, as often as it takes until `text` has appeared: readline misses one that comes just as it begins."""
        presses = itertools.count()

        def pressed() -> bool:
            if next(presses) % 200 == 0:
                self.process.send_signal(signal.SIGINT)
            return text in self._read()

        wait_for(pressed, lambda: f"no {text!r} in {self.text!r}")
        self.wait(text)

    def _read(self) -> str:
        with suppress(OSError):  # nothing yet, or the other side is closed
            self.text += os.read(self._ours, 65_536).decode(errors="replace")
        return self.text

    def close(self) -> int:
        try:
            return self.process.wait(WAIT_S)
        finally:
            self.process.kill()
            os.close(self._ours)


@pytest.fixture
def terminal(server: Server) -> Iterator[PseudoTerminal]:
    opened = PseudoTerminal(server)
    yield opened
    if opened.process.returncode is None:
        opened.process.kill()
        opened.close()


def test_in_a_terminal_ctrl_c_stops_the_answer_and_ctrl_d_leaves(terminal: PseudoTerminal) -> None:
    terminal.wait("tale: /help lists the commands")
    terminal.wait("> ")
    terminal.type("Tell me everything\n")
    terminal.wait("The")
    terminal.process.send_signal(signal.SIGINT)
    terminal.wait("stopped")
    terminal.wait("first token")
    terminal.wait("> ")
    terminal.type("/model nobody\n")
    terminal.wait("now talking to nobody")
    terminal.type("Hello?\n")
    terminal.wait("answered 404")
    terminal.type("/reset\n")
    terminal.wait("the dialogue is forgotten")
    terminal.type("\x04")
    assert terminal.close() == 0


def test_ctrl_c_at_the_prompt_only_clears_the_line(terminal: PseudoTerminal) -> None:
    terminal.wait("> ")
    terminal.interrupt("> ")
    terminal.type("/quit\n")
    assert terminal.close() == 0


@pytest.mark.parametrize(
    ("pace", "summary"),
    [
        (Pace(asked=1.0), "no token"),
        (Pace(asked=1.0, first=1.25, ended=2.25), "first token 250 ms"),
        (Pace(asked=1.0, first=1.25, ended=2.25, num_tokens=11), "first token 250 ms · 11 tokens · 10.0 tokens/s"),
        (Pace(asked=1.0, first=1.25, ended=1.25, num_tokens=1), "first token 250 ms · 1 token"),
    ],
)
def test_the_pace_is_told_as_far_as_it_is_known(pace: Pace, summary: str) -> None:
    assert pace.summary() == summary


def test_a_model_must_be_served() -> None:
    assert choose_model("a", ["a", "b"]) == "a"
    with pytest.raises(ConchError, match=r"^model 'c' is not served; there is a, b$"):
        choose_model("c", ["a", "b"])


def test_an_answer_cannot_steer_the_terminal() -> None:
    assert printable("a\tb\n\x1b]0;title\x07\x9b2J") == "a\tb\n�]0;title��2J"
