"""What each runtime can do, as data: one table per runtime, and per flow and LLM API where it has two.

From these tables follow the rules of an engine spec across its keys, what an engine tells its clients that it cannot do
(`ModelCard.unsupported`, `ModelCard.max_logprobs`), the types of guides that it takes, and the table in
`engines/README.md`. A new runtime is one more table here, one builder, one runtime class, and an entry in each of the
files that `docs/architecture.md` lists.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from triton_repo.contract.capabilities.capabilities import Allowed, Capabilities, Speculation
from triton_repo.contract.errors import SpecError
from triton_repo.contract.llm_api import LlmApi
from triton_repo.contract.sampling import (
    CACHE_SALT_FIELD,
    GUIDE_FIELDS,
    MAX_LOGPROBS,
    PRIORITY_FIELD,
    REQUEST_FIELDS,
    GuideType,
    Sampling,
)

_ONE_PROCESS: Final[Allowed] = {"build.tensor_parallel": (1,), "build.pipeline_parallel": (1,)}
# Of a model whose numbers are computed here, or by TensorRT-LLM; a replay has none.
_MODEL_KEYS: Final = frozenset(
    {
        "speculative",
        "build.dtype",
        "serve.enable_chunked_context",
        "serve.enable_kv_cache_reuse",
        "serve.kv_cache_bytes",
        "serve.max_tokens_in_paged_kv_cache",
    }
)
_TEXT_GUIDES: Final[tuple[GuideType, ...]] = ("json", "json_schema", "regex", "ebnf_grammar")

# OpenVINO GenAI (2026.4) counts the tokens of an answer only once per iteration: with several candidates an iteration,
# it lets an end token pass that `min_tokens` forbids. With a draft, prompts in chunks get wrong answers; with prompt
# lookup, whole prompts make a step fail. It names no alternatives to a token. Its grammars cannot take a token back, as
# candidates that are not accepted would have them do.
_OPENVINO: Final = Capabilities(
    runtime="openvino",
    keys=_MODEL_KEYS
    | frozenset(
        {
            "serve.kv_cache_dtype",
            "serve.num_threads",
            "serve.dynamic_quantization_group_size",
            "serve.max_gap_ms",
            "serve.prompt_logprobs",
            "placement.cpus",
            "build.lora",
        }
    ),
    allowed={**_ONE_PROCESS, "build.quantization": ("none", "int8", "int4")},
    flags=frozenset({"--verify", "--no-verify"}),
    # The engine on the CPU shares it with every message that leaves, and each of its threads waits for the slowest: at
    # 8 streams of 90 M parameters on two cores, 50 ms delivers a sixth more tokens than 10 ms, and a text still flows.
    flush_interval_ms=100.0,
    few_streams_flush_interval_ms=50.0,  # few streams send few messages
    # A step of 512 prompt tokens stops all running streams for longer than a reader takes for a flowing text.
    max_gap_ms=200.0,
    speculation={
        "prompt_lookup": Speculation(
            ("min_tokens", *GUIDE_FIELDS),
            {"serve.enable_chunked_context": (True,), "build.lora": ()},
            logprobs=True,
        ),
        "draft": Speculation(
            ("min_tokens", *GUIDE_FIELDS),
            {"serve.enable_chunked_context": (False,), "build.lora": ()},
            logprobs=True,
        ),
    },
    guides={"xgrammar": (*_TEXT_GUIDES, "structural_tag")},
    built_in_guides="xgrammar",
)

_TENSORRT_LLM_KEYS: Final = _MODEL_KEYS | frozenset(
    {
        "build.lora",
        "build.lora.target_modules",
        "serve.kv_cache_free_gpu_memory_fraction",
        "serve.kv_cache_host_memory_bytes",
        "serve.capacity_scheduler_policy",
        "serve.guided_decoding_backend",
        "serve.usage_stats",
        "placement.gpus",
    }
)
_TENSORRT_LLM_FLAGS: Final = frozenset({"--plan", "--gpu", "--reserve", "--search"})
# A GPU wants wider iterations than a CPU. (An absent `build.dtype` is that of the checkpoint.)
_TENSORRT_LLM_DEFAULTS: Final = {"build.max_batch_size": 256, "build.max_num_tokens": 8192}
# `trtllm-build` (1.2) compiles for external drafts, lookahead, Medusa and EAGLE. Of these the LLM API drives the last
# three, and the last two need heads that are trained for the model. Lookahead takes the likeliest token of the bare
# logits, whatever a request asks for (cpp/tensorrt_llm/layers/lookaheadDecodingLayer.cpp: maxTopK = 1), and what it
# verifies may leave out the token that it took, so there are no logprobs. examples/lookahead lists tensor parallelism,
# and neither pipeline parallelism nor adapters.
_TENSORRT_LLM_COMPILED: Final = Capabilities(
    runtime="tensorrt_llm",
    flow="compiled",
    keys=_TENSORRT_LLM_KEYS
    | {"build.compile", "build.gpus_per_node", "build.moe_expert_parallel", "serve.gather_generation_logits"},
    allowed={"serve.guided_decoding_backend": ("xgrammar",)},
    flags=_TENSORRT_LLM_FLAGS | {"--verify"},
    defaults=_TENSORRT_LLM_DEFAULTS,
    speculation={
        "lookahead": Speculation(
            (
                "temperature",
                "min_tokens",
                "frequency_penalty",
                "presence_penalty",
                "repetition_penalty",
            ),
            {
                "build.pipeline_parallel": (1,),
                "build.lora": (),
                "build.compile.max_beam_width": (1,),
                "serve.guided_decoding_backend": (),
                "serve.gather_generation_logits": (False,),
            },
        )
    },
    guides={"xgrammar": _TEXT_GUIDES},
    logprobs_key="serve.gather_generation_logits",
    max_logprobs=MAX_LOGPROBS,
    logit_bias=True,
    api="1.2",
    optional_fields=(CACHE_SALT_FIELD,),
)

# 1.3 verifies candidates within the model, with a sampler that rejects penalties and `min_p` and leaves out logprobs
# without an error (_torch/speculative), and of which it is not known that it reads seeds and `min_tokens`. Drafting
# fails with pipeline parallelism (docs/source/features/feature-combination-matrix.md@01edceae; in 1.2: issue 9009) and
# is not tested with adapters (in 1.2 it fails: issue 12617).
_CANDIDATES: Final = Speculation(
    ("min_tokens", "min_p", "seed", "frequency_penalty", "presence_penalty", "repetition_penalty"),
    {"build.pipeline_parallel": (1,), "build.lora": ()},
)
# Seeds: the kernels that sample read those of the first request of a batch alone
# (_torch/pyexecutor/sampler/seed_manager.py@2341856e).
_TENSORRT_LLM_PYTORCH: Final = Capabilities(
    runtime="tensorrt_llm",
    flow="pytorch",
    keys=_TENSORRT_LLM_KEYS,
    allowed={"build.quantization": ("none",)},
    flags=_TENSORRT_LLM_FLAGS,
    reasons={"build.quantization": "the checkpoint runs as it is, quantized or not"},
    defaults=_TENSORRT_LLM_DEFAULTS,
    speculation={"prompt_lookup": _CANDIDATES, "draft": _CANDIDATES},
    guides={"xgrammar": (*_TEXT_GUIDES, "structural_tag"), "llguidance": _TEXT_GUIDES},
    max_logprobs=MAX_LOGPROBS,
    max_prompt_logprobs=MAX_LOGPROBS,
    logit_bias=True,
    api="1.3",
    optional_fields=(PRIORITY_FIELD, CACHE_SALT_FIELD),
    repeatable_seeds=False,
    counts_cached_tokens=True,
)
# Of the two samplers of 1.2 the one that verifies candidates knows no penalties, no `min_p` and no seed of a request,
# and the other one names no alternatives to a token.
_TENSORRT_LLM_PYTORCH_1_2: Final = replace(
    _TENSORRT_LLM_PYTORCH,
    api="1.2",
    max_logprobs=0,
    max_prompt_logprobs=None,
    optional_fields=(CACHE_SALT_FIELD,),
    repeatable_seeds=True,
)

_REPLAY: Final = Capabilities(
    runtime="replay",
    keys=frozenset({"replay"}),
    required=("replay",),
    allowed={**_ONE_PROCESS, "build.quantization": ("none",)},
    max_logprobs=MAX_LOGPROBS,
)

# An encoder writes no text: of what other runtimes do with that, it takes nothing.
_EMBED: Final = Capabilities(
    runtime="embed",
    keys=frozenset(
        {
            "embed",
            "serve.num_threads",
            "placement.cpus",
            "placement.rate_limiter",
            "placement.priority_levels",
            "placement.default_priority_level",
        }
    ),
    allowed={
        **_ONE_PROCESS,
        "build.quantization": ("none",),
        "serve.flush_interval_ms": (),
        **{f"sampling.{name}": () for name in Sampling.model_fields if name not in REQUEST_FIELDS},
    },
    # A computation of more rows or tokens is no faster on a CPU, and other texts wait for its end.
    defaults={"build.max_batch_size": 32, "build.max_num_tokens": 1024},
)

# What a spec is checked against: each flow in the latest LLM API that has it.
CAPABILITIES: Final = (_OPENVINO, _TENSORRT_LLM_COMPILED, _TENSORRT_LLM_PYTORCH, _REPLAY, _EMBED)
# What a flow can do in an earlier one: as much or less, and only in what requests may ask for.
IN_EARLIER_APIS: Final = (_TENSORRT_LLM_PYTORCH_1_2,)


def flows_of(runtime: str) -> tuple[Capabilities, ...]:
    """The tables of one runtime; empty where there is no such runtime."""
    return tuple(each for each in CAPABILITIES if each.runtime == runtime)


def capabilities_of(runtime: str, flow: str = "compiled", api: LlmApi | None = None) -> Capabilities:
    """`api` None is the latest one that has the flow.

    Raises:
        SpecError: there is no such runtime, or it has no such flow.
    """
    for each in (*(each for each in IN_EARLIER_APIS if each.api == api), *CAPABILITIES):
        if (each.runtime, each.flow) == (runtime, flow):
            return each
    raise SpecError(f"no runtime {runtime} with flow {flow}")
