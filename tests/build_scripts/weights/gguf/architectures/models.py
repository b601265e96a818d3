"""Random models of transformers, and how far what is read from a GGUF file computes something else."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers

from build_scripts.source.convert import convert
from tests.build_scripts.weights.gguf.architectures.cases import CASES
from tests.build_scripts.weights.gguf.architectures.values import SIZES

_CORRECTIONS = ("e_score_correction_bias", "expert_bias", "layer_scalar")  # buffers, and no parameters


def model_of(case: str) -> Any:
    """The same for the same case, in float32."""
    torch.manual_seed(7)
    kind, values = CASES[case].kind, CASES[case].values
    config_class = getattr(transformers, f"{kind}TextConfig" if kind in {"Gemma3", "Gemma4"} else f"{kind}Config")
    model: Any = transformers.AutoModelForCausalLM.from_config(
        config_class(**{**SIZES, **values}), attn_implementation="eager"
    ).float()
    # transformers starts biases at zero and norms at one, which would hide a mistake.
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("bias", "scale")) or "norm" in name or ".ln_" in name:
                weight.copy_(torch.rand_like(weight) + 0.5)
            elif kind == "BitNet" and weight.dim() == 2 and "layers" in name:  # two values, which ternary ones hold
                weight.copy_(weight.sign() * 0.2)
        for name, buffer in model.named_buffers():
            if name.endswith(_CORRECTIONS):
                buffer.copy_(torch.rand_like(buffer))
    return model.eval()


def difference(model: Any, path: Path) -> float:
    """The largest one of a logit, between `model` and what is read from the GGUF file at `path`."""
    with tempfile.TemporaryDirectory() as folder:
        convert("hf", str(path), Path(folder) / "hf")
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            Path(folder) / "hf", dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
    found, report = loaded
    assert not report["missing_keys"], report["missing_keys"]
    assert not report["unexpected_keys"], report["unexpected_keys"]
    torch.manual_seed(3)
    ids = torch.randint(3, SIZES["vocab_size"], (1, 80))
    with torch.no_grad():
        expected, logits = model(ids, use_cache=False).logits, found.eval()(ids, use_cache=False).logits
    assert expected.abs().max() > 0.3
    return float((logits - expected).abs().max())
