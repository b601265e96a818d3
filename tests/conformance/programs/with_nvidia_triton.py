"""LlamaIndex's client of NVIDIA's ensemble, straight to Triton: a whole answer and a stream, with its own defaults."""

from __future__ import annotations

import os

from llama_index.llms.nvidia_triton import NvidiaTriton

client = NvidiaTriton(server_url=os.environ["CONCH_TRITON_GRPC"], tokens=24)
print(repr(client.complete("What is Triton?").text))  # noqa: T201 - what the test reads
print(repr("".join(chunk.delta for chunk in client.stream_complete("What is Triton?"))))  # noqa: T201
