from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from tensorrt_llm._stand_in.behaviour import Behaviour
from tensorrt_llm._stand_in.executor import Executor
from tensorrt_llm._stand_in.prefix_cache import PrefixCache
from tensorrt_llm._stand_in.results import RequestOutput
from tensorrt_llm._stand_in.serving import Serving, checked_params
from tensorrt_llm._stand_in.tokenizer import adapted_answer, guided_answer, load_tokenizer
from tensorrt_llm.executor.request import LoRARequest
from tensorrt_llm.llmapi.llm_args import (
    BaseLlmArgs,
    LookaheadDecodingConfig,
    NGramDecodingConfig,
    TorchLlmArgs,
    TrtLlmArgs,
)
from tensorrt_llm.sampling_params import SamplingParams

COMPILED = Behaviour(hands_over_end_id=False, names_alternatives=True)
TRTLLM_SAMPLER = Behaviour(hands_over_end_id=False, names_alternatives=False)
TORCH_SAMPLER = Behaviour(hands_over_end_id=True, names_alternatives=False)


class BaseLLM(Serving):  # type: ignore[misc]  # of a package that mypy does not find
    args_class: ClassVar[type[BaseLlmArgs]]
    guided_decoding_backends: ClassVar[tuple[str, ...]]

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
        for key in kwargs:
            if key not in self.args_class.model_fields:
                raise ValueError(f"{self.__class__.__name__} got invalid argument: {key}")
        self.args = self.args_class.model_validate(
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
        self._tokenizer = None
        if not skip_tokenizer_init:
            self._tokenizer = load_tokenizer(Path(tokenizer or model), has_backend_class=False)
        if self.args.guided_decoding_backend is not None:
            assert self._tokenizer is not None
            if self.args.guided_decoding_backend not in self.guided_decoding_backends:
                raise ValueError(f"Unsupported guided decoding backend {self.args.guided_decoding_backend}")
        self.config = json.loads((Path(model) / "config.json").read_text())
        behaviour = replace(self._behaviour(), tokens_per_step=1 + self._check_speculation())
        # The results of the C++ executor of compiled engines do not tell what was cached: it is 0 there.
        prefixes = PrefixCache(self.args.kv_cache_config.enable_block_reuse and self.args_class is TorchLlmArgs)
        self._executor: Executor | None = Executor(
            self.args.max_batch_size or 1, behaviour, dead=ConnectionError, prefixes=prefixes
        )

    def _check_speculation(self) -> int:
        """How many candidates an iteration verifies."""
        config = self.args.speculative_config
        if config is None:
            return 0
        backend = "pytorch" if self.args_class is TorchLlmArgs else "tensorrt"
        if not config.supports_backend(backend):
            raise ValueError(f"Speculation type {type(config).__name__} does not support backend {backend}")
        if isinstance(config, LookaheadDecodingConfig):
            draft_len = config.calculate_speculative_resource()[2]
            assert draft_len == self.config["build_config"]["max_draft_len"], "compiled for another lookahead"
            return int(config.max_ngram_size) - 1
        assert isinstance(self.args, TorchLlmArgs)
        assert config.max_draft_len is not None
        assert config.max_draft_len > 0
        assert self.args.sampler_type != "TRTLLMSampler", "it would verify nothing"
        if not isinstance(config, NGramDecodingConfig):
            assert config.speculative_model is not None, "Path to draft model must be specified."
            json.loads((Path(config.speculative_model) / "config.json").read_text())
        return int(config.max_draft_len)

    def generate_async(
        self,
        inputs: Any,
        sampling_params: SamplingParams | None = None,
        lora_request: Any = None,
        prompt_adapter_request: Any = None,
        streaming: bool = False,
        kv_cache_retention_config: Any = None,
        disaggregated_params: Any = None,
        _postproc_params: Any = None,
        scheduling_params: Any = None,
        cache_salt: str | None = None,
    ) -> RequestOutput:
        executor = self._open_executor()
        sampling_params = checked_params(sampling_params, SamplingParams)
        assert isinstance(inputs[0], int)
        self._check_arguments(len(inputs), sampling_params)
        if isinstance(self.args.speculative_config, LookaheadDecodingConfig):
            assert sampling_params.top_k == 1, "lookahead would ignore how the token is to be chosen"
        executor.handle_background_error()
        if sampling_params.embedding_bias is not None:  # it is compared with the logits, which are float32
            vocab_size = self.config.get("pretrained_config", self.config)["vocab_size"]
            assert tuple(sampling_params.embedding_bias.shape) == (vocab_size,)
            assert str(sampling_params.embedding_bias.dtype) == "torch.float32"
            assert self.args.speculative_config is None, "candidates would be verified without it"
        if lora_request is not None:
            assert isinstance(lora_request, LoRARequest)
            self._check_adapter(lora_request)
        # Without a backend the PyTorch flow of 1.2.1 drops a guide in silence.
        guided = self.args.guided_decoding_backend is not None and sampling_params.guided_decoding
        answer = guided_answer(self._tokenizer, inputs, guided.guides() if guided else [])
        assert streaming, "this stand-in only streams"
        return executor.submit(
            inputs,
            sampling_params,
            adapted_answer(answer, lora_request),
            complaint=sampling_params.complaint(),
            salt=cache_salt,
        )

    def _check_adapter(self, request: LoRARequest) -> None:
        adapter = json.loads((Path(request.lora_path) / "adapter_config.json").read_text())
        if self.args_class is TorchLlmArgs:
            assert self.args.lora_config is not None, "the PyTorch flow would ignore the adapter"
            assert self.args.lora_config.lora_target_modules
            assert adapter["r"] <= self.args.lora_config.max_lora_rank
        else:
            assert self.config["build_config"]["lora_plugin"], "the engine has no LoRA plugin"
            assert adapter["r"] <= self.config["build_config"]["max_lora_rank"]

    def _behaviour(self) -> Behaviour:
        raise NotImplementedError

    def _check_arguments(self, prompt_len: int, sampling_params: SamplingParams) -> None:
        raise NotImplementedError


class TrtLLM(BaseLLM):
    args_class = TrtLlmArgs
    guided_decoding_backends = ("xgrammar",)

    def __init__(self, model: str | Path, *args: Any, **kwargs: Any) -> None:
        super().__init__(model, *args, **kwargs)
        mapping = self.config["pretrained_config"]["mapping"]
        for size in ("tp_size", "pp_size"):
            given = {"tp_size": self.args.tensor_parallel_size, "pp_size": self.args.pipeline_parallel_size}[size]
            if given not in (1, mapping[size]):
                raise ValueError(f"{size} {given} is not consistent with the engine's {size} {mapping[size]}")
        for rank in range(mapping["world_size"]):
            (Path(model) / f"rank{rank}.engine").read_bytes()

    def _behaviour(self) -> Behaviour:
        return COMPILED

    def _check_arguments(self, prompt_len: int, sampling_params: SamplingParams) -> None:
        max_seq_len = self.config["build_config"]["max_seq_len"]
        if not self.args.enable_chunked_prefill and prompt_len + sampling_params.max_tokens > max_seq_len:
            raise ValueError(f"The sum of prompt length ({prompt_len}) … should not exceed max_seq_len ({max_seq_len})")
        if sampling_params.logprobs and not self.args.gather_generation_logits:
            raise ValueError(
                f"`sampling_params.logprobs={sampling_params.logprobs}` requires `gather_generation_logits=True` "
                "to be passed explicitly to the `LLM()` constructor."
            )


class LLM(BaseLLM):
    args_class = TorchLlmArgs
    guided_decoding_backends = ("xgrammar", "llguidance")

    def __init__(self, model: str | Path, *args: Any, **kwargs: Any) -> None:
        compiled_only = set(TrtLlmArgs.model_fields) - set(TorchLlmArgs.model_fields)
        if strangers := [key for key in kwargs if key in compiled_only]:
            raise ValueError(
                "The following arguments are specific to TensorRT backend and cannot be used with PyTorch backend: "
                f"{strangers}.\nPlease use 'from tensorrt_llm._tensorrt_engine import LLM' instead."
            )
        super().__init__(model, *args, **kwargs)
        if "architectures" not in self.config:
            raise ValueError(f"{model} is not a HuggingFace checkpoint")
        # transformers 4.57 takes 10000.0 where there is none, without a word, and knows no `rope_parameters`.
        assert "rope_theta" in self.config or "rope_parameters" not in self.config, "theta would be 10000"

    def _behaviour(self) -> Behaviour:
        assert isinstance(self.args, TorchLlmArgs)
        return TRTLLM_SAMPLER if self.args.sampler_type == "TRTLLMSampler" else TORCH_SAMPLER

    def _check_arguments(self, prompt_len: int, sampling_params: SamplingParams) -> None:
        max_num_tokens = self.args.max_num_tokens
        if not self.args.enable_chunked_prefill and max_num_tokens and prompt_len > max_num_tokens:
            raise ValueError(f"The sum of prompt length ({prompt_len}) … should not exceed {max_num_tokens}")
