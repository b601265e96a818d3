"""The content blocks of messages, as requests bring them: text, tool calls and results, thinking, documents.

A block that holds anything but text (an image, a PDF file) is rejected by its type: to leave it out would give an
answer to another question. `cache_control` of any block is accepted; the engine caches prompts without it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from gateway.dialects.depth import Shallow
from triton_repo.contract.sampling import UNSUPPORTED

MAX_BLOCKS: Final = 4096  # of one message

_OTHER: Final = "other"


class _Value(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


def _unsupported(kind: str) -> str:
    raise PydanticCustomError(
        UNSUPPORTED, "blocks of type {kind} are not supported: this server reads text", {"kind": kind[:64]}
    )


class _Unsupported(_Value):
    """Of any other type. There is none: it does not pass its validation."""

    type: Annotated[str, AfterValidator(_unsupported)]
    text: Literal[""] = ""


class TextBlock(_Value):
    type: Literal["text"]
    text: str


class ThinkingBlock(_Value):
    """Reasoning of an earlier answer. Signatures are not checked: those of another server mean nothing here."""

    type: Literal["thinking"]
    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(_Value):
    """Reasoning that only Anthropic's own servers can read; it is left out."""

    type: Literal["redacted_thinking"]
    data: str


class ToolUseBlock(_Value):
    type: Literal["tool_use"]
    id: Annotated[str, Field(min_length=1)]
    name: Annotated[str, Field(min_length=1)]
    input: Shallow[dict[str, Any]]


class ToolReferenceBlock(_Value):
    """A tool that a search for tools has found. All tools of a request are offered anyway."""

    type: Literal["tool_reference"]
    tool_name: str

    @property
    def text(self) -> str:
        return self.tool_name


class _TextSource(_Value):
    type: Literal["text"]
    data: str

    @property
    def text(self) -> str:
        return self.data


def as_blocks(content: Any) -> Any:
    """A string stands for one text block."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


TextBlocks = Annotated[
    Annotated[list[TextBlock], Field(max_length=MAX_BLOCKS, fail_fast=True)], BeforeValidator(as_blocks)
]


class _ContentSource(_Value):
    type: Literal["content"]
    content: TextBlocks

    @property
    def text(self) -> str:
        return "".join(block.text for block in self.content)


def _place(kind: str) -> Tag:
    """The tag of a member of a union. Places in errors leave out what begins like this."""
    return Tag(f"tagged-{kind}")


def _tagged(*known: str) -> Discriminator:
    """A union of blocks by their `type`, with `_Other` for one that is not known."""

    def tag(value: Any) -> str | None:
        kind = value.get("type") if isinstance(value, dict) else None
        return f"tagged-{kind if kind in known else _OTHER}" if isinstance(kind, str) else None

    rule = 'must be an object with a "type"'
    return Discriminator(tag, custom_error_type="must_be", custom_error_message=rule)


_Other = Annotated[_Unsupported, _place(_OTHER)]


class DocumentBlock(_Value):
    """A document of plain text; other ones are rejected."""

    type: Literal["document"]
    source: Annotated[
        Annotated[_TextSource, _place("text")] | Annotated[_ContentSource, _place("content")] | _Other,
        _tagged("text", "content"),
    ]
    title: str | None = None
    context: str | None = None

    @property
    def text(self) -> str:
        return "\n".join(part for part in (self.title, self.context, self.source.text) if part)


class SearchResultBlock(_Value):
    type: Literal["search_result"]
    source: str
    title: str
    content: TextBlocks

    @property
    def text(self) -> str:
        return "\n".join((self.title, self.source, *(block.text for block in self.content)))


_Text = Annotated[TextBlock, _place("text")]
_Document = Annotated[DocumentBlock, _place("document")]
_SearchResult = Annotated[SearchResultBlock, _place("search_result")]
_ToolReference = Annotated[ToolReferenceBlock, _place("tool_reference")]
ResultBlock = Annotated[
    _Text | _Document | _SearchResult | _ToolReference | _Other,
    _tagged("text", "document", "search_result", "tool_reference"),
]


class ToolResultBlock(_Value):
    type: Literal["tool_result"]
    tool_use_id: Annotated[str, Field(min_length=1)]
    content: Annotated[
        Annotated[list[ResultBlock], Field(max_length=MAX_BLOCKS, fail_fast=True)] | None, BeforeValidator(as_blocks)
    ] = None
    is_error: bool | None = None

    @property
    def text(self) -> str:
        """Each block is a result of its own; that the tool failed is said in words, as models know no flag for it."""
        text = "\n".join(block.text for block in self.content or ())
        return f"Error: {text}" if self.is_error else text


_ToolResult = Annotated[ToolResultBlock, _place("tool_result")]
UserBlock = Annotated[
    _Text | _Document | _SearchResult | _ToolResult | _Other,
    _tagged("text", "document", "search_result", "tool_result"),
]
_Thinking = Annotated[ThinkingBlock, _place("thinking")]
_Redacted = Annotated[RedactedThinkingBlock, _place("redacted_thinking")]
_ToolUse = Annotated[ToolUseBlock, _place("tool_use")]
AssistantBlock = Annotated[
    _Text | _Thinking | _Redacted | _ToolUse | _Other,
    _tagged("text", "thinking", "redacted_thinking", "tool_use"),
]
