"""The clients that Conch is judged by: what each is, and which program drives it in which environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROGRAMS: Final = Path(__file__).with_name("programs")
NODE: Final = "node"


@dataclass(frozen=True)
class Client:
    """`environment` names the file in `programs/requirements/` with the exact packages of the program's environment."""

    name: str
    program: str
    environment: str

    @property
    def path(self) -> Path:
        return PROGRAMS / self.program


CLIENTS: Final = (
    Client("openai for Python", "with_openai.py", "openai"),
    Client("openai for Python, 1.x", "with_openai.py", "openai-1"),
    Client("openai for Node.js", "node/with_openai.mjs", NODE),
    Client("anthropic for Python", "with_anthropic.py", "anthropic"),
    Client("Vercel AI SDK", "node/with_ai_sdk.mjs", NODE),
    Client("LangChain", "with_langchain.py", "langchain"),
    Client("LlamaIndex", "with_llama_index.py", "llama-index"),
    Client("LiteLLM", "with_litellm.py", "litellm"),
    Client("instructor", "with_instructor.py", "instructor"),
    Client("Pydantic AI", "with_pydantic_ai.py", "pydantic-ai"),
    Client("OpenAI Agents SDK", "with_openai_agents.py", "openai-agents"),
    Client("llm", "with_llm.py", "llm"),
    Client("lm-eval", "with_lm_eval.py", "lm-eval"),
    Client("AIPerf", "with_aiperf.py", "aiperf"),
)
