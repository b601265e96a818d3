"""What an endpoint of encoders consists of, and the fields that their bodies have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from gateway.answers.encoding import MAX_TEXTS, EncodingRequest, Numbers
from gateway.answers.events import Usage
from gateway.dialects.body import ModelName
from gateway.dialects.dialect import Head
from gateway.dialects.openai.parameters import ignored_parameters
from gateway.dialects.openai.requests.texts_or_ids import TextsOrIds, texts_or_ids
from triton_repo.contract.errors import InvalidRequest, UnsupportedParameter
from triton_repo.contract.model_card import ModelCard
from triton_repo.contract.sampling import INT32_MAX
from triton_repo.embed.wire import Options

MAX_IDS: Final = 2**20  # of all texts of one request
_CUT: Final = "truncate_prompt_tokens cuts query and document together"
_NUMBERS: Final = "embeddings are 32-bit floats, little-endian"
# Other servers' parameter -> why it is rejected, and the values, besides null, that ask for nothing.
_UNSUPPORTED: Final[Mapping[str, tuple[str, tuple[Any, ...]]]] = {
    "max_tokens_per_doc": (_CUT, (0,)),
    "max_tokens_per_query": (_CUT, (0,)),
    "max_chunks_per_doc": (_CUT, ()),
    "rank_fields": (_CUT, ()),
    "instruction": ("write it into the query", ("",)),
    "embed_dtype": (_NUMBERS, ("float32",)),
    "endianness": (_NUMBERS, ("native", "little")),
}


class Input(NamedTuple):
    """The texts of a body in UTF-8, or packed token ids."""

    rows: Sequence[bytes]
    are_ids: bool = False


def _input(value: Any) -> Input:
    several = texts_or_ids(value, "input", MAX_TEXTS, MAX_IDS)
    are_ids = isinstance(several[0], bytes)
    return Input([each if isinstance(each, bytes) else each.encode() for each in several], are_ids)


InputField = Annotated[Input, PlainValidator(_input, json_schema_input_type=TextsOrIds)]
TextField = Annotated[str, Field(min_length=1)]


class EncoderBody(BaseModel):
    """`truncate_prompt_tokens` cuts longer texts to so many tokens, -1 to as many as the model takes; without it they
    are rejected. `truncation_side` says where: "right" is the end. `truncate` is NVIDIA's name for both."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    model: ModelName
    user: Annotated[str, Field(max_length=512)] | None = None
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, le=INT32_MAX)] | None = None
    truncation_side: Literal["left", "right"] | None = None
    truncate: Literal["NONE", "END", "START"] | None = None

    other_names: ClassVar[frozenset[str]] = frozenset()  # of fields, in other servers

    def options(self, **others: Any) -> Options:
        if self.truncate_prompt_tokens == 0:
            raise InvalidRequest("truncate_prompt_tokens = 0: must be at least 1, or -1", "truncate_prompt_tokens")
        limit = self.truncate_prompt_tokens
        if limit is None and self.truncate in (None, "NONE"):
            return Options(**others)
        side: Literal["left", "right"] = "left" if self.truncate == "START" else self.truncation_side or "right"
        return Options(truncate_to=max(0, limit or 0), truncate_side=side, **others)


class ScoringBody(EncoderBody):
    """`activation` false leaves numbers as the model gives them; `use_activation` is its later name in vLLM."""

    first_name: ClassVar[str] = ""  # what an error calls the texts of either side of pairs, by their number
    second_name: ClassVar[str] = ""

    activation: bool | None = None
    use_activation: bool | None = None

    def scoring_options(self) -> Options:
        given = self.activation if self.use_activation is None else self.use_activation
        return self.options(activation=given is not False)


class UsageFields(BaseModel):
    prompt_tokens: int
    total_tokens: int


class Call(Protocol):
    """A body that is parsed and checked."""

    @property
    def model(self) -> str: ...

    def request(self, card: ModelCard, /) -> EncodingRequest:
        """What is to be encoded. Raises: InvalidRequest: the model cannot do what the body asks for."""

    def answer(self, head: Head, numbers: Numbers, usage: Usage, card: ModelCard, /) -> bytes:
        """The JSON body of the response."""


class Operation(Protocol):
    """One endpoint, on one or several paths."""

    @property
    def paths(self) -> Sequence[str]: ...

    @property
    def body(self) -> type[EncoderBody]: ...

    @property
    def answer(self) -> type[BaseModel]:
        """The model of its answers, for the API's description."""

    def parse(self, fields: dict[str, Any], /) -> Call:
        """Raises: InvalidRequest: a field is missing or not allowed."""


def check_fields(fields: Mapping[str, Any], body: type[EncoderBody]) -> str:
    """The names of the fields that have no effect, for a header.

    Raises:
        UnsupportedParameter: one would change the answer, and is not possible here.
    """
    for name, (reason, neutral) in _UNSUPPORTED.items():
        if fields.get(name) is not None and fields[name] not in neutral:
            raise UnsupportedParameter(f"{name}: is not possible here; {reason}", name)
    known = body.other_names | _UNSUPPORTED.keys()
    own = {name: value for name, value in fields.items() if name not in known}
    return ignored_parameters(own, body)


def usage_json(usage: Usage) -> dict[str, int]:
    return {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens}
