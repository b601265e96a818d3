"""From the texts of a request to the token ids that the encoder reads, with the special tokens of its tokenizer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError
from tokenizers import Tokenizer

from triton_repo.contract.errors import ContextLengthExceeded, InvalidRequest
from triton_repo.contract.sampling import invalid_request
from triton_repo.contract.tensors import PROMPT_TOKEN_IDS, TEXT_INPUT, strip_padding
from triton_repo.embed.settings import EncoderConfig
from triton_repo.embed.wire import OPTIONS, TEXT_PAIR, Options

# A text of more bytes for each token that fits is not even tokenized. No language comes near it, but a tokenizer may
# make one token, or none, of a long word or of blanks.
BYTES_PER_TOKEN: Final = 256

Text = str | tuple[str, str]
Values = Mapping[str, Sequence[Sequence[Any]]]  # of each tensor, by its name: the rows


@dataclass(frozen=True, slots=True)
class Tokens:
    """One row: its ids, and the type of each (0 or 1) where the model asks for types."""

    ids: Sequence[int]
    types: Sequence[int]


def read_options(values: Values) -> Options:
    """Raises: InvalidRequest: they are not what `Options` may be."""
    if OPTIONS.name not in values:
        return Options()
    try:
        return Options.model_validate_json(values[OPTIONS.name][0][0])
    except ValidationError as error:
        raise invalid_request(error) from None


class TextReader:
    """Of one encoder. Used by one thread at a time."""

    def __init__(self, tokenizer: Tokenizer, config: EncoderConfig) -> None:
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._config = config
        self._facts = config.facts

    def read(self, values: Values, options: Options) -> list[Tokens]:
        """The tokens of each row.

        Raises:
            InvalidRequest: a row is empty, or of a form that this encoder does not take.
            ContextLengthExceeded: a row has more tokens than the model takes, and is not to be cut.
        """
        limit = self._limit(options)
        if PROMPT_TOKEN_IDS.name in values:
            return [
                self._given(row, limit, options, number) for number, row in enumerate(values[PROMPT_TOKEN_IDS.name])
            ]
        texts = self._texts(values, options)
        if limit is None:
            self._tokenizer.no_truncation()
        else:
            self._tokenizer.enable_truncation(limit, strategy="longest_first", direction=options.truncate_side)
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=True)
        tokens = [Tokens(encoding.ids, encoding.type_ids) for encoding in encodings]
        for number, row in enumerate(tokens):
            self._check_length(len(row.ids), limit, number)
        return tokens

    def _limit(self, options: Options) -> int | None:
        if options.truncate_to is None:
            return None
        most = self._config.max_seq_len
        if options.truncate_to > most:
            rule = f"must be at most {most}, what this model reads"
            raise InvalidRequest(f"truncate_prompt_tokens = {options.truncate_to}: {rule}", "truncate_prompt_tokens")
        limit, special = options.truncate_to or most, self._tokenizer.num_special_tokens_to_add(False)
        if limit <= special:
            rule = f"must be more than {special}: so many tokens are special"
            raise InvalidRequest(f"truncate_prompt_tokens = {limit}: {rule}", "truncate_prompt_tokens")
        return limit

    def _texts(self, values: Values, options: Options) -> list[Text]:
        firsts = [row[0] for row in values.get(TEXT_INPUT.name, ())]
        if not firsts:
            raise InvalidRequest(f"send {TEXT_INPUT.name} or {PROMPT_TOKEN_IDS.name}", TEXT_INPUT.name)
        prompt, cut = self._prompt(options), options.truncate_to is not None
        texts = [prompt + self._decoded(text, cut, options, number) for number, text in enumerate(firsts)]
        if TEXT_PAIR.name not in values:
            return list(texts)
        seconds = [self._decoded(row[0], cut, options, number) for number, row in enumerate(values[TEXT_PAIR.name])]
        return list(zip(texts, seconds, strict=True))

    def _prompt(self, options: Options) -> str:
        name = options.prompt_name or self._facts.default_prompt
        if name is None:
            return ""
        if name not in self._facts.prompts:
            known = ", ".join(self._facts.prompts) or "none"
            raise InvalidRequest(f"prompt_name = {name!r}: the model's prompts are: {known}", "prompt_name")
        return self._facts.prompts[name]

    def _decoded(self, text: bytes, cut: bool, options: Options, number: int) -> str:
        most = self._config.max_seq_len * BYTES_PER_TOKEN
        if len(text) > most and cut:
            text = text[:most] if options.truncate_side == "right" else text[-most:]
            return text.decode(errors="ignore")
        if len(text) > most:
            raise self._too_long(f"{len(text)} bytes of text cannot fit", number)
        try:
            return text.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"row {number}: not valid UTF-8 at byte {error.start}", "input") from error

    def _given(self, row: Sequence[int], limit: int | None, options: Options, number: int) -> Tokens:
        """Token ids are the client's own: nothing is added to them."""
        ids = strip_padding(row)
        if limit is not None and len(ids) > limit:
            ids = ids[:limit] if options.truncate_side == "right" else ids[-limit:]
        self._check_length(len(ids), limit, number)
        size = self._facts.vocab_size
        wrong = next((id for id in ids if not 0 <= id < size), None)
        if wrong is not None:
            rule = f"token id {wrong} is not in the vocabulary of {size}"
            raise InvalidRequest(f"row {number}: {rule}", "input")
        return Tokens(ids, [0] * len(ids))

    def _check_length(self, num_tokens: int, limit: int | None, number: int) -> None:
        if not num_tokens:
            raise InvalidRequest(f"row {number}: there is nothing in it", "input")
        if num_tokens > self._config.max_seq_len:
            raise self._too_long(f"this text has {num_tokens}", number)
        if num_tokens > (limit or math.inf):  # a pair of which the shorter text alone is too long
            raise self._too_long(f"it cannot be cut to {limit}", number)

    def _too_long(self, what: str, number: int) -> ContextLengthExceeded:
        most = self._config.max_seq_len
        message = f"row {number}: this model reads at most {most} tokens of a text, and {what}"
        return ContextLengthExceeded(message, "input")
