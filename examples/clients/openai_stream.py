"""An answer as it is written, its token counts at the end: pip install openai."""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("CONCH_URL", "http://127.0.0.1:9000") + "/v1",
    api_key=os.environ.get("CONCH_API_KEY", "none"),
)
model = os.environ.get("CONCH_MODEL", "demo")

stream = client.chat.completions.create(
    model=model,
    messages=[{"role": "user", "content": "What is Conch?"}],
    stream=True,
    stream_options={"include_usage": True},
)
with stream:  # leaving the block early closes the connection, which frees the engine
    for chunk in stream:
        for choice in chunk.choices:
            print(choice.delta.content or "", end="", flush=True)
        if chunk.usage:
            print(f"\n{chunk.usage}")
