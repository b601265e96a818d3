"""The Jinja environment of chat templates: what HuggingFace's templates may rely on, in a sandbox.

Equal to the one that transformers renders chat templates with: its settings, filters, globals and extensions, except
Jinja's random text, `lipsum`. A template is code from a checkpoint, so it runs in Jinja's immutable sandbox, and none
of it runs before it is rendered, when its output is bounded: constant expressions are not folded at compile time.

No single operation makes much of little: the results of `+`, `~`, `*`, `**`, `join` and `replace` are bounded, and
the widths in `%`, formats, filters and methods. Loops and calls count down the clock of `render_bounds`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from string import Formatter
from typing import Any, ClassVar, Final, NoReturn

import jinja2
from jinja2 import meta, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.filters import do_format, do_join, do_replace
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from triton_repo.preprocess.render_bounds import (
    MAX_LENGTH,
    Ticking,
    check_join,
    check_operation,
    check_replace,
    concatenated,
    tick,
)

_MAX_WIDTH: Final = 1 << 12  # to which one text, or one line of it, is filled up
_TICKING: Final = "ticking"  # the filter that every loop's values pass through
_NUMBER: Final = re.compile("[0-9]+")
# Of `%(name)-10.3d` the 10 and the 3.
_PERCENT_WIDTH: Final = re.compile(r"(?:[%)][-+ #0]*|\.)([0-9]+|\*)")
_FILTERS_WITH_WIDTHS: Final = ("batch", "center", "indent", "round", "slice", "tojson")
# What a template raises by itself: about a variable that it lacks, or by `raise_exception`.
GAVE_UP: Final = (jinja2.UndefinedError, jinja2.TemplateError)
_METHODS_WITH_WIDTHS: Final = frozenset({"center", "expandtabs", "ljust", "rjust", "to_bytes", "zfill"})


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


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops: ClassVar[frozenset[str]] = frozenset({"+", "*", "**", "%"})  # type: ignore[misc]

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        for loop in template.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, _TICKING, [], [], None, None).set_environment(self)
        return template

    def concatenated(self, values: Iterable[Any]) -> str:
        return concatenated(values)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            _check_percent(left, right if isinstance(right, tuple) else (right,))
        check_operation(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        tick()
        name = str(getattr(__obj, "__name__", ""))
        if name in _METHODS_WITH_WIDTHS:
            _check_widths((*args, *kwargs.values()))
        elif name in _METHODS_THAT_GROW and isinstance(text := getattr(__obj, "__self__", None), str):
            args = _METHODS_THAT_GROW[name](text, args)
        return super().call(__context, __obj, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        format = super().wrap_str_format(value)
        if format is None:
            return None

        @functools.wraps(format)
        def bounded(*args: Any, **kwargs: Any) -> str:
            _check_braces(value.__self__)
            return format(*args, **kwargs)

        return bounded


class _CodeGenerator(CodeGenerator):
    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self.write("environment.concatenated((")
        for each in node.nodes:
            self.visit(each, frame)
            self.write(", ")
        self.write("))")


def _joining(separator: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (check_join(separator, args[0]), *args[1:]) if args else args


def _replacing(text: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(args) > 1:
        check_replace(text, args[0], args[1])
    return args


# Methods of text whose result may be much longer -> a check of their arguments, which it returns.
_METHODS_THAT_GROW: Final[Mapping[str, Callable[[str, tuple[Any, ...]], tuple[Any, ...]]]] = {
    "join": _joining,
    "replace": _replacing,
}


def _check_widths(values: Iterable[Any]) -> None:
    if any(isinstance(value, int) and value > _MAX_WIDTH for value in values):
        raise SecurityError(f"a width would be more than {_MAX_WIDTH}")


def _check_percent(format: str, values: Iterable[Any]) -> None:
    """Check `format % values`: its numbers, and where `*` takes a number from the values, those too."""
    numbers = _PERCENT_WIDTH.findall(format)
    widths = [_small(number) for number in numbers if number != "*"]
    if "*" in numbers:
        widths += [value for value in values if isinstance(value, int)]
    _check_format_length(widths)


def _check_braces(format: str) -> None:
    """Check the numbers of `format.format(…)`; none may be nested, as in `{:{}}`: it could be any."""
    specs = [spec for _, _, spec, _ in Formatter().parse(format) if spec]
    if any("{" in spec for spec in specs):
        raise SecurityError("a width in a format is to be a number")
    _check_format_length(_small(number) for spec in specs for number in _NUMBER.findall(spec))


def _small(number: str) -> int:
    """Its value; of a longer number one that is too large as well, since Python limits the digits that it reads."""
    return int(number.lstrip("0")[:9] or "0")


def _check_format_length(widths: Iterable[int]) -> None:
    if sum(width for width in widths if width > 0) > MAX_LENGTH:
        raise SecurityError(f"the result of a format would be longer than {MAX_LENGTH}")


def _bounded_filter(filter: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, with a check of what it takes besides the value that it filters."""

    @functools.wraps(filter)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        _check_widths((*args[1 + hasattr(filter, "jinja_pass_arg") :], *kwargs.values()))
        return filter(*args, **kwargs)

    return bounded


class _Generation(Extension):
    """`{% generation %} … {% endgeneration %}` marks what the assistant wrote, for training; here it is its body."""

    tags: ClassVar[set[str]] = {"generation"}  # type: ignore[misc]

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _format(value: Any, *args: Any, **kwargs: Any) -> str:
    _check_percent(str(value), args)
    return do_format(value, *args, **kwargs)


@jinja2.pass_eval_context
def _join(context: Any, value: Any, d: str = "", attribute: Any = None) -> Any:
    return do_join(context, check_join(str(d), value), d, attribute)


@jinja2.pass_eval_context
def _replace(context: Any, s: Any, old: Any, new: Any, count: int | None = None) -> Any:
    check_replace(str(s), str(old), str(new))
    return do_replace(context, s, old, new, count)


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
    environment.code_generator_class = _CodeGenerator
    environment.filters |= {"format": _format, "join": _join, "replace": _replace, "tojson": _tojson, _TICKING: Ticking}
    for name in _FILTERS_WITH_WIDTHS:
        environment.filters[name] = _bounded_filter(environment.filters[name])
    del environment.globals["lipsum"]
    environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    return environment


_ENVIRONMENT: Final = _environment()
