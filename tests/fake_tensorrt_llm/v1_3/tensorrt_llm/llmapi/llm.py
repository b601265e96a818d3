"""Arguments, rejections and errors: tensorrt_llm/llmapi/llm.py@1f064c467a, executor/{base_worker,executor}.py there."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorrt_llm._stand_in.behaviour import Behaviour
from tensorrt_llm._stand_in.executor import Executor
from tensorrt_llm._stand_in.prefix_cache import PrefixCache
from tensorrt_llm._stand_in.results import RequestOutput
from tensorrt_llm._stand_in.serving import Serving, checked_params
from tensorrt_llm._stand_in.tokenizer import adapted_answer, guided_answer, load_tokenizer
from tensorrt_llm.executor.request import DEFAULT_REQUEST_PRIORITY, LoRARequest
from tensorrt_llm.executor.utils import EngineDeadError, RequestError
from tensorrt_llm.llmapi.llm_args import DecodingBaseConfig, NGramDecodingConfig, TorchLlmArgs
from tensorrt_llm.sampling_params import SamplingParams

_ONLY_COMPILED = ("build_config", "batching_type", "normalize_log_probs", "calib_config", "fast_build")


class LLM(Serving):  # type: ignore[misc]  # of a package that mypy does not find
    def __init__(
        self,
        model: str | Path,
        tokenizer: Any = None,
        tokenizer_mode: str = "auto",
        skip_tokenizer_init: bool = False,
        trust_remote_code: bool = False,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        revision: str | None = None,
        tokenizer_revision: str | None = None,
        **kwargs: Any,
    ) -> None:
        assert os.environ.get("PMIX_HOSTNAME", "").startswith("n-"), "MPI_ERR_UNKNOWN: Open MPI 5 cannot spawn"
        for key in kwargs:
            if key in _ONLY_COMPILED or key not in {*TorchLlmArgs.model_fields, "sampler_type"}:
                raise ValueError(f"{self.__class__.__name__} got invalid argument: {key}")
        self.args = TorchLlmArgs.model_validate(
            {
                "model": model,
                "tokenizer": tokenizer,
                "tokenizer_mode": tokenizer_mode,
                "skip_tokenizer_init": skip_tokenizer_init,
                "trust_remote_code": trust_remote_code,
                "tensor_parallel_size": tensor_parallel_size,
                "dtype": dtype,
                "revision": revision,
                "tokenizer_revision": tokenizer_revision,
                **kwargs,
            }
        )
        config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
        if "architectures" not in config:
            raise ValueError(f"{model} is not a HuggingFace checkpoint; engines are no longer run")
        self._tokenizer = None
        if not skip_tokenizer_init:
            self._tokenizer = load_tokenizer(Path(tokenizer or model), has_backend_class=True)
        assert self.args.guided_decoding_backend is None or self._tokenizer is not None
        self._one_model = self._check_speculation()
        self._executor: Executor | None = Executor(
            self.args.max_batch_size or 1,
            self._behaviour(),
            dead=EngineDeadError,
            prefixes=PrefixCache(self.args.kv_cache_config.enable_block_reuse),
        )

    def _check_speculation(self) -> bool:
        """Whether candidates are verified within the model."""
        config: DecodingBaseConfig | None = self.args.speculative_config
        if config is None:
            return False
        if self.args.pipeline_parallel_size > 1:
            raise ValueError("speculative decoding is not supported with pipeline parallelism")
        if config.speculative_model is not None:
            json.loads((Path(config.speculative_model) / "config.json").read_text(encoding="utf-8"))
        if isinstance(config, NGramDecodingConfig):
            assert self.args.disable_overlap_scheduler, "the candidates would follow what was not accepted"
            return False
        return True

    def _behaviour(self) -> Behaviour:
        config = self.args.speculative_config
        return Behaviour(
            hands_over_end_id=True,
            names_alternatives=True,
            sampled_comes_first=True,
            zero_is_the_sampled=True,
            has_logprobs=not self._one_model,
            tells_of_dead_worker=True,
            scores_prompts=True,
            by_priority=self.args.scheduler_config.waiting_queue_policy == "priority",
            tokens_per_step=1 + ((config.max_draft_len or 0) if config else 0),
        )

    def generate_async(
        self,
        inputs: Any,
        sampling_params: SamplingParams | None = None,
        lora_request: Any = None,
        prompt_adapter_request: Any = None,
        streaming: bool = False,
        kv_cache_retention_config: Any = None,
        disaggregated_params: Any = None,
        trace_headers: Mapping[str, str] | None = None,
        _postproc_params: Any = None,
        scheduling_params: Any = None,
        conversation_params: Any = None,
        cache_salt: str | None = None,
        priority: float = DEFAULT_REQUEST_PRIORITY,
    ) -> RequestOutput:
        executor = self._open_executor()
        sampling_params = checked_params(sampling_params, SamplingParams)
        if cache_salt is not None and len(cache_salt.encode()) > 256:
            raise ValueError("cache_salt is too long")
        if not 0 <= priority <= 1:
            raise ValueError(f"priority must be in [0, 1], got {priority}")
        assert isinstance(inputs[0], int)
        self._check_arguments(len(inputs))
        executor.handle_background_error()
        guided = sampling_params.guided_decoding
        assert guided is None or self.args.guided_decoding_backend is not None, "a guide without a backend"
        answer = guided_answer(self._tokenizer, inputs, guided.guides() if guided else [])
        assert streaming, "this stand-in only streams"
        room = self._max_seq_len - len(inputs)
        if sampling_params.max_tokens > room:
            logging.getLogger("tensorrt_llm").warning("max_tokens is reduced to %d", room)
        return executor.submit(
            inputs,
            sampling_params,
            adapted_answer(answer, lora_request),
            complaint=self._complaint(sampling_params, room, lora_request),
            max_tokens=min(sampling_params.max_tokens, room),
            priority=priority,
            salt=cache_salt,
        )

    def _check_health(self) -> bool:
        return self._executor is not None and not self._executor.is_shutdown() and self._executor.fatal is None

    @property
    def _max_seq_len(self) -> int:
        """No sequence is longer than the KV cache."""
        lengths = (self.args.max_seq_len, self.args.kv_cache_config.max_tokens)
        return int(min(length for length in lengths if length is not None))

    def _check_arguments(self, prompt_len: int) -> None:
        max_num_tokens = self.args.max_num_tokens
        if not self.args.enable_chunked_prefill and max_num_tokens and prompt_len > max_num_tokens:
            raise RequestError(f"The sum of prompt length ({prompt_len}) … should not exceed {max_num_tokens}")

    def _complaint(self, params: SamplingParams, room: int, adapter: LoRARequest | None) -> str | None:
        """Why the worker rejects a request."""
        if room < 1:
            return "the prompt leaves no room in max_seq_len"
        if self._one_model and params.changes_logits():
            return "min_p and penalties are not supported with one-model speculative decoding"
        return params.complaint() or (self._complaint_of(adapter) if adapter else None)

    def _complaint_of(self, adapter: LoRARequest) -> str | None:
        config = self.args.lora_config
        try:
            settings = json.loads((Path(adapter.lora_path) / "adapter_config.json").read_text(encoding="utf-8"))
        except OSError as error:
            return f"the adapter does not load: {error}"
        if config is None or not config.lora_target_modules or settings["r"] > config.max_lora_rank:
            return "the adapter does not fit lora_config"
        return None
