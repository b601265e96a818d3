"""A built engine as Triton reads it: `engine.json` and the model repository `triton/`. Cheap: done at every start."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath
from typing import Final

from build_scripts.engine.answer_format import card_format
from build_scripts.engine.encoder_config import encoder_config
from build_scripts.engine.manifest import Manifest
from build_scripts.engine.memory import kv_cache_tokens, memory_need
from build_scripts.spec.engine_spec import EngineSpec
from build_scripts.work.disk import locked, write_file
from triton_repo import model_repository
from triton_repo.contract.capabilities.capabilities import Capabilities
from triton_repo.contract.capabilities.runtimes import capabilities_of
from triton_repo.contract.engine_config import (
    EngineConfig,
    ReplayConfig,
    TensorRtLlmConfig,
)
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.llm_api import installed_llm_api
from triton_repo.contract.model_card import ModelCard
from triton_repo.contract.sampling import GUIDE_FIELDS, MAX_LOGPROBS, Sampling
from triton_repo.embed import config as embed_config
from triton_repo.embed.settings import EncoderConfig
from triton_repo.preprocess.prompt import max_prompt_bytes

# OpenAI's defaults, where neither the spec nor the checkpoint has one.
_OPENAI_SAMPLING: Final = Sampling(temperature=1.0, top_p=1.0, frequency_penalty=0.0, presence_penalty=0.0)
_GREEDY: Final = Sampling(temperature=0.0)


def render(directory: EngineDirectory, manifest: Manifest) -> None:
    """Bring `engine.json` and `triton/` of a built engine up to date; equal files are not touched.

    One process at a time: others may serve the same directory, which may be read-only and need not lie in a store.
    """
    config: EngineConfig | EncoderConfig
    if manifest.spec.runtime == "embed":
        config, config_file = encoder_config(manifest, directory), directory.encoder_config_file
        files = embed_config.render(config)
    else:
        config, config_file = engine_config(manifest, directory), directory.config_file
        files = model_repository.render(config)
    directory.repository.mkdir(exist_ok=True)
    with locked(directory.repository):
        for path, content in files.items():
            write_file(directory.repository / path, content)
        write_file(config_file, (config.model_dump_json(indent=2, exclude_none=True) + "\n").encode())
        _remove_strays(directory.repository, {PurePosixPath(path) for path in files})


def engine_config(manifest: Manifest, directory: EngineDirectory) -> EngineConfig:
    """Everything that the Triton models know of the engine."""
    spec, facts = manifest.spec, manifest.facts
    max_seq_len, tokens = manifest.max_seq_len, kv_cache_tokens(manifest)
    unsupported = _unsupported(spec)
    greedy = _GREEDY if "temperature" in unsupported else Sampling()
    checkpoints = facts.sampling.model_copy(update=dict.fromkeys(unsupported))
    return EngineConfig(
        name=spec.engine,
        runtime=spec.runtime,
        max_seq_len=max_seq_len,
        max_batch_size=spec.build.max_batch_size,
        max_num_tokens=spec.build.max_num_tokens,
        vocab_size=facts.vocab_size,
        eos_token_ids=facts.eos_token_ids,
        dtype=spec.build.dtype,
        kv_cache_dtype=spec.kv_cache_dtype,
        max_tokens_in_paged_kv_cache=tokens or spec.build.max_batch_size * max_seq_len,
        enable_kv_cache_reuse=spec.serve.enable_kv_cache_reuse,
        enable_chunked_context=spec.serve.enable_chunked_context,
        num_threads=spec.serve.num_threads,
        dynamic_quantization_group_size=spec.serve.dynamic_quantization_group_size,
        speculative=spec.speculative.config() if spec.speculative else None,
        flush_interval_s=spec.flush_interval_ms / 1000,
        few_streams_flush_interval_s=spec.few_streams_flush_interval_ms / 1000,
        max_step_s=spec.serve.max_step_s,
        max_gap_s=spec.max_gap_ms / 1000,
        encode_special_tokens=spec.serve.encode_special_tokens,
        prompt_logprobs=bool(spec.serve.prompt_logprobs),
        placement=spec.placement.config(),
        memory=memory_need(manifest, directory),
        sampling=_layered(_OPENAI_SAMPLING, checkpoints, spec.sampling, greedy),
        replay=_replay(spec, directory),
        tensorrt_llm=_tensorrt_llm(spec, tokens) if spec.runtime == "tensorrt_llm" else None,
        card=_card(manifest, directory, unsupported),
    )


def _card(manifest: Manifest, directory: EngineDirectory, unsupported: tuple[str, ...]) -> ModelCard:
    """What clients are told of the engine."""
    spec, able = manifest.spec, _capabilities(manifest.spec)
    mode = spec.speculative.mode if spec.speculative else None
    format, lora = card_format(manifest, directory), spec.build.lora
    return ModelCard(
        max_seq_len=manifest.max_seq_len,
        runtime=manifest.spec.runtime,
        created=manifest.created,
        chat=manifest.chat,
        source=manifest.spec.model,
        unsupported=unsupported,
        max_logprobs=able.max_logprobs,
        max_prompt_logprobs=MAX_LOGPROBS if spec.serve.prompt_logprobs else able.prompt_alternatives(mode),
        logit_bias=able.biases_logits(
            mode, vocab_size=manifest.facts.vocab_size, tensor_parallel=spec.build.tensor_parallel
        ),
        max_prompt_bytes=_max_prompt_bytes(directory, manifest.max_seq_len),
        max_batch_size=manifest.spec.build.max_batch_size,
        kv_cache_tokens=kv_cache_tokens(manifest),
        tool_parser=format.tool_parser,
        reasoning=format.reasoning,
        guides=_guides(manifest.spec, unsupported),
        adapters=tuple(sorted(lora.adapters)) if lora else (),
        max_adapters=lora.room if lora else 0,
    )


def _guides(spec: EngineSpec, unsupported: tuple[str, ...]) -> tuple[str, ...]:
    able = _capabilities(spec)
    backend = able.built_in_guides or spec.serve.guided_decoding_backend
    return () if backend is None or GUIDE_FIELDS[0] in unsupported else able.guides.get(backend, ())


def _max_prompt_bytes(directory: EngineDirectory, max_seq_len: int) -> int | None:
    if not directory.tokenizer_file.is_file():
        return None
    from tokenizers import Tokenizer

    return max_prompt_bytes(Tokenizer.from_file(str(directory.tokenizer_file)), max_seq_len)


def _unsupported(spec: EngineSpec) -> tuple[str, ...]:
    """Sampling fields that requests must leave alone."""
    return _capabilities(spec).unsupported(
        spec.speculative.mode if spec.speculative else None,
        spec.serve.guided_decoding_backend,
        lora=spec.build.lora is not None,
        logprobs=bool(spec.serve.gather_generation_logits),
    )


def _capabilities(spec: EngineSpec) -> Capabilities:
    """Those of its runtime as it is installed here; where it is not, of the latest one."""
    return capabilities_of(spec.runtime, spec.build.flow, installed_llm_api())


def _layered(*layers: Sampling) -> Sampling:
    """Later layers win."""
    values: dict[str, object] = {}
    for layer in layers:
        values |= layer.model_dump(exclude_none=True)
    return Sampling.model_validate(values)


def _replay(spec: EngineSpec, directory: EngineDirectory) -> ReplayConfig | None:
    if spec.replay is None:
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_buffer(directory.tokenizer_file.read_bytes())
    ids = tokenizer.encode(spec.replay.text, add_special_tokens=False).ids
    return ReplayConfig(token_ids=tuple(ids), tokens_per_second=spec.replay.tokens_per_second, echo=spec.replay.echo)


def _tensorrt_llm(spec: EngineSpec, kv_cache_tokens: int | None) -> TensorRtLlmConfig:
    build, serve = spec.build, spec.serve
    given = {
        "capacity_scheduler_policy": serve.capacity_scheduler_policy,
        "kv_cache_free_gpu_memory_fraction": serve.kv_cache_free_gpu_memory_fraction,
        "kv_cache_host_memory_bytes": serve.kv_cache_host_memory_bytes,
        "guided_decoding_backend": serve.guided_decoding_backend,
        "gather_generation_logits": serve.gather_generation_logits,
        "usage_stats": serve.usage_stats,
        "max_tokens_in_paged_kv_cache": kv_cache_tokens,
    }
    shape = {
        "flow": build.flow,
        "tensor_parallel": build.tensor_parallel,
        "pipeline_parallel": build.pipeline_parallel,
        "gpus_per_node": build.gpus_per_node,
        "max_beam_width": build.compile.max_beam_width,
        "lora": {**build.lora.model_dump(), "adapters": tuple(build.lora.adapters)} if build.lora else None,
    }
    return TensorRtLlmConfig.model_validate({key: value for key, value in (shape | given).items() if value is not None})


def _remove_strays(repository: Path, wanted: set[PurePosixPath]) -> None:
    """A model that is no longer rendered must not be loaded."""
    models = {path.parts[0] for path in wanted}
    for path in repository.iterdir():
        if path.name not in models:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in sorted(repository.rglob("*"), reverse=True):
        if path.is_file() and PurePosixPath(path.relative_to(repository)) not in wanted:
            path.unlink(missing_ok=True)
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
