"""The draft model of `[speculative]`: a small checkpoint of the same vocabulary, exported beside the engine's model."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from build_scripts.architectures import UnknownArchitecture, decoder_of, without_rope
from build_scripts.openvino import export as openvino_export
from build_scripts.source.checkpoint import Checkpoint, CheckpointFacts, resolve
from build_scripts.source.tokenizer import TOKENIZER, write_tokenizer
from build_scripts.spec.engine_spec import EngineSpec
from build_scripts.spec.errors import spec_error
from build_scripts.tensorrt_llm.sharding.limits import broken_tp_rule
from build_scripts.weights.huggingface import Format, read_config
from build_scripts.work import progress
from build_scripts.work.child import Child
from triton_repo.contract.errors import SpecError

_KEY = "speculative.draft_model"


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft's checkpoint, and where the spec that names it was read."""

    checkpoint: Checkpoint
    facts: CheckpointFacts
    origin: str

    def refusal(self, rule: str) -> SpecError:
        return spec_error(self.origin, _KEY, self.checkpoint.source, rule)


def find_draft(  # noqa: PLR0913, PLR0917 - the model that it must go with, and where to look
    spec: EngineSpec, facts: CheckpointFacts, sequence_length: int, base: Path, origin: str, formats: Sequence[Format]
) -> Draft | None:
    """The draft that the spec names, if any, after every rule that needs no tokenizer. See `resolve` for `formats`.

    Raises:
        SpecError: it does not go with the model of `facts`.
        BuildError: it cannot be found or used.
    """
    if spec.speculative is None or spec.speculative.draft_model is None:
        return None
    checkpoint = resolve(spec.speculative.draft_model, base, formats)
    draft = Draft(checkpoint, checkpoint.facts(), origin)
    if draft.facts.vocab_size != facts.vocab_size:
        raise draft.refusal(
            f"must have the model's vocabulary: {facts.vocab_size} tokens, not {draft.facts.vocab_size}"
        )
    limit = draft.facts.max_position_embeddings
    if limit is not None and limit < sequence_length:
        raise draft.refusal(f"its max_position_embeddings, {limit}, must be ≥ build.max_seq_len, {sequence_length}")
    if spec.build.tensor_parallel > 1:
        _check_split(draft, spec.build.tensor_parallel)
    return draft


def _check_split(draft: Draft, tp_size: int) -> None:
    """A draft is split as its model is."""
    try:
        config = read_config(draft.checkpoint.directory, draft.checkpoint.source)
        decoder = decoder_of(without_rope(config), draft.checkpoint.source)
    except UnknownArchitecture:  # TensorRT-LLM's own code splits it
        return
    if (rule := broken_tp_rule(decoder, tp_size)) is not None:
        raise draft.refusal(f"build.tensor_parallel = {tp_size} {rule} of the draft")


def check_vocabulary(draft: Draft, tokenizer: Path, scratch: Path, log: Path) -> None:
    """Compare every token of the draft with those of the engine's `tokenizer`; `scratch` is a directory to use.

    Raises:
        SpecError: an id means one token to the draft and another one to the model.
        BuildError: the draft's tokenizer cannot be read.
    """
    from tokenizers import Tokenizer

    with progress.step("draft's vocabulary"):
        write_tokenizer(draft.checkpoint, scratch, log)
        files = [str(path / TOKENIZER) for path in (tokenizer, scratch)]
        ours, theirs = (Tokenizer.from_file(file).get_vocab(with_added_tokens=True) for file in files)
        shutil.rmtree(scratch)
    strangers = sorted(ours.items() ^ theirs.items(), key=lambda token: (token[1], token[0]))
    if strangers:
        text, number = strangers[0]
        whose = "the model" if ours.get(text) == number else "the draft"
        raise draft.refusal(f"must have the model's vocabulary: token {number} is {text!r} in {whose} alone")


def write_tokenizers(tokenizer: Path, models: list[Path], log: Path) -> None:
    """The engine's tokenizer in OpenVINO's form beside each model: with a draft, the pipeline wants to compare them."""
    with progress.step("tokenizer for the draft"):
        Child("tokenizer", log).call(openvino_export.export_tokenizer, str(tokenizer), [str(path) for path in models])
