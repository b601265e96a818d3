"""`python -m bench.embeddings.architectures`: which networks are exported as encoders, and computed right.

A small random checkpoint of each is built as `conch build` does; the table, in Markdown, is that of docs/encoders.md.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from build_scripts.spec.embed import EmbedSection
from build_scripts.work.child import keep_out
from triton_repo.contract.engine_directory import VERIFIED
from triton_repo.contract.errors import BuildError
from triton_repo.embed.settings import EncoderFacts

_SIZES: Final = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
_SMALL: Final = {**_SIZES, "vocab_size": 2048, "max_position_embeddings": 130}
_ROTARY: Final = {**_SMALL, "max_position_embeddings": 300, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_WINDOWS: Final = {"global_attn_every_n_layers": 2, "local_attention": 32, "cls_token_id": 1, "sep_token_id": 2}
_DEBERTA: Final = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 32}
_HEADS: Final = {"num_key_value_heads": 2, "head_dim": 16}
# Class of transformers -> what its configuration is given.
NETWORKS: Final[Mapping[str, Mapping[str, Any]]] = {
    "BertModel": _SMALL,
    "BertForSequenceClassification": {**_SMALL, "num_labels": 1},
    "RobertaModel": _SMALL,
    "XLMRobertaModel": _SMALL,
    "XLMRobertaForSequenceClassification": {**_SMALL, "num_labels": 1},
    "CamembertModel": _SMALL,
    "MPNetModel": _SMALL,
    "DistilBertModel": {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 96, "max_position_embeddings": 130},
    "DistilBertForSequenceClassification": {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 96},
    "AlbertModel": {**_SMALL, "embedding_size": 32},
    "ElectraModel": {**_SMALL, "embedding_size": 32},
    "DebertaV2Model": {**_SMALL, **_DEBERTA},
    "DebertaV2ForSequenceClassification": {**_SMALL, **_DEBERTA, "num_labels": 3},
    "MobileBertModel": {**_SMALL, "embedding_size": 32, "intra_bottleneck_size": 32},
    "ModernBertModel": {**_ROTARY, **_WINDOWS},
    "ModernBertForSequenceClassification": {**_ROTARY, **_WINDOWS, "num_labels": 1},
    "NomicBertModel": _SMALL,
    "EuroBertModel": {**_ROTARY, "num_key_value_heads": 4},
    "Qwen3Model": {**_ROTARY, **_HEADS},
    "Gemma3TextModel": {
        **_ROTARY,
        **_HEADS,
        "sliding_window": 32,
        "use_bidirectional_attention": True,
        "layer_types": ["sliding_attention", "full_attention"],
    },
}
_LAST_TOKEN: Final = ("Qwen3",)  # read from left to right: the last token has seen all others


def main() -> int:
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    sys.stdout.write("| class | kind | pooling | largest difference |\n|---|---|---|---|\n")
    failed = 0
    for name, values in NETWORKS.items():
        with tempfile.TemporaryDirectory() as scratch:
            try:
                row = _row(name, values, Path(scratch))
            except BuildError as error:
                failed += 1
                row = f"| `{name}` | – | – | {error} |"
        sys.stdout.write(row + "\n")
        sys.stdout.flush()
    return 1 if failed else 0


def _row(name: str, values: Mapping[str, Any], scratch: Path) -> str:
    keep_out()
    from build_scripts.encoders.export import export_encoder

    _write(name, values, scratch)
    pooling = EmbedSection(pooling="lasttoken" if name.startswith(_LAST_TOKEN) else "mean")
    export_encoder(str(scratch), name, pooling.model_dump_json(), str(scratch))
    facts = EncoderFacts.load(scratch)
    shown = pooling.pooling if facts.kind == "embed" else "–"
    difference = json.loads((scratch / VERIFIED).read_bytes())["largest_difference"]
    return f"| `{name}` | {facts.kind} | {shown} | {difference:.1e} |"


def _write(name: str, values: Mapping[str, Any], directory: Path) -> None:
    import torch
    import transformers

    torch.manual_seed(0)
    network: Any = getattr(transformers, name)
    configure: Callable[..., Any] = network.config_class
    network(configure(**{"vocab_size": 2048, **values})).eval().save_pretrained(directory)


if __name__ == "__main__":
    sys.exit(main())
