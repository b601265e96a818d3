"""A stand-in for the part of LLGuidance that reads guides, as far as a test needs it to tell good from bad."""

from __future__ import annotations

import json

__all__ = ["LLMatcher"]


class LLMatcher:
    @staticmethod
    def grammar_from_json_schema(schema: str) -> str:
        json.loads(schema)  # the real one, too, raises ValueError here
        return json.dumps({"grammars": [{"json_schema": schema}]})

    @staticmethod
    def grammar_from_regex(regex: str) -> str:
        return json.dumps({"grammars": [{"rx": regex}]})

    @staticmethod
    def grammar_from_lark(lark: str) -> str:
        return json.dumps({"grammars": [{"lark_grammar": lark}]})

    @staticmethod
    def validate_grammar(grammar: str) -> str:
        lark = json.loads(grammar)["grammars"][0].get("lark_grammar", "start:")
        return "" if "start:" in lark else "no start rule found"
