"""What Triton is told of a built encoder: `encoder.json`."""

from __future__ import annotations

from build_scripts.engine.manifest import Manifest
from build_scripts.engine.memory import memory_need
from build_scripts.spec.embed import EmbedSection
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.model_card import EncoderCard, ModelCard
from triton_repo.embed.settings import EncoderConfig, EncoderFacts


def encoder_config(manifest: Manifest, directory: EngineDirectory) -> EncoderConfig:
    """Everything that the model in Triton knows of the encoder."""
    spec, facts = manifest.spec, EncoderFacts.load(directory.model.path)
    section = spec.embed or EmbedSection()
    return EncoderConfig(
        name=spec.engine,
        max_seq_len=manifest.max_seq_len,
        max_batch_size=spec.build.max_batch_size,
        max_num_tokens=spec.build.max_num_tokens,
        num_threads=spec.serve.num_threads,
        max_step_s=spec.serve.max_step_s,
        preferred_batch_size=section.preferred_batch_size,
        max_queue_delay_microseconds=section.max_queue_delay_microseconds,
        response_cache_bytes=section.response_cache_bytes,
        placement=spec.placement.config(),
        memory=memory_need(manifest, directory),
        facts=facts,
        card=_card(manifest, facts),
    )


def _card(manifest: Manifest, facts: EncoderFacts) -> ModelCard:
    return ModelCard(
        max_seq_len=manifest.max_seq_len,
        runtime=manifest.spec.runtime,
        created=manifest.created,
        source=manifest.spec.model,
        max_batch_size=manifest.spec.build.max_batch_size,
        encoder=EncoderCard(facts.kind, facts.width, facts.shorter_widths, facts.labels, tuple(facts.prompts)),
    )
