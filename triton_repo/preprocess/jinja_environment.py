"""The Jinja environment of chat templates: what HuggingFace's templates may rely on, in a sandbox.

Equal to the one that transformers renders chat templates with: its settings, filters, globals and extensions. A
template is code from a checkpoint, so it runs in Jinja's immutable sandbox, in a process whose time and memory are
bounded (`template_processes.py`), and none of it before it is rendered: no constant is folded at compile time.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, ClassVar, Final, NoReturn

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

# What a template raises by itself: about a variable that it lacks, or by `raise_exception`.
GAVE_UP: Final = (jinja2.UndefinedError, jinja2.TemplateError)


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


def free_variables(source: str) -> frozenset[str]:
    """The names that a template reads and does not set. Raises: ValueError: not a template."""
    compile_template(source)
    return frozenset(meta.find_undeclared_variables(_ENVIRONMENT.parse(source)) - _ENVIRONMENT.globals.keys())


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


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
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
