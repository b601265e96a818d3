"""A stand-in for the part of XGrammar that reads guides, as far as a test needs it to tell good from bad."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from typing import Any

__all__ = ["Grammar"]

HANGS, CRASHES, GLUTTON, FAILS = "hangs", "crashes", "glutton", "fails"  # regular expressions that do so


class Grammar:
    @staticmethod
    def from_json_schema(schema: str) -> Grammar:
        if type(_json(schema)) not in (bool, dict):
            raise RuntimeError("[json_schema_converter] Schema should be an object or bool")
        return Grammar()

    @staticmethod
    def from_regex(regex_string: str) -> Grammar:
        if regex_string == HANGS:
            time.sleep(600)
        if regex_string == CRASHES:
            os.kill(os.getpid(), signal.SIGSEGV)
        if regex_string == GLUTTON:
            bytearray(3 << 29)
        if regex_string == FAILS:
            raise AttributeError("'str' object has no attribute 'items'")
        try:
            re.compile(regex_string)
        except re.error as error:
            raise RuntimeError(f"Regex parsing error at position {error.pos}: {error.msg}") from error
        return Grammar()

    @staticmethod
    def from_ebnf(ebnf_string: str) -> Grammar:
        if "root ::=" not in ebnf_string:
            raise RuntimeError('EBNF parser error: The root rule with name "root" is not found\n  stack')
        return Grammar()

    @staticmethod
    def from_structural_tag(structural_tag: str) -> Grammar:
        if "format" not in _json(structural_tag):
            raise RuntimeError("Structural tag must have a format")
        return Grammar()


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise RuntimeError(f"Failed to parse JSON: {error}") from error
