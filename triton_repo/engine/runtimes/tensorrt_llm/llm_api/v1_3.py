"""The LLM API from 1.3.0rc26 to 1.4: the PyTorch flow, with one sampler that is not chosen.

Read in NVIDIA/TensorRT-LLM: tensorrt_llm/llmapi/llm_args.py@0004396720, tensorrt_llm/llmapi/llm.py@1f064c467a,
tensorrt_llm/_torch/peft/lora/config.py@04b4c030; pull requests 18232 (the sampler) and 19019 (host names).
"""

from __future__ import annotations

from typing import Final

from triton_repo.engine.runtimes.tensorrt_llm.llm_api.contract import Contract, SpeculativeClass
from triton_repo.engine.runtimes.tensorrt_llm.speculation import (
    draft_arguments,
    ngram_arguments,
    suffix_automaton_arguments,
)

V1_3: Final = Contract(
    api="1.3",
    llm_modules={"pytorch": "tensorrt_llm"},
    pytorch_arguments={"enable_iter_perf_stats": True},
    # Requests of the same priority stay in their order.
    scheduler_arguments={"waiting_queue_policy": "priority"},
    speculation={
        "prompt_lookup": (
            SpeculativeClass("SADecodingConfig", suffix_automaton_arguments),
            # The candidates of n-grams are made on the host, from what the last iteration accepted.
            SpeculativeClass("NGramDecodingConfig", ngram_arguments, {"disable_overlap_scheduler": True}),
        ),
        "draft": (SpeculativeClass("DraftTargetDecodingConfig", draft_arguments("speculative_model")),),
    },
    lora_modules=("tensorrt_llm._torch.peft.lora.config", "tensorrt_llm.lora_helper"),
    least_logprobs=0,
    short_host_name=True,  # Open MPI 5, from rc27 on
)
