"""`[build.lora]`: the LoRA adapters of an engine."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from triton_repo.contract.sampling import ADAPTER_NAME

TargetModule = Literal["attn_q", "attn_k", "attn_v", "attn_dense", "mlp_h_to_4h", "mlp_gate", "mlp_4h_to_h"]
MAX_ADAPTERS: Final = 256
DEFAULT_TARGETS: Final[tuple[TargetModule, ...]] = ("attn_q", "attn_k", "attn_v")


class LoraSection(BaseModel):
    """`[build.lora]`: the LoRA adapters that requests to the engine may name.

    `adapters` maps names to directories as PEFT writes them (relative to the spec, or absolute), in safetensors.
    There is room for `max_loras`: as many as are named here, and those that are loaded while the engine serves.

    No adapter may have a rank above `max_rank`, or on `tensorrt_llm` adapt modules that are not among `target_modules`
    (its own names): both cost memory there whether they are used or not. On `openvino` each adapter is a copy of the
    model beside it, and any linear layer may be adapted.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    adapters: Annotated[
        dict[Annotated[str, Field(pattern=ADAPTER_NAME)], Annotated[str, Field(min_length=1)]],
        Field(max_length=MAX_ADAPTERS),
    ] = {}
    max_loras: Annotated[int, Field(ge=1, le=MAX_ADAPTERS)] | None = None
    max_rank: Annotated[int, Field(ge=1, le=512)] = 64
    target_modules: Annotated[tuple[TargetModule, ...], Field(min_length=1, strict=False)] = DEFAULT_TARGETS

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if self.max_loras is None and not self.adapters:
            raise ValueError("must name adapters, or have max_loras for those that are loaded while it serves")
        if self.max_loras is not None and self.max_loras < len(self.adapters):
            raise ValueError(
                f"max_loras = {self.max_loras}: must be ≥ {len(self.adapters)}, the adapters that it names"
            )
        return self

    @property
    def room(self) -> int:
        """How many adapters there may be at once."""
        return self.max_loras or len(self.adapters)
