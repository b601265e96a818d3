"""The Jinja environment of chat templates: what HuggingFace's templates may rely on, in a sandbox.

Equal to the one that transformers renders chat templates with: its settings, filters, globals and extensions. A
template is code from a checkpoint, so it runs in Jinja's immutable sandbox, and nothing of it runs before it is
rendered, when its output is bounded: constant expressions are not folded at compile time.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, ClassVar, Final, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

# One operation must not make more than this: the output is bounded only between two pieces.
_MAX_LENGTH: Final = 1 << 24  # characters or elements
_MAX_BITS: Final = 1 << 16


def compile_template(source: str) -> jinja2.Template:
    """
    Raises:
        ValueError: not a template; the message says where.
    """
    try:
        return _ENVIRONMENT.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(f"the chat template is not valid Jinja: line {error.lineno}: {error.message}") from error
    # Python's own limits on the code that Jinja makes of a template: its depth, the number of nested loops.
    except (RecursionError, SyntaxError, MemoryError, OverflowError) as error:
        raise ValueError(f"the chat template is nested too deeply: {error}") from error


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops: ClassVar[frozenset[str]] = frozenset({"*", "**"})  # type: ignore[misc]

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "*" and not _may_multiply(left, right):
            raise SecurityError(f"the result of * would be longer than {_MAX_LENGTH}")
        if operator == "**" and not _may_raise(left, right):
            raise SecurityError(f"the result of ** would have more than {_MAX_BITS} bits")
        return super().call_binop(context, operator, left, right)


def _may_multiply(left: Any, right: Any) -> bool:
    if isinstance(left, int) and isinstance(right, int):
        return left.bit_length() + right.bit_length() <= _MAX_BITS
    for one, other in ((left, right), (right, left)):
        if isinstance(one, int) and isinstance(other, str | list | tuple):
            return one * len(other) <= _MAX_LENGTH
    return True


def _may_raise(base: Any, exponent: Any) -> bool:
    if not (isinstance(base, int) and isinstance(exponent, int)):
        return True
    return base.bit_length() * abs(exponent) <= _MAX_BITS


class _Generation(Extension):
    """`{% generation %} … {% endgeneration %}` marks what the assistant wrote, for training; here it is its body."""

    tags: ClassVar[set[str]] = {"generation"}  # type: ignore[misc]

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """JSON as it is, where Jinja's own filter escapes it for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@jinja2.pass_context
def _unfolded(context: Any, value: Any) -> Any:  # noqa: ARG001
    """As a `finalize` that needs the context it keeps Jinja from computing constant outputs at compile time."""
    return value


def _environment() -> _Environment:
    environment = _Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, loopcontrols],
        optimized=False,
        finalize=_unfolded,
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    return environment


_ENVIRONMENT: Final = _environment()
