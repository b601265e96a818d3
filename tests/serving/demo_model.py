"""The demo checkpoint through transformers: the reference that the served answers are held against."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from engines.demo import conversations

CHECKPOINT = Path(conversations.__file__).with_name("checkpoint")
MAX_NEW_TOKENS = 400

Message = dict[str, Any]


@lru_cache(maxsize=1)
def _reference() -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()
    return AutoTokenizer.from_pretrained(CHECKPOINT), model


@lru_cache(maxsize=1)
def questions() -> list[list[Message]]:
    """The messages of every corpus conversation without tools, up to its last answer."""
    corpus = conversations.load()
    plain = [one for one in corpus.conversations() if not one.tools]
    return [list(one.messages[:-1]) for one in plain if one.messages[-1]["role"] == "assistant"]


def prompt_ids(messages: list[Message]) -> list[int]:
    tokenizer, _ = _reference()
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return list(tokenizer.encode(text, add_special_tokens=False))


@torch.inference_mode()
def greedy_ids(ids: list[int], max_new_tokens: int = MAX_NEW_TOKENS) -> list[int]:
    """transformers' greedy continuation in float32, EOS included when it comes."""
    _, model = _reference()
    batch = torch.tensor([ids])
    output = model.generate(
        batch, attention_mask=torch.ones_like(batch), do_sample=False, max_new_tokens=max_new_tokens, use_cache=True
    )
    return list(output[0, len(ids) :].tolist())


@torch.inference_mode()
def logprobs(prompt: list[int], answer: list[int]) -> list[float]:
    """Of each token of an answer, in float32: before temperature, penalties and top_p."""
    _, model = _reference()
    logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    of_all = torch.log_softmax(logits, dim=-1)
    return [float(of_all[place, id]) for place, id in enumerate(answer)]


def encode(text: str) -> list[int]:
    tokenizer, _ = _reference()
    return list(tokenizer.encode(text, add_special_tokens=False))


def decode(ids: list[int]) -> str:
    tokenizer, _ = _reference()
    return str(tokenizer.decode(ids, skip_special_tokens=True))


def eos_id() -> int:
    tokenizer, _ = _reference()
    return int(tokenizer.eos_token_id)
