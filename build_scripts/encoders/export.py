"""HuggingFace encoder -> OpenVINO IR, compared with transformers. For a child process: it imports torch and OpenVINO.

Of OpenVINO and ONNX Runtime the first is faster on a CPU (`python -m bench.embeddings` measures it), and it is what the
other engines on a CPU need anyway.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from build_scripts.encoders.facts import Reading
from build_scripts.encoders.network import Network, input_names
from build_scripts.spec.embed import EmbedSection
from triton_repo.contract.engine_directory import VERIFIED
from triton_repo.contract.errors import BuildError
from triton_repo.embed.encoder import inputs_of
from triton_repo.embed.settings import FACTS_FILE, MODEL_FILE, EncoderFacts
from triton_repo.embed.texts import Tokens

TOLERANCE: Final = 1e-5  # of a number, in units of the largest one of its row where that is more than 1
_LONGEST: Final = 1024  # tokens of a text that is compared
_UNUSED: Final = "pooler."  # weights of a layer that no pooling here goes through
_FAILURES: Final = (AttributeError, KeyError, IndexError, RuntimeError, TypeError, ValueError, AssertionError)
_ATTENTIONS: Final = ("sdpa", "eager")

logger = logging.getLogger(__name__)


def export_encoder(checkpoint: str, source: str, section: str, output: str) -> None:
    """Write the model, its facts and the result of the comparison into the directory `output`.

    `section` is an EmbedSection as JSON.

    Raises:
        BuildError: the checkpoint cannot be used, or what OpenVINO computes is not what transformers computes.
    """
    reading = Reading(Path(checkpoint), source, EmbedSection.model_validate_json(section))
    failure: Exception = ValueError("no way")
    for attention in _ATTENTIONS:  # not every network can be exported with the first, and computed right
        try:
            _export(load_network(reading, attention), reading, Path(output))
        except _FAILURES as error:
            logger.exception("cannot be exported with %s attention", attention)
            failure = error
        else:
            return
    raise BuildError(f"{source}: cannot be exported: {_first_line(failure)}") from failure


def _export(network: Network, reading: Reading, output: Path) -> None:
    """Raises: ValueError: OpenVINO's numbers are others than transformers'."""
    import openvino

    model, facts = _trace(network, reading.takes_pairs), _facts(reading, network)
    openvino.save_model(model, output / MODEL_FILE, compress_to_fp16=False)
    (output / FACTS_FILE).write_text(facts.model_dump_json(indent=2) + "\n", encoding="utf-8")
    difference, lengths = _compare(network, output / MODEL_FILE, facts)
    if not difference <= TOLERANCE:  # nor if it is not a number
        raise ValueError(f"OpenVINO's numbers are {difference:.2g} from transformers'; at most {TOLERANCE:g}")
    result = {"lengths": lengths, "largest_difference": difference, "tolerance": TOLERANCE}
    (output / VERIFIED).write_text(json.dumps(result) + "\n", encoding="utf-8")


def load_network(reading: Reading, attention: str) -> Network:
    """`attention` is transformers' name of a way to compute it. Raises: BuildError: weights are missing or broken."""
    return Network(_load(reading, attention), reading.modules, reading.directory).eval()


def _load(reading: Reading, attention: str) -> Any:
    from transformers import AutoModel, AutoModelForSequenceClassification

    kind: Any = AutoModelForSequenceClassification if reading.is_classifier else AutoModel
    model, report = kind.from_pretrained(
        reading.directory,
        dtype=torch.float32,
        attn_implementation=attention,
        use_safetensors=True,  # never a pickle
        trust_remote_code=False,  # never a module of the checkpoint
        local_files_only=True,
        output_loading_info=True,
    )
    absent = sorted(name for name in report["missing_keys"] if reading.is_classifier or not name.startswith(_UNUSED))
    if absent:  # transformers would go on with random numbers
        raise BuildError(f"{reading.source}: {len(absent)} weights are missing, the first is {absent[0]}")
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            raise BuildError(f"{reading.source}: {name} has values that are not finite")
    return model


def _trace(network: Network, token_types: bool) -> Any:
    import openvino

    example = inputs_of(_rows([9, 17, 5], network.config.vocab_size), _inputs(token_types))
    tensors = tuple(torch.from_numpy(example[name]) for name in input_names(token_types))
    any_size = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    shapes = tuple(any_size for _ in tensors)
    with torch.no_grad():
        model = openvino.convert_model(torch.export.export(network, tensors, dynamic_shapes=shapes))
    for number, name in enumerate(input_names(token_types)):
        model.input(number).get_tensor().set_names({name})
    return model


def _facts(reading: Reading, network: Network) -> EncoderFacts:
    config = network.config
    inputs = inputs_of(_rows([4], config.vocab_size), _inputs(reading.takes_pairs))
    width = int(_reference(network, inputs, reading.takes_pairs).shape[1])
    modules, given = reading.modules, reading.is_classifier
    return EncoderFacts(
        kind=("rerank" if width == 1 else "classify") if given else "embed",
        width=width,
        vocab_size=config.vocab_size,
        max_tokens=reading.max_tokens,
        usual_tokens=reading.usual_tokens,
        pad_token_id=getattr(config, "pad_token_id", None) or 0,
        token_types=reading.takes_pairs,
        activation=reading.activation(width) if given else "identity",
        normalized=modules.normalized,
        shorter_widths=None if given else reading.shorter_widths(width),
        labels=reading.labels[:width] if given else (),
        prompts=modules.prompts,
        default_prompt=modules.default_prompt,
    )


def _compare(network: Network, file: Path, facts: EncoderFacts) -> tuple[float, list[int]]:
    """The largest difference, over texts of all lengths, alone and padded beside longer ones."""
    import openvino

    model = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    longest = min(facts.max_tokens, _LONGEST)
    lengths = sorted({1, 2, 3, 8, 31, min(100, longest), longest // 2, longest} - {0})
    worst = 0.0
    for batch in ([1], [longest], lengths):
        inputs = inputs_of(_rows([min(length, longest) for length in batch], facts.vocab_size), facts)
        expected = _reference(network, inputs, facts.token_types)
        scale = np.maximum(1, np.abs(expected).max(axis=1, keepdims=True))
        found = float((np.abs(model(inputs)[0] - expected) / scale).max())
        worst = found if not found <= worst else worst
    return worst, lengths


def _reference(network: Network, inputs: dict[str, Any], token_types: bool) -> Any:
    with torch.no_grad():
        return network(*(torch.from_numpy(inputs[name]) for name in input_names(token_types))).numpy()


def _rows(lengths: Sequence[int], vocab_size: int) -> list[Tokens]:
    """Random ids, always the same; the second half of each row is of the second type. No id is that of padding."""
    random = np.random.default_rng(0)
    low = min(1000, vocab_size // 2)
    rows = [random.integers(low, vocab_size, length).tolist() for length in lengths]
    return [Tokens(row, [int(index >= len(row) / 2) for index in range(len(row))]) for row in rows]


def _inputs(token_types: bool) -> EncoderFacts:
    """As much as `inputs_of` asks of facts that are not known yet."""
    return EncoderFacts(
        kind="embed", width=1, vocab_size=1, max_tokens=1, usual_tokens=1, pad_token_id=0, token_types=token_types
    )


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
