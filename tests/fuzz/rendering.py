"""A chat template that a checkpoint brings, rendered within the bounds that serve: in a process that they may end."""

from __future__ import annotations

from collections.abc import Iterator

from triton_repo.bounded_process import Answer, BoundedProcess, ProcessEnded
from triton_repo.contract.errors import RequestError
from triton_repo.preprocess.chat_template import ChatTemplate
from triton_repo.preprocess.template_processes import BOUNDS

MAX_CHARACTERS = 100_000
_CHAT = {"messages": [{"role": "user", "content": "Hello"}]}


def renderer() -> Answer:
    """For the process: each message is a template, and its answer how long a text it makes, or why it makes none."""

    def render(message: bytes) -> Iterator[bytes]:
        try:
            template = ChatTemplate(message.decode(errors="replace"), {"bos_token": "<s>", "eos_token": "</s>"})
            text = template.render(_CHAT, MAX_CHARACTERS)
        except (ValueError, RequestError) as error:
            yield str(error).encode(errors="replace")
        else:
            yield b"%d" % len(text)

    return render


class BoundedTemplates:
    """Templates one after the other, in one process while none of them ends it."""

    def __init__(self) -> None:
        self._process: BoundedProcess | None = None

    def render(self, template: bytes) -> bytes:
        """Raises: ProcessEnded: by something else than a bound."""
        if self._process is None:
            self._process = BoundedProcess(renderer, BOUNDS)
        try:
            self._process.ask(template)
            return self._process.answer()
        except ProcessEnded as ended:
            self._process = None
            exceeded = BOUNDS.exceeded(ended.status)
            if exceeded is None:
                raise
            return exceeded.encode()

    def close(self) -> None:
        if self._process is not None:
            self._process.end()
