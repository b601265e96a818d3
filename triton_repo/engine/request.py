"""From the tensors of a Triton request to a checked generation request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import ContextLengthExceeded, InvalidRequest, UnsupportedParameter, from_wire
from triton_repo.contract.logprobs import check_logprobs
from triton_repo.contract.sampling import (
    LOGIT_BIAS_FIELD,
    LOGPROBS_FIELD,
    PROMPT_LOGPROBS_FIELD,
    Sampling,
    TokenId,
    invalid_request,
    without_unsupported,
)
from triton_repo.contract.tensors import (
    CLIP_MAX_TOKENS,
    ECHO,
    END_ID,
    EXCLUDE_INPUT_IN_OUTPUT,
    INPUT_IDS,
    KEEP_SPECIAL,
    REJECTION,
    STOP_SEQUENCES,
    STREAM,
    TOKEN_IDS,
    TOKEN_LENGTHS,
    Echo,
    strip_padding,
)
from triton_repo.engine.features import check_adapter, check_guide, check_whole_prompt, defaults_beside
from triton_repo.engine.sampling_fields import sampling_fields
from triton_repo.tracing.steps import UNTRACED, Step

# Those of one prompt, alternatives included: they travel in one message, of at most some megabytes.
MAX_PROMPT_LOGPROBS: Final = 1 << 16
_TOKEN_SEQUENCES: Final = TypeAdapter(tuple[tuple[TokenId, ...], ...], config=ConfigDict(strict=True))


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One checked request.

    `stop_sequences` are token sequences that end it, each kept in the output. `echo`: the answer
    begins with the prompt, or is the prompt alone. `token_lengths`: the client wants to know how many characters each
    token adds, `token_ids`: which tokens these and those of the prompt are. `keep_special`: special tokens are to be
    part of the text. `trace`: its span, which began when the request came.
    """

    input_ids: Sequence[int]
    max_tokens: int
    end_ids: tuple[int, ...]
    sampling: Sampling
    stop_sequences: tuple[tuple[int, ...], ...] = ()
    stream: bool = False
    echo: Echo = ""
    token_lengths: bool = False
    token_ids: bool = False
    keep_special: bool = False
    trace: Step = UNTRACED

    @property
    def prompt_logprobs(self) -> int | None:
        """How many alternatives to the tokens of the prompt are wanted; None: no logprobs of it."""
        asked = [self.sampling.prompt_logprobs, self.sampling.logprobs if self.echo else None]
        return max((most for most in asked if most is not None), default=None)

    @property
    def lists_end(self) -> bool:
        """The token that ends the answer is listed with the others, though it leaves no text."""
        return self.token_ids or (bool(self.echo) and self.sampling.logprobs is not None)


def parse_request(
    tensors: Mapping[str, Sequence[Any]], parameters: Mapping[str, Any], config: EngineConfig
) -> EngineRequest:
    """Check a request against the engine's limits.

    Args:
        tensors: name -> values of one row of the Triton request.
        parameters: those of the Triton request; unknown names are ignored.

    Raises:
        InvalidRequest: a value is not allowed; its `param` is OpenAI's name for it.
        RequestError: the preprocess step has rejected the row.
    """
    rejection = from_wire(tensors.get(REJECTION.name, [b""])[0].decode(errors="replace"))
    if rejection is not None:
        raise rejection
    given = _parse_sampling(tensors, parameters, config)
    input_ids = _parse_prompt(tensors.get(INPUT_IDS.name, ()), config)
    max_tokens = _max_tokens(given, len(input_ids), config, clips=_parse_flag(parameters, CLIP_MAX_TOKENS))
    sampling = _beside_defaults(given, max_tokens, config.sampling)
    stream = bool(tensors.get(STREAM.name, [False])[0])
    token_ids = _parse_flag(parameters, TOKEN_IDS)
    request = EngineRequest(
        input_ids=input_ids,
        max_tokens=max_tokens,
        end_ids=_end_ids(tensors, sampling, config),
        sampling=sampling,
        stop_sequences=_parse_stop_sequences(tensors),
        stream=stream,
        echo=_echo(parameters) or ("all" if not stream and _parse_echo(tensors, sampling) else ""),
        token_lengths=_parse_flag(parameters, TOKEN_LENGTHS) or token_ids,
        token_ids=token_ids,
        keep_special=_parse_flag(parameters, KEEP_SPECIAL),
    )
    _check_size(request)
    return request


def _check_size(request: EngineRequest) -> None:
    """Raises InvalidRequest if the logprobs of the prompt are too many for one answer."""
    num_top, num_tokens = request.prompt_logprobs, len(request.input_ids)
    if num_top is not None and num_tokens * (1 + num_top) > MAX_PROMPT_LOGPROBS:
        field = PROMPT_LOGPROBS_FIELD if request.sampling.prompt_logprobs is not None else LOGPROBS_FIELD
        raise InvalidRequest(
            f"{field} = {num_top}: the {num_tokens} tokens of the prompt with as many alternatives to each make "
            f"{num_tokens * (1 + num_top)} logprobs; at most {MAX_PROMPT_LOGPROBS} in one answer",
            field,
        )


