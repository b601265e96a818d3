"""The LLM API of 1.2.1: compiled engines and the PyTorch flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from triton_repo.engine.runtimes.tensorrt_llm.llm_api.contract import Contract, SpeculativeClass
from triton_repo.engine.runtimes.tensorrt_llm.speculation import draft_arguments, lookahead_arguments, ngram_arguments

# Of the two samplers of the PyTorch flow the one verifies candidates. The other one knows the penalties, `min_p` and
# the seed of a request, which the first ignores in silence. With candidates, an iteration begins with what the last
# one accepted.
_CANDIDATES: Final[Mapping[str, Any]] = {"sampler_type": "TorchSampler", "disable_overlap_scheduler": True}

V1_2: Final = Contract(
    api="1.2",
    llm_modules={"compiled": "tensorrt_llm._tensorrt_engine", "pytorch": "tensorrt_llm"},
    pytorch_arguments={"enable_iter_perf_stats": True, "sampler_type": "TRTLLMSampler"},
    scheduler_arguments={},
    speculation={
        "prompt_lookup": (SpeculativeClass("NGramDecodingConfig", ngram_arguments, _CANDIDATES),),
        "draft": (
            SpeculativeClass("DraftTargetDecodingConfig", draft_arguments("speculative_model_dir"), _CANDIDATES),
        ),
        "lookahead": (SpeculativeClass("LookaheadDecodingConfig", lookahead_arguments),),
    },
    lora_modules=("tensorrt_llm.lora_helper", "tensorrt_llm.lora_manager"),
    least_logprobs=1,  # 0 would be none at all
    short_host_name=False,
)
