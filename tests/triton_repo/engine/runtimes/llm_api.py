"""A runtime over the LLM API on a stand-in that rejects what the real one rejects."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.fake_tensorrt_llm import Version
from triton_repo.contract.engine_config import EngineConfig, Flow, TensorRtLlmConfig
from triton_repo.contract.model_card import ModelCard
from triton_repo.contract.sampling import Sampling
from triton_repo.engine.runtimes.runtime import AsynchronousRuntime, Generation, Runtime, TokenDelta
from triton_repo.engine.runtimes.tensorrt_llm.engine import Installed

END, OTHER_END = 1, 2
PROMPT = [10, 11, 12, 13, 14]
LOOP_DIES, FAILS, DIES = 317, 318, 319  # token ids that the stand-ins fail on
GREEDY = Sampling(temperature=0.0)
WAIT_S = 120
FOUND = Installed("1.2.1", "9.0")
EARLIER: Version = "1.2.1"
LATEST: Version = "1.4.0rc1"
FLOWS: tuple[tuple[Version, Flow], ...] = ((EARLIER, "compiled"), (EARLIER, "pytorch"), (LATEST, "pytorch"))


def engine_config(**settings: Any) -> EngineConfig:
    values: dict[str, Any] = {
        "name": "tiny",
        "runtime": "tensorrt_llm",
        "max_seq_len": 64,
        "max_batch_size": 16,
        "max_num_tokens": 64,
        "vocab_size": 258,
        "eos_token_ids": (END,),
        "dtype": "float16",
        "kv_cache_dtype": "float16",
        "max_tokens_in_paged_kv_cache": 1024,
        "tensorrt_llm": TensorRtLlmConfig(),
        "card": ModelCard(64, "tensorrt_llm", 0, False, "tiny"),
    }
    return EngineConfig.model_validate({**values, **settings})


def write_model(model: Path, version: str = "1.2.1", tp: int = 1, pp: int = 1) -> Path:
    """The model directory of a built engine: a compiled engine and, for the other flow, a checkpoint."""
    engine, checkpoint = model / "engine", model / "checkpoint"
    engine.mkdir(parents=True)
    checkpoint.mkdir()
    mapping = {"world_size": tp * pp, "tp_size": tp, "pp_size": pp}
    pretrained = {"mapping": mapping, "vocab_size": 258}
    config = {"version": version, "pretrained_config": pretrained, "build_config": {"max_seq_len": 64}}
    (engine / "config.json").write_text(json.dumps(config))
    for rank in range(tp * pp):
        (engine / f"rank{rank}.engine").write_bytes(b"")
    (checkpoint / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "vocab_size": 258}))
    return model


def collect(runtime: Runtime, until: Callable[[Sequence[TokenDelta]], bool]) -> list[TokenDelta]:
    """Step whenever the runtime says that something has arrived, as the engine loop does."""
    assert isinstance(runtime, AsynchronousRuntime)
    woken = threading.Event()
    runtime.on_arrival(woken.set)
    deltas: list[TokenDelta] = []
    deadline = time.monotonic() + WAIT_S
    while not until(deltas):
        if runtime.idle_s() is None:
            assert woken.wait(deadline - time.monotonic()), deltas
        woken.clear()
        deltas += runtime.step()
    return deltas


def drain(runtime: Runtime, *keys: int) -> list[TokenDelta]:
    return collect(runtime, lambda deltas: all(ended(deltas, key) for key in keys))


def ended(deltas: Sequence[TokenDelta], key: int) -> bool:
    return any(delta.key == key and (delta.finish_reason or delta.error) for delta in deltas)


def generation(
    key: int = 1, prompt: Sequence[int] = PROMPT, max_tokens: int = 20, sampling: Sampling = GREEDY
) -> Generation:
    return Generation(key, prompt, max_tokens, (END, OTHER_END), sampling)
