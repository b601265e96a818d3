"""What a verification found. Plain values: they cross from the process that has torch to the one that reports."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, computed_field

from triton_repo.contract.sampling import Count


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")


class PromptResult(_Value):
    """One prompt. `worst_position` has the largest difference; `top1` positions have the same likeliest token.

    `scale` is the largest logit, or 1: what sums in another order differ by grows with what is summed.
    """

    name: str
    tokens: Count
    max_abs_diff: float
    worst_position: int
    top1: int
    scale: float = 1.0

    def within(self, tolerance: float) -> bool:
        """Never where a logit is not a number."""
        return self.max_abs_diff <= tolerance * self.scale


class LayerResult(_Value):
    """How far the hidden states after a layer are from transformers', relative to their root mean square."""

    layer: int
    stage: int
    difference: float


class Fault(_Value):
    """Where the shards first compute something else.

    Attributes:
        layer: of the whole model; None is before the first or after the last.
        tensor: TensorRT-LLM's name of it in the files, or the keys of `config.json` that are to blame.
        rows: of the tensor in each of the files, whose values are wrong: some of `num_rows`. Empty is not known.
        difference: relative to the root mean square of what is right; None where rows are compared as they lie there.
    """

    place: str
    layer: int | None
    stage: int
    tp_ranks: tuple[int, ...]
    files: tuple[str, ...]
    tensor: str
    rows: tuple[int, ...] = ()
    num_rows: int = 0
    difference: float | None = None


class Rounding(_Value):
    """What rounding the weights to the shards' dtype does by itself: transformers against transformers."""

    max_abs_diff: float
    top1: int


class Verification(_Value):
    """Shards against their source. `seconds` is the time that it took."""

    source: str
    architecture: str
    dtype: str
    tensor_parallel: Count
    pipeline_parallel: Count
    tolerance: float
    prompts: tuple[PromptResult, ...]
    layers: tuple[LayerResult, ...]
    fault: Fault | None
    rounding: Rounding | None
    seconds: float

    @computed_field  # type: ignore[prop-decorator]
    @property
    def passed(self) -> bool:
        return self.fault is None and self._logits_agree()

    def _logits_agree(self) -> bool:
        return all(prompt.within(self.tolerance) for prompt in self.prompts)

    @property
    def tokens(self) -> int:
        return sum(prompt.tokens for prompt in self.prompts)

    @property
    def max_abs_diff(self) -> float:
        """A difference that is not a number is the largest."""
        differences = [prompt.max_abs_diff for prompt in self.prompts]
        return next((value for value in differences if value != value), max(differences))  # noqa: PLR0124 - NaN

    @property
    def allowed(self) -> float:
        """The largest difference that passes."""
        return self.tolerance * max(prompt.scale for prompt in self.prompts)

    def failure(self) -> str:
        """One sentence that names what is broken."""
        logits = f"logits differ from transformers' by up to {self.max_abs_diff:.2g} (allowed: {self.allowed:.0e})"
        logits = "the logits of these prompts do not show it" if self._logits_agree() else logits
        if self.fault is None:
            return f"{self.source}: {logits}; no single tensor stands out"
        fault = self.fault
        rows = f", {_rows(fault)}" if fault.rows else ""
        ranks = f"tp rank{'s' if len(fault.tp_ranks) > 1 else ''} {', '.join(map(str, fault.tp_ranks))}"
        return f"{self.source}: {fault.place}, {ranks}: {fault.tensor}{rows} in {', '.join(fault.files)}; {logits}"


def _rows(fault: Fault) -> str:
    shown = ", ".join(map(str, fault.rows))
    more = f" and {fault.num_rows - len(fault.rows)} more" if fault.num_rows > len(fault.rows) else ""
    return f"row{'s' if fault.num_rows > 1 else ''} {shown}{more}"
