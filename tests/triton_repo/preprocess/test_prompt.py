"""Prompts become token ids, or one clear error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing

from tests.triton_repo.detokenize.tokenizers_under_test import byte_level
from triton_repo.contract.errors import ContextLengthExceeded, InvalidRequest, RequestError, UnsupportedParameter
from triton_repo.preprocess.chat_template import ChatTemplate
from triton_repo.preprocess.prompt import Prompt, PromptEncoder
from triton_repo.preprocess.template_processes import Rendered


class RenderedHere(ChatTemplate):
    """In this process, without bounds."""

    def render_all(self, chats: Sequence[bytes], max_characters: int, *, alone: bool = True) -> list[Rendered]:  # noqa: ARG002
        return [self._outcome(chat, max_characters) for chat in chats]

    def _outcome(self, chat: bytes, max_characters: int) -> Rendered:
        try:
            return self.render_json(chat, max_characters)
        except RequestError as error:
            return error

    def close(self) -> None: ...


TOKENIZER = byte_level()
TEMPLATE = RenderedHere(
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
    "{% if mood %}[{{ mood }}]{% endif %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    {"eos_token": "<|im_end|>"},
)
ENCODER = PromptEncoder(TOKENIZER, TEMPLATE, max_seq_len=64)


def chat(messages: Any, **fields: Any) -> Prompt:
    return Prompt(chat=json.dumps({"messages": messages, **fields}).encode())


def text_of(ids: list[int]) -> str:
    return str(TOKENIZER.decode(ids, skip_special_tokens=False))


def test_text_is_tokenized_as_it_is() -> None:
    assert text_of(ENCODER.encode(Prompt(text="héllo 👋".encode()))) == "héllo 👋"


def test_messages_go_through_the_chat_template() -> None:
    ids = ENCODER.encode(chat([{"role": "user", "content": "hi"}]))
    assert text_of(ids) == "<|im_start|>user\nhi<|im_end|><|im_start|>assistant\n"


def test_special_tokens_are_variables_of_the_template_by_their_names(tmp_path: Path) -> None:
    """As transformers gives them: those that all tokenizers name, and those of this one alone."""
    config = {
        "bos_token": "<s>",
        "eos_token": {"content": "</s>", "lstrip": False},
        "pad_token": None,
        "sep_token": "[SEP]",
        "extra_special_tokens": {"image_token": "<image>"},
        "add_bos_token": True,
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    names = ("bos_token", "eos_token", "pad_token", "sep_token", "image_token", "add_bos_token")
    source = "|".join(f"{{{{ {name} }}}}" for name in names)
    (tmp_path / "chat_template.jinja").write_text(source, encoding="utf-8")
    template = ChatTemplate.load(tmp_path)
    assert template is not None
    assert template.render({"messages": [{"role": "user", "content": "hi"}]}, 99) == "<s>|</s>||[SEP]|<image>|"


def test_template_arguments_reach_the_template() -> None:
    ids = ENCODER.encode(chat([{"role": "user", "content": "hi"}], template_arguments={"mood": "calm"}))
    assert "[calm]" in text_of(ids)


def test_token_ids_are_taken_as_they_are() -> None:
    assert ENCODER.encode(Prompt(token_ids=[5, 6, 7])) == [5, 6, 7]


def test_a_prompt_of_any_length_is_tokenized_where_no_answer_follows() -> None:
    assert ENCODER.tokenize(Prompt(text=b"a " * 64)).ids == TOKENIZER.encode("a " * 64).ids
    assert ENCODER.tokenize(Prompt(text=b"")).ids == []
    with pytest.raises(ContextLengthExceeded, match="bytes of text cannot fit"):
        ENCODER.tokenize(Prompt(text=b"a" * 100_000))


def test_the_text_of_ids_has_special_tokens_and_that_of_a_chat_is_the_templates() -> None:
    ids = TOKENIZER.encode("<|im_start|>hi 👋").ids
    texts = json.loads(ENCODER.texts(ENCODER.tokenize(Prompt(token_ids=ids))))
    assert texts == {"text": "<|im_start|>hi 👋", "pieces": [TOKENIZER.id_to_token(id) for id in ids]}
    of_chat = ENCODER.tokenize(chat([{"role": "user", "content": "hi"}]))
    assert json.loads(ENCODER.texts(of_chat))["text"] == "<|im_start|>user\nhi<|im_end|><|im_start|>assistant\n"


@pytest.mark.parametrize("id", [-2, 10**6])
def test_ids_that_the_vocabulary_lacks_have_no_text(id: int) -> None:
    with pytest.raises(InvalidRequest, match=f"the vocabulary has no token {id}"):
        ENCODER.texts(ENCODER.tokenize(Prompt(token_ids=[5, id])))


PRINTS_CALLS = """{% for message in messages %}{% for call in message.tool_calls or [] -%}
{{ call.function.arguments | tojson }}{% endfor %}{% endfor %}"""


def test_past_tool_calls_reach_the_template_with_their_arguments_as_an_object() -> None:
    template = ChatTemplate(PRINTS_CALLS, {})
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}}
    assert template.render({"messages": [{"role": "assistant", "tool_calls": [call]}]}, 100) == '{"city": "Bonn"}'


def test_arguments_too_deep_to_parse_reach_the_template_as_they_came() -> None:
    template = ChatTemplate(PRINTS_CALLS, {})
    call = {"function": {"name": "f", "arguments": "[" * 5000}}
    assert template.render({"messages": [{"role": "assistant", "tool_calls": [call]}]}, 10_000) == f'"{"[" * 5000}"'


@pytest.mark.parametrize(
    ("prompt", "param"),
    [
        (Prompt(), "text_input"),
        (Prompt(text=b"a", token_ids=[1]), "text_input"),
        (Prompt(text=b""), "prompt"),
        (Prompt(text=b"\xff\xfe"), "prompt"),
        (Prompt(token_ids=[]), "prompt"),
        (Prompt(chat=b"{"), "messages"),
        (Prompt(chat=b"[]"), "messages"),
        (Prompt(chat=b"{}"), "messages"),
        (chat([]), "messages"),
        (chat("hi"), "messages"),
        (Prompt(chat=rb'{"messages": [{"role": "user", "content": "\ud800"}]}'), "messages"),
        (chat([{"role": "user", "content": "hi"}], template_arguments={"messages": []}), "chat_template_kwargs"),
        (chat([{"role": "user", "content": "hi"}], template_arguments={"tokenize": True}), "chat_template_kwargs"),
        (chat([{"role": "user", "content": "hi"}], template_arguments=5), "chat_template_kwargs"),
        (chat([{"role": "assistant", "tool_calls": 5}]), "messages"),
        (Prompt(chat=b"[" * 100_000), "messages"),
    ],
)
def test_what_is_no_prompt_is_rejected_with_its_parameter(prompt: Prompt, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ENCODER.encode(prompt)
    assert caught.value.param == param


def test_a_prompt_that_fills_the_context_is_rejected_before_the_engine() -> None:
    fits = Prompt(token_ids=[5] * 63)
    assert len(ENCODER.encode(fits)) == 63
    with pytest.raises(ContextLengthExceeded, match="64 tokens"):
        ENCODER.encode(Prompt(token_ids=[5] * 64))


def test_a_text_that_cannot_fit_is_rejected_without_tokenizing_it() -> None:
    with pytest.raises(ContextLengthExceeded, match="bytes of text"):
        ENCODER.encode(Prompt(text=b"a" * 10_000_000))


def test_stop_words_are_tokenized_alone_and_empty_ones_are_none() -> None:
    assert [text_of(ids) for ids in ENCODER.stop_sequences([b"", b"two  spaces", b"\n"])] == ["two  spaces", "\n"]


def with_bos() -> PromptEncoder:
    """An encoder whose tokenizer writes a BOS token before every text, as Llama's does."""
    tokenizer = byte_level()
    bos = tokenizer.token_to_id("<|im_start|>")
    tokenizer.post_processor = TemplateProcessing("<|im_start|> $A", special_tokens=[("<|im_start|>", bos)])
    return PromptEncoder(tokenizer, RenderedHere("<|im_start|>{{ messages[0].content }}", {}), 64)


