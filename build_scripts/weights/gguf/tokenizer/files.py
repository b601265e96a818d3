"""The tokenizer of a GGUF file as HuggingFace's files: tokenizer.json, its configuration, the chat template."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from build_scripts.weights.gguf.metadata import Metadata
from build_scripts.weights.gguf.tokenizer.byte_level import byte_level, splitting
from build_scripts.weights.gguf.tokenizer.sentencepiece import sentencepiece
from build_scripts.weights.gguf.tokenizer.unsplit import unsplit
from build_scripts.weights.gguf.tokenizer.vocabulary import Vocabulary

_MODELS: Final[Mapping[str, Callable[[Vocabulary], dict[str, Any]]]] = {
    "gpt2": byte_level,
    "llama": sentencepiece,
    "gemma4": unsplit,
}
_TEMPLATE: Final = "tokenizer.chat_template"
# HuggingFace's name of a default of sampling -> llama.cpp's key.
_SAMPLING: Final = {
    "temperature": "general.sampling.temp",
    "top_k": "general.sampling.top_k",
    "top_p": "general.sampling.top_p",
    "min_p": "general.sampling.min_p",
    "repetition_penalty": "general.sampling.penalty_repeat",
}


def tokenizer_files(vocabulary: Vocabulary) -> dict[str, bytes]:
    """File name -> content, with generation_config.json.

    Raises:
        BuildError: the tokenizer is of an unknown kind, or broken; names the key.
    """
    meta = vocabulary.meta
    if vocabulary.model not in _MODELS:
        raise meta.error("tokenizer.ggml.model", f"known: {', '.join(_MODELS)}")
    adds_bos = vocabulary.flag("add_bos_token", _adds_bos(vocabulary))
    adds_eos = vocabulary.flag("add_eos_token", default=False)
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": vocabulary.added_tokens(),
        "post_processor": _post_processor(vocabulary, adds_bos, adds_eos),
        **_MODELS[vocabulary.model](vocabulary),
    }
    files = {
        "tokenizer.json": _json(tokenizer, indent=None),
        "tokenizer_config.json": _json(_config(vocabulary, adds_bos, adds_eos)),
        "generation_config.json": _json(_generation(vocabulary)),
    }
    template = meta.text(_TEMPLATE)
    if template is None or _named_templates(meta):  # are in tokenizer_config.json, where a file would hide them
        return files
    return {**files, "chat_template.jinja": template.encode()}


def special_ids(vocabulary: Vocabulary) -> dict[str, Any]:
    """bos_token_id, eos_token_id and pad_token_id, as config.json and generation_config.json have them."""
    ends = vocabulary.ends()
    ids = {"bos_token_id": vocabulary.id("bos_token_id"), "pad_token_id": vocabulary.id("padding_token_id")}
    return {**ids, "eos_token_id": ends[0] if len(ends) == 1 else ends or None}


def _adds_bos(vocabulary: Vocabulary) -> bool:
    return vocabulary.model != "gpt2" or splitting(vocabulary).adds_bos


def _post_processor(vocabulary: Vocabulary, adds_bos: bool, adds_eos: bool) -> dict[str, Any] | None:
    """Puts BOS before a text and EOS after it."""
    before = [vocabulary.id("bos_token_id")] if adds_bos else []
    after = [vocabulary.id("eos_token_id")] if adds_eos else []
    around = [id for id in (*before, *after) if id is not None]
    if not around:
        return None

    def template(texts: tuple[str, ...]) -> list[dict[str, Any]]:
        found = []
        for number, text in enumerate(texts):
            found += [_special(vocabulary, id, number) for id in before if id is not None]
            found.append({"Sequence": {"id": text, "type_id": number}})
            found += [_special(vocabulary, id, number) for id in after if id is not None]
        return found

    tokens = {vocabulary.tokens[id]: {"id": vocabulary.tokens[id], "ids": [id], "tokens": [vocabulary.tokens[id]]}
              for id in around}  # fmt: skip
    return {
        "type": "TemplateProcessing",
        "single": template(("A",)),
        "pair": template(("A", "B")),
        "special_tokens": tokens,
    }


def _special(vocabulary: Vocabulary, id: int, number: int) -> dict[str, Any]:
    return {"SpecialToken": {"id": vocabulary.tokens[id], "type_id": number}}


def _config(vocabulary: Vocabulary, adds_bos: bool, adds_eos: bool) -> dict[str, Any]:
    tokens = {
        "bos_token": vocabulary.token("bos_token_id"),
        "eos_token": vocabulary.token("eos_token_id"),
        "unk_token": vocabulary.token("unknown_token_id"),
        "pad_token": vocabulary.token("padding_token_id"),
    }
    found: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": adds_bos,
        "add_eos_token": adds_eos,
        "clean_up_tokenization_spaces": False,
        **{name: token for name, token in tokens.items() if token is not None},
    }
    named = _named_templates(vocabulary.meta)
    return {**found, "chat_template": named} if named else found


def _named_templates(meta: Metadata) -> list[dict[str, str]]:
    """Those beside the default one, by their names."""
    names = meta.texts("tokenizer.chat_templates") or []
    given = [(name, meta.text(f"{_TEMPLATE}.{name}")) for name in names]
    named = [{"name": name, "template": text} for name, text in given if text is not None]
    default = meta.text(_TEMPLATE)
    return [{"name": "default", "template": default}, *named] if named and default is not None else named


def _generation(vocabulary: Vocabulary) -> dict[str, Any]:
    meta = vocabulary.meta
    given = {name: meta.finite(key) for name, key in _SAMPLING.items() if key in meta.values}
    ids = {name: id for name, id in special_ids(vocabulary).items() if id is not None}
    return {**ids, **({"do_sample": True, **given} if given else {})}


def _json(value: object, indent: int | None = 2) -> bytes:
    return (json.dumps(value, indent=indent, ensure_ascii=False) + "\n").encode()
