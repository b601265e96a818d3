"""Events of OpenAI streams as servers write them."""

from __future__ import annotations

OPENING = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"Hello \\u00e4"},"finish_reason":null}],"usage":null}\n\n'
TEXT = b'data: {"choices":[{"index":0,"text":"sea","finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\n'
DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"
ERROR = b'data: {"error":{"message":"the engine failed","type":"server_error","param":null,"code":null}}\n\n'
WHOLE = (OPENING, HELLO, PING, HELLO, STOP, USAGE, DONE)