@pytest.mark.parametrize(("add_special_tokens", "num_bos"), [(None, 2), (True, 2), (False, 1)])
def test_special_tokens_are_added_to_a_text_unless_the_client_wrote_them(
    add_special_tokens: bool | None, num_bos: int
) -> None:
    ids = with_bos().encode(Prompt(text=b"<|im_start|>hi", add_special_tokens=add_special_tokens))
    assert text_of(ids) == "<|im_start|>" * num_bos + "hi"


@pytest.mark.parametrize("add_special_tokens", [None, False])
def test_special_tokens_are_never_added_to_a_chat(add_special_tokens: bool | None) -> None:
    message = json.dumps({"messages": [{"role": "user", "content": "hi"}]}).encode()
    ids = with_bos().encode(Prompt(chat=message, add_special_tokens=add_special_tokens))
    assert text_of(ids) == "<|im_start|>hi"
    with pytest.raises(UnsupportedParameter, match="add_special_tokens = true") as caught:
        with_bos().encode(Prompt(chat=message, add_special_tokens=True))
    assert caught.value.param == "add_special_tokens"


def test_token_ids_are_taken_as_they_are_whatever_is_said_of_special_tokens() -> None:
    assert with_bos().encode(Prompt(token_ids=[5, 6], add_special_tokens=True)) == [5, 6]


def test_a_model_without_a_template_rejects_messages() -> None:
    with pytest.raises(InvalidRequest, match="no chat template"):
        PromptEncoder(TOKENIZER, None, 64).encode(chat([{"role": "user", "content": "hi"}]))


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('only user and assistant') }}",
        "{{ messages[7].content.nothing.here }}",
        "{{ 1 + 'a' }}",
        "{{ 1 / 0 }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages | dictsort }}",
        "{{ messages[0].items | first }}",
        "{% for i in range(10**9) %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ],
)
def test_a_template_that_fails_or_breaks_out_is_one_rejected_request(source: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ChatTemplate(source, {}).render({"messages": [{"role": "user", "content": "hi"}]}, 1000)
    assert caught.value.param == "messages"


def test_a_template_that_writes_without_end_is_stopped() -> None:
    source = "{% for i in range(99999) %}{% for j in range(99999) %}aaaaaaaaaa{% endfor %}{% endfor %}"
    with pytest.raises(ContextLengthExceeded, match="1000 characters"):
        ChatTemplate(source, {}).render({"messages": [{"role": "user", "content": "hi"}]}, 1000)


def test_of_a_prompt_that_is_too_long_the_last_tokens_can_be_kept() -> None:
    ids = [*range(100)]
    assert ENCODER.encode(Prompt(token_ids=ids), num_last=10) == ids[-10:]
    assert ENCODER.encode(Prompt(token_ids=[1, 2]), num_last=10) == [1, 2]
    with pytest.raises(ContextLengthExceeded):
        ENCODER.encode(Prompt(token_ids=ids), num_last=64)
