"""What a model and a checkpoint's template write: text, on its way to a client; and Triton's configuration."""

from __future__ import annotations

import atexit
import json
from functools import cache

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from gateway.answers.backend import Delta, Generation, PromptText
from gateway.answers.choice import Choice
from gateway.answers.events import Event, Finish, Text
from gateway.dialects.dialect import Head
from gateway.dialects.openai.chat import ChatEncoder
from gateway.dialects.openai.completions import CompletionEncoder
from gateway.dialects.openai.form import ChatForm, CompletionForm
from tests.fuzz.rendering import MAX_CHARACTERS, BoundedTemplates
from tests.fuzz.target import Target
from tests.gateway.answers.test_stop import reference, run
from tests.tokenizers.streaming import stream
from tests.triton_repo.detokenize.test_detokenizer import DETOKENIZERS, TOKENIZERS
from triton_repo.contract.errors import EngineFailed, from_wire, to_wire
from triton_repo.contract.model_card import CARD_PARAMETER, ModelCard
from triton_repo.contract.sampling import Sampling
from triton_repo.ensemble.config import model_config
from triton_repo.model_config import to_pbtxt

_HEAD = Head("id", 0, "demo", "fp")


def _parts(data: bytes) -> list[str]:
    return data.decode(errors="replace").split("|")


def fuzz_stop(data: bytes) -> None:
    """Before the first line break the stop strings, after it the chunks of a text."""
    stops, _, text = data.partition(b"\n")
    wanted = [stop for stop in _parts(stops)[:4] if stop]
    assert run(_parts(text), wanted) == reference("".join(_parts(text)), wanted)


def fuzz_detokenizer(data: bytes) -> None:
    """Of each byte an id, or the end of a delta; of text, as it is and as noise."""
    cuts = [byte for byte in data[::3] if byte < 200]
    for name, tokenizer in TOKENIZERS.items():
        size = tokenizer.get_vocab_size()
        ids = tokenizer.encode(data.decode(errors="ignore"), add_special_tokens=False).ids
        assert "".join(stream(DETOKENIZERS[name], ids, cuts)) == tokenizer.decode(ids)
        noise = [3 + byte % (size - 3) for byte in data]  # the first are special tokens, which leave no text
        texts = stream(DETOKENIZERS[name], noise, cuts)
        if name == "byte-level":
            assert "".join(texts) == tokenizer.decode(noise)


def fuzz_sse(data: bytes) -> None:
    """Deltas through a choice into the events of both endpoints, and back through a reader of events."""
    generation = Generation("id-0", "demo", PromptText("x"), Sampling(), True, ())
    choice = Choice(0, generation)
    events: list[Event] = []
    parts = _parts(data)
    for number, part in enumerate(parts):
        events += choice.feed(Delta(part, "stop" if number == len(parts) - 1 else "", 1, -1, number))
    for encoder in (ChatEncoder(_HEAD, ChatForm()), CompletionEncoder(_HEAD, CompletionForm())):
        sent = encoder.start() + b"".join(map(encoder.event, events)) + encoder.finish()
        assert "".join(_text(chunk) for chunk in _chunks(sent)) == "".join(parts)
    [error] = _chunks(ChatEncoder(_HEAD, ChatForm()).fail(EngineFailed(data.decode(errors="replace"))))
    assert json.loads(error)["error"]["message"] == data.decode(errors="replace")
    assert isinstance(events[-1], Finish)
    assert all(isinstance(event, Text | Finish) for event in events)


def _chunks(sent: bytes) -> list[str]:
    """The data of each event, by lines as the strictest reader takes them: str.splitlines breaks at ten characters."""
    lines = sent.decode().splitlines()
    assert all(line.startswith("data: ") for line in lines[::2])
    assert not any(lines[1::2])
    return [line.removeprefix("data: ") for line in lines[::2]]


def _text(chunk: str) -> str:
    if chunk == "[DONE]":
        return ""
    [choice] = json.loads(chunk)["choices"]
    return str(choice.get("text", choice.get("delta", {}).get("content", "")) or "")


def fuzz_wire_error(data: bytes) -> None:
    """A message of an error on its way through Triton, and any text that Triton itself may send."""
    text = data.decode(errors="replace").replace("in ensemble", "")  # what Triton puts before a message is left out
    back = from_wire(to_wire(EngineFailed(text)))
    assert back is not None
    assert back.message == text
    from_wire(text)


def fuzz_template(data: bytes) -> None:
    """A chat template from a checkpoint, and a short conversation."""
    answer = _templates().render(data)
    assert not answer.isdigit() or int(answer) <= MAX_CHARACTERS


@cache
def _templates() -> BoundedTemplates:
    templates = BoundedTemplates()
    atexit.register(templates.close)
    return templates


def fuzz_config_pbtxt(data: bytes) -> None:
    """Whatever the card of a model says, config.pbtxt is read back as it was meant."""
    source = data.decode(errors="replace")
    card = ModelCard(64, source, 0, True, source)
    read = text_format.Parse(to_pbtxt(model_config("demo", card)), pb.ModelConfig())
    assert ModelCard.from_json(read.parameters[CARD_PARAMETER].string_value) == card


@cache
def targets() -> tuple[Target, ...]:
    hard = "👩‍👩‍👧‍👦|e\u0301| नमस्ते|你好|\ufffd |\u2028\u2029\x85|\x1c\x1d\x1e\x0b\x0c".encode()
    templates = [
        b"{% for m in messages %}<|{{ m.role }}|>{{ m['content'] | trim }}{{ eos_token }}{% endfor %}",
        b"{%- set ns = namespace(a='x') -%}{% if not messages %}{{ raise_exception('no') }}{% endif %}{{ ns.a * 3 }}"
        b"{% macro f(x) %}{{ x ~ x }}{% endmacro %}{{ f('a') }}{{ messages | tojson }}"
        b"{% for i in range(9) %}{{ i }}{% endfor %}",
    ]
    words = (
        b"range(99999)",
        b"*10**9",
        b"**",
        b"|join",
        b"|center(",
        b"'%9999d'%",
        b".format(",
        b"{% for i in ",
        b"~",
        b"%}",
    )
    return (
        Target(
            "stop", fuzz_stop, [b"abcd|c|bc\nab|cx|abc|d", "é|🐚🐚\na🐚|🐚b|é".encode()], (b"|", b"\n", b"ab", b"abcd")
        ),
        Target("detokenizer", fuzz_detokenizer, [hard, bytes(range(256))]),
        Target("sse", fuzz_sse, [hard, b"Hello| world|!"], (b"|", b"\n\n", b"data: ", b"\r", b"\0")),
        Target(
            "wire_error",
            fuzz_wire_error,
            [b"a message [conch:EngineFailed:]", hard],
            (b"[conch:", b"]", b"in ensemble 'x', "),
        ),
        Target("chat_template", fuzz_template, templates, words),
        Target("config_pbtxt", fuzz_config_pbtxt, [hard, b'a "quoted" \\ name'], (b'"', b"\\", b"\n", b"}")),
    )
