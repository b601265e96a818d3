"""`tokenizer.ggml.model = gpt2`: byte-level BPE, from the tokens and the merges of the file."""

from __future__ import annotations

from typing import Any, Final

from build_scripts.weights.gguf.tokenizer.splits import DEFAULT, SPLITTINGS, Splitting
from build_scripts.weights.gguf.tokenizer.vocabulary import Vocabulary
from triton_repo.contract.errors import BuildError

# Files from before there was `pre` leave it out; these architectures have always had one tokenizer.
_BY_ARCHITECTURE: Final = {
    "gpt2": "gpt-2",
    "qwen2": "qwen2",
    "qwen3": "qwen2",
    "falcon": "falcon",
    "mpt": "mpt",
    "starcoder": "starcoder",
    "starcoder2": "starcoder",
    "olmo": "olmo",
    "command-r": "command-r",
    "stablelm": "stablelm2",
    "gptneox": "olmo",
    "bloom": "bloom",
    "gpt-oss": "gpt-4o",
}


def splitting(vocabulary: Vocabulary) -> Splitting:
    """Raises: BuildError: the file asks for one that is not known."""
    pre = vocabulary.pre or _BY_ARCHITECTURE.get(vocabulary.meta.architecture, DEFAULT)
    if pre not in SPLITTINGS:
        raise vocabulary.meta.error("tokenizer.ggml.pre", f"known: {', '.join(sorted(SPLITTINGS))}")
    return SPLITTINGS[pre]


def byte_level(vocabulary: Vocabulary) -> dict[str, Any]:
    """normalizer, pre_tokenizer, decoder and model of tokenizer.json.

    Raises:
        BuildError: there are no merges, one of them gives no token, or `pre` is not known.
    """
    how = splitting(vocabulary)
    return {
        "normalizer": {"type": how.normalizer} if how.normalizer else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": how.steps},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": how.whole_words,
            "vocab": {token: id for id, token in enumerate(vocabulary.tokens)},
            "merges": merges(vocabulary),
        },
    }


def merges(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """The two parts of each merge, which a blank separates; a part may begin with one."""
    stored = vocabulary.merges
    if stored is None:
        raise vocabulary.meta.error("tokenizer.ggml.merges", "must be an array of texts")
    known, found = frozenset(vocabulary.tokens), []
    for number, merge in enumerate(stored):
        at = merge.find(" ", 1)
        left, right = merge[:at], merge[at + 1 :]
        if at < 0 or not {left, right, left + right} <= known:
            where = f"{vocabulary.meta.where}: tokenizer.ggml.merges"
            raise BuildError(f"{where}: the merge {number}, {merge!r:.80}, must be two tokens that make one")
        found.append((left, right))
    return found
