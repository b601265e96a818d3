"""Names of the files of a HuggingFace directory that a tokenizer may be read from."""

from __future__ import annotations

from typing import Final

TOKENIZER: Final = "tokenizer.json"
CONFIG: Final = "tokenizer_config.json"
SPECIAL_TOKENS: Final = "special_tokens_map.json"
ADDED_TOKENS: Final = "added_tokens.json"
TEMPLATE: Final = "chat_template.jinja"
# More templates, by name; and where transformers' processors of models that also see had theirs.
MORE_TEMPLATES: Final = ("additional_chat_templates/default.jinja", "additional_chat_templates/tool_use.jinja")
PROCESSOR_TEMPLATE: Final = "chat_template.json"
TEKKEN: Final = "tekken.json"
# A tokenizer without its fast form tokenizer.json has one of these, in order of preference. Conch converts the first
# ones; transformers converts the rest (vocab.json goes with merges.txt).
CONVERTED: Final = ("tokenizer.model", "spiece.model", "qwen.tiktoken", "tiktoken.model", TEKKEN)
VOCABULARY_FILES: Final = (*CONVERTED, "vocab.json", "vocab.txt")
TOKENIZER_FILES: Final = (
    TOKENIZER, CONFIG, SPECIAL_TOKENS, ADDED_TOKENS, TEMPLATE, *MORE_TEMPLATES, PROCESSOR_TEMPLATE, *VOCABULARY_FILES,
    "merges.txt",
)  # fmt: skip
