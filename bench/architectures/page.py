"""`docs/models.md`, written from the measurement that is kept beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from bench.architectures.trial import Result

MEASURED: Final = Path(__file__).with_name("measured.json")
PAGE: Final = Path(__file__).parents[2] / "docs" / "models.md"

_HEAD: Final = """# Models on the CPU engine

Written by `.venv/bin/python -m bench.architectures`, which makes a small random checkpoint of each architecture and
builds it as `conch build` does. Each build compares the engine with transformers before it is published: the logprobs
of every token of prompts of 1 to 160 tokens and more (longer than every window), and of greedy answers, through the
pipeline that serves, in float32. A build whose engine computes something else is an error and publishes nothing.

Your own builds are compared in the same way where the model has less than a billion parameters and memory allows;
`conch build --verify` compares larger ones too, `--no-verify` none. Weights are compressed after the comparison (a
wrong mask cannot be told from the noise of int4), and the engine is then run as it is served. A window of more than
1,160 tokens is not left by the prompts.

Measured on {date} with {versions}.

- **optimum-intel** exports the architectures that it knows; what it says of transformers' newest version is left to
  the comparison.
- **decoder** is Conch's own export (`build_scripts/openvino/decoder.py`), for every other causal language model whose
  state is the keys and values of attention, and for those on which optimum-intel fails. So an architecture that is not
  listed here may well build; if it does, it has been compared too.

What else decides whether a checkpoint can be built: its weights are in full or half precision (safetensors, `.bin` or
GGUF), and its code is transformers' own. Quantized ones are known by `quantization_config`, `compression_config` or
`quantization` (MLX) in `config.json`, by `hf_quant_config.json`, `quantize_config.json` or `quant_config.json`, and by
their dtypes. A weight in a layer of the model that its configuration has no place for (a scale, a bias, a norm) is an
error; heads of other tasks and layers that only predict further tokens are left out. A longrope context is cut to the
length that the model was first trained with (`original_max_position_embeddings`).

An engine that is not compared is not built where the model is one of those that are exported wrong (below).

## Equal to transformers: {right} of {total}

| architecture | class | exported by | largest difference of a logprob |
|---|---|---|---|
"""
_REJECTED: Final = """
## Rejected at build: {wrong} of {total}

| architecture | class | reason |
|---|---|---|
"""


class Measurement(BaseModel):
    """All results of one run; `versions` are of the packages that decide them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    date: str
    versions: dict[str, str]
    results: tuple[Result, ...]

    @classmethod
    def load(cls) -> Measurement:
        return cls.model_validate_json(MEASURED.read_bytes())

    def save(self) -> None:
        text = self.model_dump_json(indent=1, exclude_none=True)
        MEASURED.write_text(text + "\n", encoding="utf-8")


def page(measurement: Measurement) -> str:
    """The whole text of `docs/models.md`."""
    right = [result for result in measurement.results if result.reason is None]
    wrong = [result for result in measurement.results if result.reason is not None]
    versions = ", ".join(f"{name} {version}" for name, version in measurement.versions.items())
    total = len(measurement.results)
    text = _HEAD.format(date=measurement.date, versions=versions, right=len(right), total=total)
    for each in right:
        text += f"| {each.name} | `{each.model_class}` | {each.way} | {each.largest_difference:.1e} |\n"
    text += _REJECTED.format(wrong=len(wrong), total=total)
    for each in wrong:
        text += f"| {each.name} | `{each.model_class}` | {each.reason} |\n"
    return text
