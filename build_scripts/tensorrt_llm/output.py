"""Parses the output of `trtllm-build` and the quantizer: their progress, and why they failed."""

from __future__ import annotations

import re
from typing import Final

_DONE: Final = re.compile(r"Engine serialized\b")
_DOING: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"Starting quantization|Calibrat"), "calibrating"),
    (re.compile(r"Quantized model exported"), "quantized"),
    (re.compile(r"Total time of constructing network|Set (?:PluginConfig\.)?nccl_plugin to"), "building the network"),
    (re.compile(r"Build TensorRT engine|Compiler backend is used"), "compiling"),
    (re.compile(r"Serializing engine to \S*?(rank\d+)\.engine"), "writing {0}"),
)
_LOGGED: Final = re.compile(r"\[(?:TRT|TRT-LLM|TensorRT-LLM)\]\s*\[(?:E|ERROR)\]\s*(.+)")
_RAISED: Final = re.compile(r"^((?:\w+\.)*\w*(?:Error|Exception): .+)")
_USAGE: Final = re.compile(r"^\S+: error: (.+)")
_NO_REASON: Final = "Engine building failed, please check error log"  # what it raises after the actual error
_MAX_REASON: Final = 300


class BuildOutput:
    """Takes the lines one by one.

    Attributes:
        engines: number of ranks that are written.
        doing: the current activity, for people.
    """

    def __init__(self) -> None:
        self.engines = 0
        self.doing = "starting"
        self._logged = self._raised = self._usage = self._last = ""

    def take(self, line: str) -> None:
        line = line.strip()
        if not line:
            return
        self._last = line
        self.engines += bool(_DONE.search(line))
        for pattern, words in _DOING:
            if match := pattern.search(line):
                self.doing = words.format(*match.groups())
        if match := _USAGE.search(line):
            self._usage = match[1]
        if (match := _LOGGED.search(line)) and not self._logged:
            self._logged = match[1]  # the first is the cause, the later ones follow from it
        if (match := _RAISED.search(line)) and _NO_REASON not in line:
            self._raised = match[1]

    @property
    def reason(self) -> str:
        """Why it failed, as it reported it."""
        reason = self._usage or self._logged or self._raised or self._last or "no output"
        return reason if len(reason) <= _MAX_REASON else f"{reason[: _MAX_REASON - 3]}..."
