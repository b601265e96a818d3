"""What the largest rank of a split model takes of its GPU, as the manifest keeps it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt


class RankSizes(BaseModel):
    """`state_bytes`: of recurrent layers, for one sequence of any length."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    weight_bytes: NonNegativeInt
    working_bytes: NonNegativeInt
    kv_bytes_per_token: NonNegativeFloat
    state_bytes: NonNegativeInt = 0

    def tokens_in(self, num_bytes: int, num_sequences: int) -> int:
        """How many tokens of so many sequences the KV cache of a rank holds."""
        left = max(0, num_bytes - num_sequences * self.state_bytes)
        return int(left / self.kv_bytes_per_token) if self.kv_bytes_per_token else 0

    def bytes_of(self, num_tokens: int, num_sequences: int) -> int:
        return int(num_tokens * self.kv_bytes_per_token) + num_sequences * self.state_bytes
