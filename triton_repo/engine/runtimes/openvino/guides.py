"""Grammars in OpenVINO's pipeline, which XGrammar inside it (0.1.31 in 2026.4) compiles and follows.

The pipeline compiles a grammar in the step in which its request joins, and all streams wait for that. What is compiled
is kept with the tokenizer, though, and pipelines may share one: so each grammar is compiled beforehand, by a pipeline
on the smallest model, in a thread of its own.
"""

from __future__ import annotations

import os
import resource
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino
import openvino_genai

from triton_repo.contract.sampling import Guide
from triton_repo.engine.runtimes.openvino.smallest_model import smallest_model
from triton_repo.engine.runtimes.openvino.vocabulary import Vocabulary, tokenizer_of

# What is compiled is never dropped, but with its tokenizer.
MOST_COMPILED_BYTES: Final = 512 << 20
_NICE: Final = 10
_FIELDS: Final = {
    "json_schema": "json_schema",
    "regex": "regex",
    "ebnf_grammar": "grammar",
    "structural_tag": "structural_tags_config",
}


def structured_output(guide: Guide) -> Any:
    """What the pipeline is told of a guide. It has no `json`."""
    return openvino_genai.StructuredOutputConfig(**{_FIELDS[guide.kind]: guide.text})


class Compiler:
    """A pipeline that does nothing but to compile grammars, and to follow each for a few tokens."""

    def __init__(self, vocabulary: Vocabulary, tokenizer: Any = None) -> None:
        """`tokenizer` keeps what is compiled; it is made of the vocabulary unless it is given."""
        self._end_ids = vocabulary.end_ids
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.max_num_batched_tokens = scheduler.num_kv_blocks = 64
        with tempfile.TemporaryDirectory() as directory:
            model = smallest_model(len(vocabulary.tokens), vocabulary.end_ids)
            openvino.save_model(model, Path(directory, "openvino_model.xml"))
            self._pipeline = openvino_genai.ContinuousBatchingPipeline(
                directory, tokenizer or tokenizer_of(vocabulary), scheduler, "CPU", INFERENCE_NUM_THREADS=1
            )

    def follow(self, guide: Guide, max_tokens: int = 1) -> list[int]:
        """Compile a guide; returns the first ids that it allows, and an end token only where it allows no other.

        Other threads go on meanwhile, which they do not while a pipeline makes a `step`.

        Raises:
            RuntimeError: it cannot be compiled, or followed.
        """
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = max_tokens
        config.set_eos_token_id(next(iter(self._end_ids), 0))
        config.stop_token_ids = set(self._end_ids or [0])
        config.structured_output_config = structured_output(guide)
        prompt = openvino.Tensor(np.zeros((1, 1), np.int64))
        [result] = self._pipeline.generate([prompt], [config])
        [ids] = result.m_generation_ids
        return list(ids)


class Guides:
    """The guides that an engine's pipeline finds compiled in `tokenizer`.

    Two pipelines must not take from it at one time, for it notes without a lock how long each took. Whoever does so has
    the turn: the loop's thread as long as a request with a guide may get its first token.
    """

    def __init__(self, vocabulary: Vocabulary, most_bytes: int = MOST_COMPILED_BYTES) -> None:
        self._vocabulary = vocabulary
        self._most_bytes = most_bytes
        self._turn = threading.Lock()
        self._loop_has_turn = False
        self._thread = ThreadPoolExecutor(1, "compile-guides", initializer=_give_way)
        self.renew()

    def renew(self) -> None:
        """Drop all that is compiled. The pipelines on the former tokenizer are to be closed."""
        self.tokenizer = tokenizer_of(self._vocabulary)
        self._compiler = Compiler(self._vocabulary, self.tokenizer)
        self._compiler.follow(Guide("regex", "."))  # what the first one takes is not the memory of its grammar
        self._compiled: set[Guide] = set()
        self._num_bytes = 0

    def is_full(self, *, idle: bool) -> bool:
        """Whether to renew them. Where that stops running streams, it takes four times as much."""
        return self._num_bytes > (self._most_bytes // 4 if idle else self._most_bytes)

    def take_turn(self, *, wait: bool) -> bool:
        """For the loop's thread; false if another thread has it."""
        self._loop_has_turn = self._loop_has_turn or self._turn.acquire(blocking=wait)
        return self._loop_has_turn

    def leave_turn(self) -> None:
        if self._loop_has_turn:
            self._loop_has_turn = False
            self._turn.release()

    def compile(self, guide: Guide) -> None:
        """Any thread may call it, and waits for it. What compiles gives way to all other threads.

        Raises:
            RuntimeError: it cannot be compiled.
        """
        self._thread.submit(self._compile, guide).result()

    def _compile(self, guide: Guide) -> None:
        with self._turn:
            if guide not in self._compiled:
                before = _data_bytes()
                self._compiler.follow(guide)
                self._num_bytes += max(0, _data_bytes() - before)
                self._compiled.add(guide)


def _give_way() -> None:
    """Lower the priority of this thread, and of the threads that it starts, for good: raising it takes a privilege."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _data_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[5]) * resource.getpagesize()
