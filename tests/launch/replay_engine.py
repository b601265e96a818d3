"""An engine without a model for `conch serve`: a byte-level tokenizer, a template, and an answer at a set pace."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

ANSWER = "The note ended exactly where it should. 🐚"
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 258, "eos_token_id": 1}
TEMPLATE = "{#- ▁ is no ASCII -#}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "
SPEC = """
name = "{name}"
version = {version}
model = "checkpoint"
runtime = "replay"
[build]
max_seq_len = 2048
max_batch_size = 64
max_num_tokens = 8192
[replay]
tokens_per_second = {tokens_per_second}
text = "{text}"
"""


def write_spec(
    directory: Path, name: str = "tale", tokens_per_second: int = 0, text: str = ANSWER, version: int = 1
) -> Path:
    """A spec file and the checkpoint that lends its tokenizer."""
    checkpoint = directory / "checkpoint"
    checkpoint.mkdir(exist_ok=True)
    alphabet = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.save(str(checkpoint / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "chat_template": TEMPLATE}
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(settings))
    (checkpoint / "config.json").write_text(json.dumps(CONFIG))
    spec = directory / f"{name}-{version}.toml"
    spec.write_text(SPEC.format(name=name, version=version, tokens_per_second=tokens_per_second, text=text))
    return spec
