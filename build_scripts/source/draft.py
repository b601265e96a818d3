"""The draft model of `[speculative]`: a small checkpoint of the same vocabulary, built into the same engine."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from build_scripts.source.checkpoint import Checkpoint, CheckpointFacts
from build_scripts.source.tokenizer import write_tokenizer
from build_scripts.spec.errors import spec_error
from build_scripts.vocabulary.files import TOKENIZER
from build_scripts.work import progress
from triton_repo.contract.errors import SpecError

_KEY = "speculative.draft_model"


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft's checkpoint, and where the spec that names it was read."""

    checkpoint: Checkpoint
    facts: CheckpointFacts
    origin: str

    def error(self, rule: str) -> SpecError:
        return spec_error(self.origin, _KEY, self.checkpoint.source, rule)


def check_draft(checkpoint: Checkpoint, facts: CheckpointFacts, sequence_length: int, origin: str) -> Draft:
    """The draft in `checkpoint`, after every rule that needs no tokenizer.

    Raises:
        SpecError: it does not go with the model of `facts`.
        BuildError: it cannot be used.
    """
    draft = Draft(checkpoint, checkpoint.facts(), origin)
    if draft.facts.vocab_size != facts.vocab_size:
        raise draft.error(f"must have the model's vocabulary: {facts.vocab_size} tokens, not {draft.facts.vocab_size}")
    limit = draft.facts.max_position_embeddings
    if limit is not None and limit < sequence_length:
        raise draft.error(f"its max_position_embeddings, {limit}, must be ≥ build.max_seq_len, {sequence_length}")
    return draft


def check_vocabulary(draft: Draft, tokenizer: Path, scratch: Path, log: Path) -> None:
    """Compare every token of the draft with those of the engine's `tokenizer`; `scratch` is a directory to use.

    Raises:
        SpecError: an id means one token to the draft and another one to the model.
        BuildError: the draft's tokenizer cannot be read.
    """
    from tokenizers import Tokenizer

    with progress.step("draft's vocabulary"):
        write_tokenizer(draft.checkpoint, draft.facts.vocab_size, scratch, log)
        files = [(path / TOKENIZER).read_bytes() for path in (tokenizer, scratch)]
        ours, theirs = (Tokenizer.from_buffer(file).get_vocab(with_added_tokens=True) for file in files)
        shutil.rmtree(scratch)
    different = sorted(ours.items() ^ theirs.items(), key=lambda token: (token[1], token[0]))
    if different:
        text, number = different[0]
        whose = "the model" if ours.get(text) == number else "the draft"
        raise draft.error(f"must have the model's vocabulary: token {number} is {text!r} in {whose} alone")
