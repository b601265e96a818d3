"""The builder of each runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from build_scripts.encoders.builder import EncoderBuilder
from build_scripts.engine.builder import Builder
from build_scripts.openvino.builder import OpenVinoBuilder
from build_scripts.source.checkpoint import Checkpoint
from build_scripts.tensorrt_llm.builder import TensorRtLlmBuilder
from triton_repo.contract.capabilities.capabilities import Runtime


class ReplayBuilder(Builder):
    """Of runtime replay, which has no model: its engines are a tokenizer and a text."""

    def weight_files(self, checkpoint: Checkpoint) -> tuple[str, ...]:  # noqa: ARG002 - the protocol's
        return ()


BUILDERS: Final[Mapping[Runtime, Builder]] = {
    "openvino": OpenVinoBuilder(),
    "tensorrt_llm": TensorRtLlmBuilder(),
    "replay": ReplayBuilder(),
    "embed": EncoderBuilder(),
}
