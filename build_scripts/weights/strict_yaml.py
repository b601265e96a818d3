"""Untrusted YAML as plain values: bounded in size, in depth and in what its aliases expand to; no key twice.

`_target_` and the like name classes for readers that build objects. Here they are text.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from triton_repo.contract.errors import BuildError

MAX_BYTES: Final = 1 << 20  # NeMo's have some ten thousand
_MAX_DEPTH: Final = 64
_MAX_VALUES: Final = 200_000  # with each alias counted as what it stands for
_Loader: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_table(text: bytes, where: str) -> dict[str, Any]:
    """The table that `text` is; `where` begins every error.

    Raises:
        BuildError: no YAML, no table, a key twice, a tag that asks for more than plain values, or too much of it.
    """
    if len(text) > MAX_BYTES:
        raise BuildError(f"{where}: {len(text)} bytes; must be ≤ {MAX_BYTES}")
    try:
        _check_depth(text)
        node = yaml.compose(text, Loader=_Loader)
        _check_size(node, where)
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader, the fast one where there is one
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, TypeError) as error:
        raise BuildError(f"{where}: not valid YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(value, dict):
        raise BuildError(f"{where}: must be a table")
    return value


def _check_depth(text: bytes) -> None:
    """Before anything recurses into it."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise ValueError(f"nested more than {_MAX_DEPTH} deep")


def _check_size(node: Any, where: str) -> None:
    sizes: dict[int, int] = {}

    def size(node: Any) -> int:
        known = sizes.get(id(node))
        if known is not None:
            if known == 0:
                raise ValueError("an alias stands for what it is in")
            return known
        sizes[id(node)] = 0
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            total = 1 + sum(size(key) + size(value) for key, value in node.value)
        elif isinstance(node, yaml.SequenceNode):
            total = 1 + sum(size(item) for item in node.value)
        else:
            total = 1
        sizes[id(node)] = total
        return total

    if node is not None and size(node) > _MAX_VALUES:
        raise BuildError(f"{where}: stands for more than {_MAX_VALUES} values")


def _check_keys(node: Any) -> None:
    names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    if len(names) != len(node.value):
        raise ValueError("a key that is no plain text")
    if "<<" in names:
        raise ValueError("merge keys are not read")
    if len(set(names)) != len(names):
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r:.80} occurs twice")
