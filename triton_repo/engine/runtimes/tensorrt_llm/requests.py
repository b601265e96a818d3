"""How requests are put to the LLM API, and how its answers read. Its classes are looked up as an engine is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from triton_repo.contract.capabilities.capabilities import Capabilities
from triton_repo.contract.logprobs import TokenLogprob
from triton_repo.contract.tensors import NOT_REPORTED, FinishReason
from triton_repo.engine.runtimes.runtime import Generation, TokenDelta
from triton_repo.engine.runtimes.tensorrt_llm.arguments import (
    guide_arguments,
    optional_arguments,
    sampling_arguments,
)

_FINISH_REASONS: Final[Mapping[str | None, FinishReason]] = {None: "", "stop": "stop", "length": "length"}
CANCELLED: Final = "cancelled"


class WrongAnswer(ValueError):
    """An answer of the LLM API that is not what it says of itself; one request fails of it."""


@dataclass(frozen=True, slots=True)
class Requests:
    """The requests of one engine.

    Attributes:
        able: what its flow can do on the LLM API that is installed.
        least_logprobs: what asks for the logprob of the sampled token alone.
        adapters: those that requests may name, by name; another thread may change it.
        make_adapter: the `LoRARequest` of an adapter in a directory, with a number that no other one has had.
        vocab_size: of the model; the ranks of a compiled engine may compute logits for a few ids more.
        pad_id: any id of the vocabulary, since nothing is padded here.
    """

    able: Capabilities
    least_logprobs: int
    adapters: MutableMapping[str, Any]
    make_adapter: Callable[[str, Path], Any]
    vocab_size: int
    pad_id: int = 0

    def adapter_of(self, generation: Generation) -> Any:
        """Raises: KeyError: the engine has no such adapter."""
        name = generation.sampling.lora_name
        return None if name is None else self.adapters[name]

    def start(self, llm: Any, generation: Generation, adapter: Any) -> Any:
        """What `LLM.generate_async` returns. Raises what it raises."""
        from tensorrt_llm import SamplingParams
        from tensorrt_llm.llmapi import GuidedDecodingParams

        sampling = generation.sampling
        guide = guide_arguments(sampling)
        parameters = SamplingParams(
            **sampling_arguments(generation, self.pad_id, self.least_logprobs),
            **self._bias(sampling.logit_bias),
            guided_decoding=GuidedDecodingParams(**guide) if guide else None,
        )
        return llm.generate_async(
            list(generation.input_ids),
            parameters,
            lora_request=adapter,
            streaming=True,
            **optional_arguments(generation, self.able.optional_fields),
        )

    def delta(self, generation: Generation, output: Any) -> TokenDelta:
        """What one response adds to an answer.

        Raises:
            WrongAnswer: it ended for no reason that is known here, or lacks the logprobs that were asked for.
        """
        sequence = output.outputs[0]
        if sequence.finish_reason not in _FINISH_REASONS:
            raise WrongAnswer(f"ended with finish reason {sequence.finish_reason}")
        reason = _FINISH_REASONS[sequence.finish_reason]
        ids = list(sequence.token_ids_diff)
        asked = generation.sampling.logprobs
        logprobs = () if asked is None else self._logprobs(sequence, ids, asked)
        of_prompt = self._of_prompt(generation, sequence) if ids else ()
        if reason == "stop" and sequence.stop_reason is None and not set(ids[-1:]) & set(generation.end_ids):
            ids += generation.end_ids[:1]  # the compiled flow samples the end id and leaves it out
        cached = getattr(output, "cached_tokens", NOT_REPORTED) if self.able.counts_cached_tokens else NOT_REPORTED
        return TokenDelta(generation.key, ids, reason, None, logprobs, int(cached), of_prompt)

    def _bias(self, bias: Mapping[str, float] | None) -> dict[str, Any]:
        """The argument of `SamplingParams`: a tensor over the vocabulary, as trtllm-serve makes it."""
        if not bias:
            return {}
        import torch

        tensor = torch.zeros(self.vocab_size, dtype=torch.float32)
        for id, value in bias.items():
            tensor[int(id)] = value
        return {"embedding_bias": tensor}

    def _of_prompt(self, generation: Generation, sequence: Any) -> Sequence[TokenLogprob]:
        """Those of the prompt, if they are wanted. The LLM API lists them from the second token on, and then that of
        the first token of the answer."""
        num_alternatives = generation.prompt_logprobs
        if num_alternatives is None or len(sequence.token_ids) > len(sequence.token_ids_diff):
            return ()  # or they have been told
        listed = sequence.prompt_logprobs or ()
        if len(listed) != len(generation.input_ids):
            raise WrongAnswer(f"there are {len(listed)} logprobs of a prompt of {len(generation.input_ids)} tokens")
        named = zip(generation.input_ids[1:], listed, strict=False)
        known = [(self._logprob(id, each, num_alternatives), each[id].rank) for id, each in named]
        return [TokenLogprob(None), *(of._replace(rank=rank or 0) for of, rank in known)]

    def _logprobs(self, sequence: Any, ids: Sequence[int], num_alternatives: int) -> list[TokenLogprob]:
        """The logprobs of the new ids, by position: a response without logprobs leaves `logprobs_diff` as it was."""
        by_position = sequence.logprobs[len(sequence.token_ids) - len(ids) :]
        if len(by_position) < len(ids) - bool(sequence.finish_reason):  # that of an end id may be missing
            raise WrongAnswer(f"there are {len(by_position)} logprobs of {len(ids)} tokens")
        named = zip(ids, by_position, strict=False)
        return [self._logprob(id, candidates, num_alternatives) for id, candidates in named]

    def _logprob(self, id: int, candidates: Mapping[int, Any], num_alternatives: int) -> TokenLogprob:
        if id not in candidates:
            raise WrongAnswer("there is no logprob of a token that was sampled")
        # As plain numbers: a value that is none fails this request here, not all the requests of a message later.
        logprobs = {int(other): float(token.logprob) for other, token in candidates.items() if other < self.vocab_size}
        ranked = sorted(logprobs.items(), key=lambda token: token[1], reverse=True)
        return TokenLogprob(logprobs[id], ranked[:num_alternatives])
