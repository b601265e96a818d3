"""A batch as OpenAI's API describes it: one value, which only the functions here change.

Source: OpenAI's API reference, "Batch".
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]
FINAL: Final[frozenset[Status]] = frozenset({"failed", "completed", "expired", "cancelled"})
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class LineError(_Value):
    """Why a line of the input file is no request."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class Errors(_Value):
    object: Literal["list"] = "list"
    data: tuple[LineError, ...] = Field(default=(), strict=False)


class RequestCounts(_Value):
    total: int = 0
    completed: int = 0
    failed: int = 0


class CachedTokens(_Value):
    cached_tokens: int = 0


class ReasoningTokens(_Value):
    reasoning_tokens: int = 0


class BatchUsage(_Value):
    """The tokens of all answers together; what engines do not report counts 0."""

    input_tokens: int = 0
    input_tokens_details: CachedTokens = CachedTokens()
    output_tokens: int = 0
    output_tokens_details: ReasoningTokens = ReasoningTokens()
    total_tokens: int = 0

    @classmethod
    def of(cls, usage: Mapping[str, Any]) -> BatchUsage:
        """Of one answer: the counts of a response, or those of a chat, a completion or embeddings."""
        given = usage.get("input_tokens", usage.get("prompt_tokens", 0))
        made = usage.get("output_tokens", usage.get("completion_tokens", 0))
        of_given = usage.get("input_tokens_details", usage.get("prompt_tokens_details", {}))
        of_made = usage.get("output_tokens_details", usage.get("completion_tokens_details", {}))
        return cls(
            input_tokens=given,
            input_tokens_details=CachedTokens(cached_tokens=of_given.get("cached_tokens", 0)),
            output_tokens=made,
            output_tokens_details=ReasoningTokens(reasoning_tokens=of_made.get("reasoning_tokens", 0)),
            total_tokens=given + made,
        )

    def __add__(self, other: BatchUsage) -> BatchUsage:
        cached = self.input_tokens_details.cached_tokens + other.input_tokens_details.cached_tokens
        reasoned = self.output_tokens_details.reasoning_tokens + other.output_tokens_details.reasoning_tokens
        return BatchUsage(
            input_tokens=self.input_tokens + other.input_tokens,
            input_tokens_details=CachedTokens(cached_tokens=cached),
            output_tokens=self.output_tokens + other.output_tokens,
            output_tokens_details=ReasoningTokens(reasoning_tokens=reasoned),
            total_tokens=self.total_tokens + other.total_tokens,
        )


NO_USAGE: Final = BatchUsage()


class Batch(_Value):
    """Times are Unix seconds."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None = None
    errors: Errors | None = None
    input_file_id: str
    completion_window: str
    status: Status = "validating"
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: RequestCounts = RequestCounts()
    usage: BatchUsage = NO_USAGE
    metadata: Metadata | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in FINAL

    def now(self, status: Status, **changes: Any) -> Batch:
        """The same batch from now on in `status`."""
        return self.model_copy(update={"status": status, f"{status}_at": int(time.time()), **changes})

    def failed_with(self, *errors: LineError) -> Batch:
        return self.now("failed", errors=Errors(data=errors))

    def counting(self, usage: BatchUsage, *, is_ok: bool) -> Batch:
        """One more request has ended, whose answer took so many tokens."""
        counts = self.request_counts
        field = "completed" if is_ok else "failed"
        more = counts.model_copy(update={field: getattr(counts, field) + 1})
        return self.model_copy(update={"request_counts": more, "usage": self.usage + usage})

    def validated(self, total: int, model: str | None) -> Batch:
        if self.status != "validating":  # it was cancelled
            return self
        return self.now("in_progress", request_counts=RequestCounts(total=total), model=model)

    def finalizing(self) -> Batch:
        """Its files are being written; one that is being cancelled says so to its end.

        One whose requests are not all answered by now has expired, and says so at once: after a restart nothing else
        would tell the lines that were not run from those that failed.
        """
        if self.status != "in_progress":
            return self
        counts = self.request_counts
        is_whole = counts.completed + counts.failed == counts.total
        return self.now("finalizing", expired_at=None if is_whole else int(time.time()))

    def cancelling(self) -> Batch:
        return self.now("cancelling") if self.status in ("validating", "in_progress") else self

    def ended(self, output_file_id: str | None, error_file_id: str | None) -> Batch:
        files = {"output_file_id": output_file_id, "error_file_id": error_file_id}
        if self.status == "cancelling":
            return self.now("cancelled", **files)
        return self.now("completed" if self.expired_at is None else "expired", **files)

    @property
    def reason_not_run(self) -> tuple[str, str]:
        """The code and the message of requests that were not answered."""
        if self.status == "cancelling":
            return "batch_cancelled", "the batch was cancelled before this request was answered"
        return "batch_expired", "This request could not be executed before the completion window expired."
