"""POST /v1/decisions: each option of each question is read by the model behind the question, and nothing is generated.

An option is answered by a label of its own, a letter or a number. Its probability is that of the label's tokens, where
the prompt ends with the beginning of an answer, among those of all labels of the question.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from gateway.answers.backend import Chat, Prompt, PromptIds, PromptText
from gateway.answers.events import Event, WholeAnswer, WholeChoice
from gateway.answers.reasoning import Effort
from gateway.answers.request import MAX_GENERATIONS, AnswerRequest, check_fits, told
from gateway.dialects.body import parse_body
from gateway.dialects.decisions.answer import Decision, answer
from gateway.dialects.decisions.request import DecisionRequest, Question, text_of
from gateway.dialects.dialect import Call, Head, Tokenize
from gateway.dialects.openai.envelope import OPENAI
from gateway.dialects.openai.parameters import ignored_parameters
from gateway.dialects.openai.requests.completion import MAX_PROMPT_IDS
from gateway.dialects.responses.encoder import usage_json
from gateway.dialects.responses.input import ItemReference, as_kept
from gateway.dialects.responses.prompt import messages
from gateway.store.responses import ResponseStore
from triton_repo.contract.errors import InvalidRequest, RequestError, UnsupportedParameter
from triton_repo.contract.model_card import ModelCard
from triton_repo.contract.sampling import Sampling

_SENT_AS: Final = {"messages": "input", "prompt": "input", "echo": "model"}


class CreateDecision:
    dialect: Final = OPENAI
    body: Final = DecisionRequest
    answer: Final = Decision
    event: Final = None

    def parse(self, fields: dict[str, Any]) -> Call:
        body = parse_body(DecisionRequest, fields)
        if not body.input or any(isinstance(item, ItemReference) for item in body.input):
            raise InvalidRequest("input: must have items of its own, not references to those that are kept", "input")
        num_options = sum(len(question.options) for question in body.questions)
        if num_options > MAX_GENERATIONS:
            rule = f"may have {MAX_GENERATIONS} options together (a predicate has 2), not {num_options}"
            raise InvalidRequest(f"questions: {rule}", "questions")
        return DecisionSession(body, ignored_parameters(fields, DecisionRequest)).call()


class DecisionSession:
    """Makes the prompts of a decision once the engine is known, whose tokenizer they need. Nothing is kept."""

    is_background: Final = False

    def __init__(self, body: DecisionRequest, ignored: str) -> None:
        self._body = body
        self._ignored = ignored
        self._lengths: list[int] = []  # tokens of the labels, by prompt

    def call(self) -> Call:
        sampling = Sampling(max_tokens=1, temperature=0.0, logprobs=0)
        request = AnswerRequest(self._body.model, [PromptText("")], sampling, echo="prompt")
        return Call(request, self._encoder, self._ignored, _SENT_AS, self)

    async def recall(self, _responses: ResponseStore, _owner: str, _max_bytes: int) -> Call:
        return self.call()

    async def fitted(self, call: Call, card: ModelCard, tokenize: Tokenize) -> Call:
        if card.max_prompt_logprobs is None:
            rule = "cannot decide: its engine has no logprobs of prompts (serve.prompt_logprobs of its spec)"
            raise UnsupportedParameter(f"model: {call.model} {rule}", "model")
        effort: Effort | None = "none" if card.reasoning is not None and card.reasoning.switch is not None else None
        model = call.request.model
        prompts: list[Prompt] = []
        known: dict[str, Sequence[int]] = {}  # the tokens of labels
        num_ids = 0
        for question in self._body.questions:
            chat = told(self._chat(question), card, effort, model, override=True)
            asked = await tokenize(model, chat)
            check_fits(PromptIds.of(asked), card)  # before there are as many of it as options
            num_ids += len(asked) * len(question.options)
            if num_ids > MAX_PROMPT_IDS:
                rule = f"the input, read for each option, may have {MAX_PROMPT_IDS} tokens; ask fewer at once"
                raise InvalidRequest(f"questions: {rule}", "questions")
            for label in _labels(len(question.options)):
                if label not in known:
                    known[label] = await tokenize(model, PromptText(label, add_special_tokens=False))
                self._lengths.append(len(known[label]))
                prompts.append(PromptIds.of([*asked, *known[label]]))
        return replace(call, request=replace(call.request, prompts=prompts))

    async def keep(self) -> None:
        pass

    async def begin(self, id: str) -> bytes:
        raise NotImplementedError

    async def fail(self, id: str, error: RequestError) -> bytes:
        raise NotImplementedError

    def _encoder(self, head: Head) -> DecisionEncoder:
        return DecisionEncoder(head, self._body.questions, self._lengths)

    def _chat(self, question: Question) -> Chat:
        labels = _labels(len(question.options))
        asked = [
            text_of(question.instructions),
            *(f"{label}. {option}" for label, option in zip(labels, question.options, strict=True)),
            f"Answer with {labels[0]} to {labels[-1]} alone.",
        ]
        items = [item for item in as_kept(self._body.input, "d") if not isinstance(item, ItemReference)]
        told_so_far = messages(None, items)
        question_text = "\n".join(asked)
        if told_so_far[-1]["role"] == "user":  # templates want turns to alternate
            told_so_far[-1]["content"] += f"\n\n{question_text}"
        else:
            told_so_far.append({"role": "user", "content": question_text})
        return Chat(orjson.dumps({"messages": told_so_far, "tools": None, "template_arguments": {}}))


class DecisionEncoder:
    """Whole answers alone: a decision has no stream."""

    def __init__(self, head: Head, questions: Sequence[Question], lengths: Sequence[int]) -> None:
        self._head = head
        self._questions = questions
        self._lengths = lengths

    def start(self) -> bytes:
        return b""

    def event(self, _: Event) -> bytes:
        return b""

    def finish(self) -> bytes:
        return b""

    def fail(self, _: RequestError) -> bytes:
        return b""

    def whole(self, answer_: WholeAnswer) -> bytes:
        logprobs = iter([_logprob(choice, num) for choice, num in zip(answer_.choices, self._lengths, strict=True)])
        answers = [answer(question, [next(logprobs) for _ in question.options]) for question in self._questions]
        body: Decision = {"model": self._head.model, "answers": answers, "usage": usage_json(answer_.usage)}
        return orjson.dumps(body)


def _labels(num: int) -> Sequence[str]:
    """None is the beginning of another."""
    letters = string.ascii_uppercase
    return letters[:num] if num <= len(letters) else [f"{number:03}" for number in range(1, num + 1)]


def _logprob(choice: WholeChoice, num_tokens: int) -> float:
    """Of the last tokens of a prompt."""
    tokens = (choice.tokens or [])[-num_tokens:]
    return sum(float(orjson.loads(token.entry)["logprob"]) for token in tokens)