def _parse_prompt(values: Sequence[int], config: EngineConfig) -> list[int]:
    ids = strip_padding(values)
    if not ids:
        raise InvalidRequest("input_ids: a prompt of at least one token is required", "prompt")
    if len(ids) >= config.max_seq_len:
        raise ContextLengthExceeded(
            f"prompt: {len(ids)} tokens leave no room in the context of {config.max_seq_len}", "prompt"
        )
    check_whole_prompt(len(ids), config)
    _check_vocabulary(ids, config, "prompt")
    return ids


def _parse_sampling(
    tensors: Mapping[str, Sequence[Any]], parameters: Mapping[str, Any], config: EngineConfig
) -> Sampling:
    """What the request itself asks for, checked."""
    try:
        sampling = Sampling.model_validate(sampling_fields(tensors, parameters))
    except ValidationError as error:
        raise invalid_request(error) from error
    sampling = without_unsupported(sampling, config.card.rejected, f"the {config.runtime} runtime")
    _check_vocabulary([*map(int, sampling.logit_bias or ())], config, LOGIT_BIAS_FIELD)
    check_adapter(sampling, config)
    check_logprobs(sampling, config.card, of_prompt=bool(_echo(parameters)))
    return sampling


def _max_tokens(given: Sampling, prompt_tokens: int, config: EngineConfig, *, clips: bool) -> int:
    """The engine's default makes room for the prompt, and for the `min_tokens` of the request."""
    room = config.max_seq_len - prompt_tokens
    if given.max_tokens is None:
        return min(max(config.sampling.max_tokens or room, given.min_tokens or 0), room)
    if given.max_tokens > room:
        if clips:
            return room
        raise ContextLengthExceeded(
            f"max_tokens: this model's maximum context length is {config.max_seq_len} tokens, but {prompt_tokens} in "
            f"the prompt and max_tokens = {given.max_tokens} make {prompt_tokens + given.max_tokens}",
            "max_tokens",
        )
    return given.max_tokens


def _beside_defaults(given: Sampling, max_tokens: int, of_engine: Sampling) -> Sampling:
    """All that counts for the request; the engine's default of `min_tokens` is at most `max_tokens`."""
    if given.min_tokens is not None and given.min_tokens > max_tokens:
        raise InvalidRequest(f"min_tokens = {given.min_tokens}: must be ≤ max_tokens = {max_tokens}", "min_tokens")
    sampling = defaults_beside(given, of_engine).model_copy(update=given.model_dump(exclude_none=True))
    least = None if sampling.min_tokens is None else min(sampling.min_tokens, max_tokens)
    return sampling.model_copy(update={"max_tokens": max_tokens, "min_tokens": least})


def _parse_echo(tensors: Mapping[str, Sequence[Any]], sampling: Sampling) -> bool:
    name = EXCLUDE_INPUT_IN_OUTPUT.name
    echo = not tensors.get(name, [True])[0]
    if echo and sampling.logprobs is not None:
        raise UnsupportedParameter(f"{name} = false: tokens of the prompt have no logprobs; send true", name)
    return echo


def _echo(parameters: Mapping[str, Any]) -> Echo:
    value = parameters.get(ECHO, "")
    if value not in ("", "all", "prompt"):
        raise InvalidRequest(f'{ECHO} = {value!r}: "all" or "prompt" is required', ECHO)
    return value  # type: ignore[no-any-return]


def _parse_flag(parameters: Mapping[str, Any], name: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name} = {value!r}: true or false is required", name)
    return value


def _parse_stop_sequences(tensors: Mapping[str, Sequence[Any]]) -> tuple[tuple[int, ...], ...]:
    """From `preprocess`, or from a client that calls the engine itself."""
    encoded = tensors.get(STOP_SEQUENCES.name)
    if encoded is None:
        return ()
    try:
        sequences = _TOKEN_SEQUENCES.validate_json(encoded[0])
    except ValidationError as error:
        rule = "a JSON list of lists of token ids is required"
        raise InvalidRequest(f"{STOP_SEQUENCES.name}: {rule}", STOP_SEQUENCES.name) from error
    return tuple(sequence for sequence in sequences if sequence)


def _end_ids(tensors: Mapping[str, Sequence[Any]], sampling: Sampling, config: EngineConfig) -> tuple[int, ...]:
    """Ids that end the generation, as its guide allows them. All are in the vocabulary: an engine may index its logits
    with them."""
    end_id = tensors.get(END_ID.name)
    eos = config.eos_token_ids
    if end_id is not None:  # -1 is TensorRT-LLM's "none"
        eos = () if end_id[0] == -1 else tuple(end_id)
        _check_vocabulary(eos, config, END_ID.name)
    stops = sampling.stop_token_ids or ()
    _check_vocabulary(stops, config, "stop_token_ids")
    end_ids = (*(() if sampling.ignore_eos else eos), *stops)
    check_guide(sampling, end_ids, config)
    if sampling.guide is None:
        return end_ids
    # The grammar knows all of the model's end tokens, and lets none go on.
    return tuple(dict.fromkeys((*end_ids, *config.eos_token_ids)))


def _check_vocabulary(ids: Sequence[int], config: EngineConfig, param: str) -> None:
    if ids and not 0 <= min(ids) <= max(ids) < config.vocab_size:
        outside = next(id for id in ids if not 0 <= id < config.vocab_size)
        raise InvalidRequest(f"{param}: token id {outside} is not in 0 … {config.vocab_size - 1}", param)
